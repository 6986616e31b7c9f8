//! Two runs at once on one machine: both go on, and both tell of the other.

mod bed;

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use bed::{Ended, evidence, folder, run, text, xtask};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A service that answers `/held` once it is let.
#[derive(Clone)]
struct Service {
    asked: Arc<Semaphore>,
    let_go: Arc<Semaphore>,
    address: SocketAddr,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let [asked, let_go] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        let service = Self { asked, let_go, address: listener.local_addr().unwrap() };
        let held = async |State(service): State<Self>| {
            service.asked.add_permits(1);
            service.let_go.acquire().await.unwrap().forget();
        };
        let router =
            Router::new().route("/held", get(held)).route("/fine", get(async || ())).with_state(service.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        service
    }
}

/// Where the runs of a test, and no others, know of each other.
struct Place(TempDir);

impl Place {
    /// A pass of one request.
    fn stress(&self, service: &Service, path: &str, output: &TempDir) -> Command {
        let url = format!("http://{}{path}", service.address);
        let mut stress = xtask(&["stress", "--url", &url, "-n", "1", "-c", "1", "--warmup", "0"]);
        stress.args(["--output", text(output.path())]).env("TMPDIR", self.0.path());
        stress
    }

    /// One that is being answered.
    async fn held(&self, service: &Service, output: &TempDir) -> Child {
        let mut stress = self.stress(service, "/held", output);
        let held = stress.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        service.asked.acquire().await.unwrap().forget();
        held
    }

    async fn fine(&self, service: &Service) -> (Ended, Value) {
        let output = folder();
        let stress = self.stress(service, "/fine", &output);
        let ended = tokio::task::spawn_blocking(|| run(stress)).await.unwrap();
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.shown, ended.said);
        (ended, evidence(&output).1)
    }
}

const WARNING: &str = "warning: another run measures on this machine at the same time";

#[tokio::test(flavor = "multi_thread")]
async fn both_of_two_runs_tell_of_the_other() {
    let (service, place, output) = (Service::start().await, Place(folder()), folder());
    let mut first = place.held(&service, &output).await;
    let (second, kept) = place.fine(&service).await;
    assert_eq!(kept["run"]["beside"], json!([format!("process {}, stress --url", first.id())]));
    let told = second.said.lines().filter(|line| line.starts_with(WARNING)).collect::<Vec<_>>();
    assert!(told.len() == 1 && told[0].contains(&format!("(process {}, ", first.id())), "{told:?}");
    let verdict = second.shown.lines().last().unwrap();
    assert!(verdict.contains("Another run measured on this machine at the same time (process "), "{verdict}");

    service.let_go.add_permits(100);
    let (mut said, mut shown) = (String::new(), String::new());
    first.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    first.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    // It may have been held for longer than targets let it.
    assert!(matches!(first.wait().unwrap().code(), Some(0 | 1)), "{said}");
    let (run_folder, kept) = evidence(&output);
    assert_eq!(kept["run"]["beside"].as_array().unwrap().len(), 1, "{}", kept["run"]);
    assert_eq!(said.lines().filter(|line| line.starts_with(WARNING)).count(), 1, "{said}");
    let again = run(xtask(&["report", text(&run_folder)])).shown;
    for told in [&shown, &again] {
        assert!(told.contains("Another run measured on this machine at the same time (process "), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_over_or_was_killed_is_no_other() {
    let (service, place, output) = (Service::start().await, Place(folder()), folder());
    let (alone, kept) = place.fine(&service).await;
    let mut killed = place.held(&service, &output).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (next, kept_next) = place.fine(&service).await;
    for (ended, kept) in [(alone, kept), (next, kept_next)] {
        assert_eq!(kept["run"].get("beside"), None, "{}", kept["run"]);
        assert!(!ended.said.contains(WARNING) && !ended.shown.contains("Another run"), "{}", ended.said);
    }
    let left =
        std::fs::read_dir(place.0.path()).unwrap().flatten().flat_map(|entry| std::fs::read_dir(entry.path()).unwrap());
    assert_eq!(left.count(), 0, "nothing is left of those that are over");
}
