//! Load from many containers on one engine: `deploy/compose.yaml`, started, collected, merged, judged and taken away.

mod engine;
mod fixture;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use tare_stress::Share;
use tare_testbed::{PROJECT, PrivateFolder, Template};
use tokio_util::sync::CancellationToken;

use crate::build::{self, BUILD};
use crate::cli::{Fleet, FleetCommand};
use crate::fleet::engine::{Project, docker, last_words};
use crate::progress::{Planned, Progress};
use crate::{Ending, merge, worker, workspace};

/// Its steps.
const IMAGES: &str = "images";
const START: &str = "databases and gateways";
const LOAD: &str = "load";
const COLLECT: &str = "collect";
/// How long gateways may take to be ready, once they are started.
const READY: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(300);
/// How long before the common start workers are started, and how much longer for each: an engine starts one after another.
const AHEAD: Duration = Duration::from_secs(8);
const EACH: Duration = Duration::from_millis(1_500);
/// PgBouncer's image, which is kept for the next: making it may need a package mirror.
const POOLER: &str = "tare-pooler";

/// `cargo xtask fleet`.
pub async fn run(options: Fleet, stop: CancellationToken) -> Result<Ending> {
    if let Some(FleetCommand::Fixture(options)) = &options.command {
        return fixture::run(options, stop).await;
    }
    refuse(&options)?;
    let progress = Progress::new(plan(&options));
    let results = tokio::select! {
        results = measure(&options, &progress) => Some(results),
        () = stop.cancelled() => None,
    };
    progress.end();
    let Some(results) = results else { return Ok(Ending::Interrupted) };
    let results = results?;
    let command = format!("fleet --gateways {} --workers {}", options.gateways, options.workers);
    let audited = audited(&results)?;
    let parts = merge::Parts { folders: &[results], command: &command, audited: Some(audited) };
    merge::workers(parts, &options.judged, options.format, stop)
}

/// What would fail after minutes.
fn refuse(options: &Fleet) -> Result<()> {
    Template::named(&options.action)?;
    crate::session::read_config(&options.judged.config)?;
    let share: Share = format!("1/{}", options.workers).parse()?;
    worker::refuse_too_few("-c", options.concurrency as u64, share)?;
    worker::refuse_too_few("-n", options.requests.unwrap_or(u64::MAX), share)
}

fn plan(options: &Fleet) -> Vec<Planned> {
    let paced = options.rate.as_ref().and_then(|pace| pace.duration().or(pace.due(options.requests.unwrap_or(500))));
    let load = [options.duration, paced].into_iter().flatten().min().unwrap_or(Duration::from_secs(2));
    let seconds = Duration::from_secs;
    let steps = [
        (BUILD, seconds(5)),
        (IMAGES, seconds(20)),
        (START, seconds(25)),
        (LOAD, ahead(options) + load),
        (COLLECT, seconds(3)),
    ];
    steps.map(|(name, expected)| Planned { name: name.into(), expected }).into()
}

fn ahead(options: &Fleet) -> Duration {
    AHEAD + EACH * u32::from(options.workers)
}

/// The folder with what the workers left; everything else is gone when this returns, and when it is dropped.
async fn measure(options: &Fleet, progress: &Progress) -> Result<PathBuf> {
    progress.begin(BUILD);
    let server = build::build(progress, false).await?.server;
    let unique = tare_testbed::password();
    let name = format!("tare-fleet-{}", &unique[..8]);
    // From here on all that carries its name is removed, however this ends.
    let owned = PrivateFolder::of_project(&name)?;
    let file = workspace::root().join("deploy/compose.yaml");
    let image = format!("tare:{name}");
    let variables = vec![
        ("TARE_FLEET_PASSWORD", tare_testbed::password()),
        ("TARE_IMAGE", image.clone()),
        ("TARE_POOLER_IMAGE", POOLER.to_owned()),
        ("TARE_PARTS", options.parts.to_string()),
        ("TARE_ACTION", options.action.clone()),
        ("TARE_GATEWAYS", options.gateways.to_string()),
        ("TARE_WORKERS", options.workers.to_string()),
    ];
    let mut project = Project::new(&name, &file, variables).await?;
    progress.say(&format!("{name}: {} gateways, {} workers", options.gateways, options.workers));

    progress.begin(IMAGES);
    make_images(options, &server, owned.path(), &name, &image).await?;
    progress.begin(START);
    let gateways = format!("gateway={}", options.gateways);
    project.run(&["up", "--detach", "--scale", &gateways, "gateway"]).await?;
    wait_until_ready(&project, usize::from(options.gateways)).await?;

    progress.begin(LOAD);
    let start = SystemTime::now() + ahead(options);
    project.tell("TARE_START", worker::shown(start));
    project.tell("TARE_LOAD", load(options));
    let workers = format!("worker={}", options.workers);
    project.run(&["up", "--detach", "--no-recreate", "--scale", &gateways, "--scale", &workers, "worker"]).await?;
    wait_for_workers(&project, start, progress).await?;

    progress.begin(COLLECT);
    let results = workspace::root().join("target/fleet").join(&name);
    collect(&project, &results).await?;
    Ok(results)
}

/// How many audit rows there were in the end.
fn audited(results: &Path) -> Result<i64> {
    let file = results.join(fixture::AUDITED);
    let read = fs::read_to_string(&file).ok().and_then(|rows| rows.trim().parse().ok());
    read.with_context(|| format!("the fixture did not count its audit rows into {}", file.display()))
}

/// The words that each worker is told besides its share.
fn load(options: &Fleet) -> String {
    let mut words = vec![format!("-c {} --warmup {}", options.concurrency, options.warmup)];
    words.extend(options.requests.map(|requests| format!("-n {requests}")));
    words.extend(options.duration.map(|time| format!("-d {}ms", time.as_millis())));
    words.extend(options.rate.as_ref().map(|rate| format!("--rate {}", rate.to_string().replace(' ', ""))));
    words.join(" ")
}

/// Of the programs as they were built; the engine is sent nothing else.
async fn make_images(options: &Fleet, server: &Path, folder: &Path, project: &str, image: &str) -> Result<()> {
    let this = std::env::current_exe().context("where this program is")?;
    let config = workspace::resolve(&options.judged.config);
    let settings = workspace::root().join("deploy/pgbouncer.ini");
    let pooler = context(&folder.join("pooler"), &[(&settings, "pgbouncer.ini")])?;
    let programs = context(&folder.join("tare"), &[(&this, "xtask"), (server, "tare-server"), (&config, "perf.toml")])?;
    let pooler_base = options.pooler_base.as_ref().unwrap_or(&options.base);
    build_image("Dockerfile.pooler", pooler_base, &["--tag", POOLER, &pooler]).await?;
    let label = format!("{PROJECT}={project}");
    build_image("Dockerfile", &options.base, &["--tag", image, "--label", &label, &programs]).await
}

/// A folder with copies of `files` under the names that the Dockerfile knows.
fn context(folder: &Path, files: &[(&Path, &str)]) -> Result<String> {
    fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (from, name) in files {
        fs::copy(from, folder.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(folder.display().to_string())
}

async fn build_image(dockerfile: &str, base: &str, more: &[&str]) -> Result<()> {
    let file = workspace::root().join("deploy").join(dockerfile).display().to_string();
    let base = format!("BASE={base}");
    let build = ["build", "--quiet", "--file", &file, "--build-arg", &base];
    docker(&[&build[..], more].concat()).await.map(drop)
}

async fn wait_until_ready(project: &Project<'_>, gateways: usize) -> Result<()> {
    let deadline = Instant::now() + READY;
    loop {
        let ended = project.containers("gateway", &["status=exited"]).await?;
        if let Some(ended) = ended.first() {
            bail!("a gateway ended: {}", last_words(ended).await);
        }
        if project.containers("gateway", &["health=healthy"]).await?.len() == gateways {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the gateways were not ready within {} s", READY.as_secs());
        tokio::time::sleep(AGAIN).await;
    }
}

/// Waits until all of them have ended. When one cannot measure, what the others send is not the load that was asked for.
async fn wait_for_workers(project: &Project<'_>, start: SystemTime, progress: &Progress) -> Result<()> {
    let workers = project.containers("worker", &[]).await?.len();
    loop {
        let ended = project.containers("worker", &["status=exited"]).await?;
        for worker in &ended {
            let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", worker]).await?;
            if code.trim() != "0" {
                bail!("a worker ended with {}: {}", code.trim(), last_words(worker).await);
            }
        }
        if ended.len() == workers {
            return Ok(());
        }
        progress.at(match start.duration_since(SystemTime::now()) {
            Ok(left) => worker::waiting(left, start),
            Err(_) => format!("{workers} workers send"),
        });
        tokio::time::sleep(AGAIN).await;
    }
}

/// Copies what workers left to `results`, and what gateways and pooler said beside it. Gateways are stopped first, for their audit to be
/// written, and then the fixture, which counts it.
async fn collect(project: &Project<'_>, results: &Path) -> Result<()> {
    project.run(&["stop", "gateway"]).await?;
    project.run(&["stop", "fixture"]).await?;
    fs::create_dir_all(results).with_context(|| format!("cannot make {}", results.display()))?;
    let fixture = project.containers("fixture", &[]).await?;
    let fixture = fixture.first().context("the container `fixture` is gone")?;
    docker(&["cp", &format!("{fixture}:/results/."), &results.display().to_string()]).await?;
    let said = project.run(&["logs", "--no-color", "gateway", "pooler"]).await?;
    fs::write(results.join("services.txt"), said).with_context(|| format!("cannot write to {}", results.display()))
}
