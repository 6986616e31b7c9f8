//! The built-in server, for trying things by hand.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tare_testbed::{PrivateFolder, Template, Testbed};
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::build::{self, BUILD};
use crate::cli::Serve;
use crate::progress::{Planned, Progress};
use crate::service::{Service, Way};
use crate::session::{POSTGRES, show};

/// `cargo xtask serve`.
pub async fn run(options: Serve, stop: CancellationToken) -> Result<Ending> {
    let steps = [(POSTGRES, 6), (BUILD, 5)];
    let plan = steps.map(|(name, seconds)| Planned { name: name.into(), expected: Duration::from_secs(seconds) });
    let progress = Progress::new(plan.into());
    let started = async {
        progress.begin(POSTGRES);
        let say = |line: &str| progress.say(line);
        let mut testbed = Testbed::find_or_start(options.postgres.provider, options.postgres.size(), &say).await?;
        testbed.put_at(options.postgres.network).await?;
        progress.begin(BUILD);
        let way = Way { workers: options.workers, ..Way::of(options.strategy) };
        let built = build::build(&progress, false).await?;
        let service = Service::start(&built.server, &testbed, way, options.address).await?;
        anyhow::Ok((testbed, service))
    };
    let started = tokio::select! {
        started = started => Some(started),
        () = stop.cancelled() => None,
    };
    progress.end();
    let Some(started) = started else { return Ok(Ending::Interrupted) };
    let (testbed, service) = started?;

    let folder = PrivateFolder::new()?;
    let header = folder.path().join("authorization");
    let request =
        Template::named("view_part_details")?.requests(&testbed.fixture, testbed.fixture.tenants(), 1).remove(0);
    write!(private_file(&header)?, "Authorization: Bearer {}", request.token)?;
    show(&format!("serving {} on {}; Ctrl-C ends it. Try:\n\n", options.strategy, service.url()));
    show(&format!("  curl -i -H @{} -d '{}' {}\n\n", header.display(), request.body, service.url()));
    stop.cancelled().await;
    let said = service.stop().await?;
    eprint!("{said}");
    Ok(Ending::Met)
}

/// A new file that only this user can read.
pub fn private_file(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}
