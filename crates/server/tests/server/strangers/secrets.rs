//! That no secret can be read where it does not belong: in logs, answers, metrics, queues, or the list of processes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::{Response, StatusCode};
use serde_json::json;
use tare_testbed::{Fixture, Relay};
use uuid::Uuid;

use super::forge::{claims, header, sign};
use crate::bed::{PATIENCE, Service, client, command, fixture, receive, view};

/// Passwords that are wrong, or have just been changed: as secret as any.
const WRONG: &str = "wrong-5b1fd8a0c7";
const NEW: &str = "new-5b1fd8a0c7";

/// Everything that must not be read, by what it is.
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn of(fixture: &Fixture, tokens: &[&str]) -> Self {
        let mut secrets = vec![
            ("the secret of tokens".into(), fixture.secret().expose().to_owned()),
            ("the password of control".into(), fixture.control().password().to_owned()),
            ("a wrong password".into(), WRONG.into()),
            ("a new password".into(), NEW.into()),
        ];
        let admin = fixture.server().url();
        let admin = admin.split_once("//").and_then(|(_, url)| url.split_once('@')?.0.split_once(':'));
        secrets.extend(admin.map(|(_, password)| ("the admin's password".into(), password.to_owned())));
        secrets.retain(|(_, secret)| !secret.is_empty());
        let tenants = fixture.tenants().iter();
        secrets.extend(
            tenants.map(|tenant| (format!("the password of {:?}", tenant.login), tenant.login.password().into())),
        );
        // The first part of a token is the same for all.
        for token in tokens {
            secrets.extend(token.split('.').skip(1).map(|part| (format!("the token {token}"), part.to_owned())));
        }
        Self(secrets)
    }

    /// That none is in `text`, nor is one written otherwise.
    fn not_in(&self, place: &str, text: &str) {
        for (what, secret) in &self.0 {
            let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            let coded = [STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret), bytes.join(", "), hex];
            for form in [secret].into_iter().chain(&coded) {
                assert!(!text.contains(form), "{what} is in {place}: {text}");
            }
        }
    }
}

/// A server that says all it ever says, into files.
struct Watched {
    service: Service,
    said: tempfile::NamedTempFile,
    output: BufReader<std::process::ChildStdout>,
    answers: String,
}

impl Watched {
    fn start(mut command: Command, options: &[&str]) -> Self {
        let said = tempfile::NamedTempFile::new().unwrap();
        command.args(options).args(["--until-stdin-ends", "--drain", "0.2"]).env("RUST_LOG", "trace");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said.reopen().unwrap());
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { service: Service { process, url, client: client() }, said, output, answers: String::new() }
    }

    async fn answered(&mut self, answer: Response) -> StatusCode {
        let status = answer.status();
        self.answers += &format!("{status} {:?} ", answer.headers());
        self.answers += &answer.text().await.unwrap();
        status
    }

    async fn ask(&mut self, token: &str, body: impl ToString) -> StatusCode {
        let answer = self.service.send(token, body).await;
        self.answered(answer).await
    }

    async fn until(&mut self, status: StatusCode, token: &str, body: impl ToString) {
        let deadline = Instant::now() + PATIENCE;
        while self.ask(token, body.to_string()).await != status {
            assert!(Instant::now() < deadline, "never {status}, but {}", self.answers);
        }
    }

    async fn get(&mut self, path: &str) -> StatusCode {
        let answer = self.service.get(path).await;
        self.answered(answer).await
    }

    /// Ends it, with a look at every place first. What it said on standard error.
    async fn end(mut self, secrets: &Secrets) -> String {
        assert_eq!(self.get("/metrics").await, StatusCode::OK);
        secrets.not_in("the list of processes", &processes());
        drop(self.service.process.stdin.take());
        assert!(self.service.process.wait().unwrap().success());
        let (mut output, said) = (String::new(), fs::read_to_string(self.said.path()).unwrap());
        self.output.read_to_string(&mut output).unwrap();
        secrets.not_in("standard output", &output);
        secrets.not_in("standard error", &said);
        secrets.not_in("an answer", &self.answers);
        said
    }
}

/// The arguments of every process of this machine.
fn processes() -> String {
    let arguments = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(arguments);
    all.map(|arguments| String::from_utf8_lossy(&arguments).replace('\0', " ") + "\n").collect()
}

fn files_in(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: std::path::PathBuf| match path.is_dir() {
        true => files_in(&path),
        false => String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
    };
    entries.map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_log_answer_metric_queue_or_list_of_processes() {
    for (strategy, log) in [("before", "text"), ("after", "json")] {
        let fixture = fixture().await;
        let [first, second] = fixture.tenants() else { panic!("two tenants") };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let token = |user, at| {
            let key = EncodingKey::from_secret(fixture.secret().expose().as_bytes());
            sign(&header("HS256", "none"), &claims(user, at), &key, Algorithm::HS256)
        };
        let users = [first.crew[0].id, second.crew[0].id, second.crew[1].id, Uuid::nil()];
        let [good, elsewhere, late, nobodys] = users.map(|user| token(user, now));
        let (expired, forged) = (token(first.crew[0].id, now - 86_400), good.replace(".ey", ".eY"));
        let secrets = Secrets::of(&fixture, &[&good, &elsewhere, &late, &nobodys, &expired, &forged]);

        let relay = Relay::start(fixture.server()).await.unwrap();
        let queue = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut server = command(&fixture);
        server.env("TARE_CONTROL_URL", fixture.control().url_at(fixture.server(), relay.address()));
        let folder = queue.path().to_str().unwrap();
        let mut watched = Watched::start(server, &["--strategy", strategy, "--log", log, "--audit-queue", folder]);

        // Good, bad and refused.
        let (part, theirs) = (fixture.part(0, 0, 1).id, fixture.part(1, 0, 1).id);
        let list = json!({"action": "list_parts", "payload": {"location": "workshop"}});
        for request in [view(part), receive(part), list] {
            assert_eq!(watched.ask(&good, request).await, StatusCode::OK);
        }
        assert_eq!(watched.ask(&elsewhere, view(theirs)).await, StatusCode::OK);
        for (token, body, status) in [
            (&forged, view(part), 401),
            (&expired, view(part), 401),
            (&nobodys, view(part), 403),
            (&good, view(theirs), 404),
            (&good, json!({"action": "view_part_details", "payload": {"part_id": "x"}}), 400),
            (&good, json!("x".repeat(70_000)), 413),
        ] {
            assert_eq!(watched.ask(token, body).await, status);
        }
        let running = "select coalesce(string_agg(query, ' '), '') from pg_stat_activity where usename = any($1)";
        let admin = fixture.server().admin(&fixture.control().database).await.unwrap();
        let roles: Vec<&str> = fixture.tenants().iter().map(|tenant| &*tenant.login.role).collect();
        let queries: String = admin.query_one(running, &[&roles]).await.unwrap().get(0);
        secrets.not_in("the queries of connections", &queries);

        // A login refused, a database that is not there, a host where nobody listens.
        let alter = format!("alter role {} password '{NEW}'", first.login.role);
        admin.batch_execute(&alter).await.unwrap();
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";
        admin.execute(cut, &[&first.login.role]).await.unwrap();
        watched.until(StatusCode::SERVICE_UNAVAILABLE, &good, view(part)).await;
        for change in ["dbname = 'nowhere'", "port = 1", "host = 'no host'"] {
            let change = format!("update control.tenants set {change} where id = $1");
            admin.execute(&change, &[&second.id]).await.unwrap();
            watched.until(StatusCode::SERVICE_UNAVAILABLE, &elsewhere, view(theirs)).await;
        }
        // No control database: a look-up on a connection that breaks, then none that can be opened.
        relay.refuse().await;
        watched.until(StatusCode::SERVICE_UNAVAILABLE, &late, view(theirs)).await;
        assert_eq!(watched.get("/ready").await, StatusCode::SERVICE_UNAVAILABLE);

        let answers = watched.answers.clone();
        for inside in fixture.databases().iter().map(String::as_str).chain(["nowhere", "no host", "127.0.0.1", "5432"])
        {
            assert!(!answers.contains(inside), "{inside} is in an answer: {answers}");
        }
        let said = watched.end(&secrets).await;
        secrets.not_in("the audit queue", &files_in(queue.path()));
        for told in ["a request failed", "password authentication failed", "does not exist", "not ready", "otel.kind"] {
            assert!(said.contains(told), "it does not say that {told}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_the_control_database_is_not_shown() {
    let fixture = fixture().await;
    let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
    let secrets = Secrets::of(&fixture, &[&token]);
    let url = fixture.control().url(fixture.server()).replace(fixture.control().password(), WRONG);
    for strategy in ["before", "after"] {
        let mut server = command(&fixture);
        server.env("TARE_CONTROL_URL", &url);
        let mut watched = Watched::start(server, &["--strategy", strategy]);
        assert_eq!(watched.ask(&token, view(fixture.part(0, 0, 1).id)).await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(watched.get("/ready").await, StatusCode::SERVICE_UNAVAILABLE);
        let said = watched.end(&secrets).await;
        assert!(said.contains("password authentication failed"), "{said}");
    }
    // Not even where it cannot be understood.
    for broken in [url.replace("sslmode=", "sslmode=un"), format!("{url}&x={WRONG}"), url.replace('/', WRONG)] {
        let output = command(&fixture).env("TARE_CONTROL_URL", broken).arg("--until-stdin-ends").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        secrets.not_in("standard error", &said);
    }
}
