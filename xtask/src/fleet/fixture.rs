//! What the containers of a fleet have in common: tenants' databases, logins, and what workers send.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;
use tare_testbed::{Fixture, Provider, Size, Template, Testbed, pgbouncer_logins};
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::cli::FleetFixture;
use crate::serve::private_file;

/// The file with the number of audit rows that were there in the end.
pub const AUDITED: &str = "audited";
/// Different requests of each user.
const VARIETY: usize = 200;

/// A mix of requests, as `stress --mix` reads it.
#[derive(Serialize)]
struct Mix {
    actions: Vec<Action>,
}

#[derive(Serialize)]
struct Action {
    name: String,
    body: String,
    headers: BTreeMap<&'static str, String>,
    expect: Vec<String>,
}

/// Makes it, and keeps it until told to stop. The file `ready` is written last.
pub async fn run(options: &FleetFixture, stop: CancellationToken) -> Result<Ending> {
    let making = async {
        let size = Size::with_parts(options.parts);
        let testbed = Testbed::find_or_start(Some(Provider::Url), size, &|line| eprintln!("{line}")).await?;
        let fixture = &testbed.fixture;
        fixture.set_indexes(true).await?;
        fixture.route_through(options.route.clone()).await?;
        write(fixture, options)?;
        anyhow::Ok(testbed)
    };
    let made = tokio::select! {
        made = making => made?,
        () = stop.cancelled() => return Ok(Ending::Interrupted),
    };
    stop.cancelled().await;
    // Whoever asked for requests compares: gateways have been stopped by now, and have written what they had queued.
    let rows = made.fixture.audit_rows().await?.to_string();
    let counted = options.results.join(AUDITED);
    std::fs::write(&counted, rows).with_context(|| format!("cannot write {}", counted.display()))?;
    Ok(Ending::Met)
}

fn write(fixture: &Fixture, options: &FleetFixture) -> Result<()> {
    let folder = &options.folder;
    let file = |name: &str, content: &str| -> Result<()> {
        let path = folder.join(name);
        let written = private_file(&path)?.write_all(content.as_bytes());
        written.with_context(|| format!("cannot write {}", path.display()))
    };
    file("logins", &pgbouncer_logins(fixture))?;
    file("control-url", &fixture.control().url_at(fixture.server(), options.route.clone()))?;
    file("jwt-secret", fixture.secret().expose())?;
    let (mix, bodies) = requests(fixture, &options.action)?;
    for (name, lines) in bodies {
        file(&name, &lines.join("\n"))?;
    }
    file("mix.toml", &toml::to_string(&mix)?)?;
    file("ready", "")
}

/// An action for each user, and the bodies that each picks from, by the file they are to lie in.
fn requests(fixture: &Fixture, action: &str) -> Result<(Mix, BTreeMap<String, Vec<String>>)> {
    let template = Template::named(action)?;
    let (mut actions, mut bodies) = (Vec::new(), BTreeMap::new());
    for tenant in fixture.tenants() {
        for user in &tenant.crew {
            let mut tenant = tenant.clone();
            tenant.crew.retain(|one| one.id == user.id);
            let prepared = template.requests(fixture, std::slice::from_ref(&tenant), VARIETY);
            let token = prepared.first().map(|one| one.token.clone()).context("a tenant without a user")?;
            let file = format!("bodies-{}-{}.txt", tenant.index, user.yacht);
            actions.push(Action {
                name: format!("{action} of tenant {} on yacht {}", tenant.index, user.yacht),
                body: format!("{{{{ pick('{file}') }}}}"),
                headers: BTreeMap::from([
                    ("Authorization", format!("Bearer {token}")),
                    ("Content-Type", "application/json".to_owned()),
                ]),
                expect: template.promises.clone(),
            });
            bodies.insert(file, prepared.into_iter().map(|one| one.body).collect());
        }
    }
    Ok((Mix { actions }, bodies))
}
