//! A PostgreSQL with the fixtures in it, for looking around and for running benches on again and again.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use tare_testbed::{HANDOVER, Login, PrivateFolder, Testbed};
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::cli::Db;
use crate::progress::{Planned, Progress};
use crate::serve::private_file;
use crate::session::{POSTGRES, show};

/// `cargo xtask db`.
pub async fn run(options: Db, stop: CancellationToken) -> Result<Ending> {
    let progress = Progress::new(vec![Planned { name: POSTGRES.into(), expected: Duration::from_secs(6) }]);
    progress.begin(POSTGRES);
    let say = |line: &str| progress.say(line);
    let starting = async {
        let mut testbed = Testbed::find_or_start(options.postgres.provider, options.postgres.size(), &say).await?;
        testbed.put_at(options.postgres.network).await?;
        anyhow::Ok(testbed)
    };
    let started = tokio::select! {
        started = starting => Some(started),
        () = stop.cancelled() => None,
    };
    progress.end();
    let Some(started) = started else { return Ok(Ending::Interrupted) };
    let testbed = started?;

    let folder = PrivateFolder::new()?;
    let handover = folder.path().join("testbed.json");
    testbed.fixture.hand_over(&handover)?;
    let services = folder.path().join("pg_service.conf");
    private_file(&services)?.write_all(services_of(&testbed).as_bytes())?;

    let server = testbed.fixture.server();
    let (host, port) = testbed.address();
    show(&format!("PostgreSQL {} ({}) on {host}:{port}; Ctrl-C ends it.\n\n", server.version(), server.provider()));
    show(&format!(
        "  look around:     PGSERVICEFILE={} psql service=tenant-0   (or service=control)",
        services.display()
    ));
    show(&format!("  run benches on it: {HANDOVER}={} cargo bench", handover.display()));
    stop.cancelled().await;
    Ok(Ending::Met)
}

/// A service file for libpq: the passwords stay in it and out of arguments and output.
fn services_of(testbed: &Testbed) -> String {
    let server = testbed.fixture.server();
    let (host, port) = testbed.address();
    let mode = if server.has_tls() { "require" } else { "disable" };
    let service = |name: String, login: &Login| {
        let (database, role, password) = (&login.database, &login.role, login.password());
        format!(
            "[{name}]\nhost={host}\nport={port}\ndbname={database}\nuser={role}\npassword={password}\nsslmode={mode}\n"
        )
    };
    let tenants =
        testbed.fixture.tenants().iter().map(|tenant| service(format!("tenant-{}", tenant.index), &tenant.login));
    std::iter::once(service("control".into(), testbed.fixture.control())).chain(tenants).collect()
}
