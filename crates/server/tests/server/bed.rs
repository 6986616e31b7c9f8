//! A server to ask, and the fixture behind it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tare_testbed::{AUDIENCE, Fixture, ISSUER, Server, Size};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

/// How long what must come may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Keeps every change of stock waiting until the transaction ends.
pub const HOLD: &str = "begin; lock table app.stock in exclusive mode";

pub struct Service {
    pub process: Child,
    pub url: String,
    pub client: Client,
}

impl Service {
    pub async fn start(fixture: &Fixture, strategy: &str) -> Self {
        Self::run(command(fixture), strategy)
    }

    /// Under all fixes, with these options besides.
    pub fn with(fixture: &Fixture, options: &[&str]) -> Self {
        let mut command = command(fixture);
        command.args(options);
        Self::run(command, "after")
    }

    pub fn run(mut command: Command, strategy: &str) -> Self {
        command.args(["--strategy", strategy, "--until-stdin-ends"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, url, client: client() }
    }

    pub async fn post(&self, token: &str, body: impl ToString) -> (StatusCode, Value, String) {
        let answer = self.send(token, body).await;
        let timing = answer.headers().get("server-timing").map_or("", |value| value.to_str().unwrap()).to_owned();
        (answer.status(), answer.json().await.unwrap(), timing)
    }

    pub async fn send(&self, token: &str, body: impl ToString) -> Response {
        let request = self.client.post(format!("{}/v1/actions/execute", self.url)).bearer_auth(token);
        request.body(body.to_string()).send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    /// The value of one line of the metrics.
    pub async fn metric(&self, line: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text().await.unwrap();
        text.lines().find_map(|at| at.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until a line of the metrics says `value`.
    pub async fn until(&self, line: &str, value: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(line).await != Some(value) {
            assert!(Instant::now() < deadline, "{line} never was {value}, but {:?}", self.metric(line).await);
        }
    }

    /// A connection of its own, on which `sent` has been sent.
    pub async fn raw(&self, sent: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream
    }

    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What comes until the other side closes the connection.
pub async fn to_its_end(mut stream: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the connection is closed");
    String::from_utf8(said).unwrap()
}

pub fn client() -> Client {
    let tls = tare_tls::client(None).unwrap();
    Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(PATIENCE).build().unwrap()
}

/// The server, told everything but the strategy.
pub fn command(fixture: &Fixture) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tare-server"));
    command.args(["--issuer", ISSUER, "--audience", AUDIENCE]);
    if let Some(root) = fixture.server().root_certificate() {
        command.env("TARE_ROOT_CERTIFICATE", root);
    }
    command.env("TARE_CONTROL_URL", fixture.control().url(fixture.server()));
    command.env("TARE_JWT_SECRET", fixture.secret().expose()).env_remove("TARE_JWKS");
    command
}

pub async fn fixture() -> Fixture {
    Fixture::create(Server::shared().await.unwrap(), Size::SMALL).await.unwrap()
}

/// A request for an action, as it goes over a connection.
pub fn written_out(token: &str, body: impl ToString) -> String {
    let (head, body) = ("POST /v1/actions/execute HTTP/1.1\r\nHost: tare\r\n", body.to_string());
    let length = body.len();
    format!("{head}Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}")
}

pub fn view(part: Uuid) -> Value {
    json!({"action": "view_part_details", "payload": {"part_id": part}})
}

pub fn receive(part: Uuid) -> Value {
    json!({"action": "receive_part", "payload": {"part_id": part, "quantity": 1}})
}
