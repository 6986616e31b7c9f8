//! The client that the load is made of beside the comfortable one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::UsageWho;
use tare_evidence::{Check, median};
use tare_stress::{Connection, Request, Target};

use crate::calibrate::known::Known;
use crate::calibrate::{Plan, cpu};
use crate::progress::Progress;

/// Requests at a time.
const AT_A_TIME: usize = 16;

/// Sends requests to a service that answers at once, from one thread, with hyper's connections and with reqwest, in turns.
pub async fn measure(plan: &Plan, progress: &Progress) -> Result<Vec<Check>> {
    let known = Arc::new(Known::start(Vec::new()).context("cannot serve")?);
    let target = Target::resolve(&known.url(), false, None).await?;
    let (mut hyper, mut reqwest) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        progress.at(format!("round {round} of {}", plan.rounds));
        let to = target.clone();
        hyper.push(
            on_a_thread(plan.round, move |until| {
                let (mut connection, request, mut sent) = (Connection::new(to.clone()), Request::get(), 0);
                async move {
                    while Instant::now() < until {
                        connection.send(&request).await?;
                        sent += 1;
                    }
                    Ok(sent)
                }
            })
            .await?,
        );
        let url = known.url();
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(tare_tls::client(None)?).no_proxy().build()?;
        reqwest.push(
            on_a_thread(plan.round, move |until| {
                let (client, url, mut sent) = (client.clone(), url.clone(), 0);
                async move {
                    while Instant::now() < until {
                        client.get(&url).send().await?.bytes().await?;
                        sent += 1;
                    }
                    Ok(sent)
                }
            })
            .await?,
        );
    }
    let ratio = median(hyper.iter().zip(&reqwest).map(|(hyper, reqwest)| hyper / reqwest).collect()).estimate;
    let micros = |all: Vec<f64>| median(all).estimate * 1e6;
    progress.say(&format!(
        "processor time per request: hyper {:.1} µs, reqwest {:.1} µs",
        micros(hyper.clone()),
        micros(reqwest.clone())
    ));
    Ok(vec![Check {
        what: "CPU per request of hyper against reqwest".into(),
        measured: format!("{ratio:.2} ×"),
        required: "≤ 1.00 ×".into(),
        met: ratio <= 1.0,
    }])
}

/// Lets several of `client` run at once on a thread of their own: processor time per request, in seconds.
async fn on_a_thread<F: Future<Output = Result<u64>> + 'static>(
    time: Duration,
    client: impl Fn(Instant) -> F + Clone + Send + 'static,
) -> Result<f64> {
    let measured = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let before = cpu(UsageWho::RUSAGE_THREAD)?;
        let until = Instant::now() + time;
        let local = tokio::task::LocalSet::new();
        let clients: Vec<_> = (0..AT_A_TIME).map(|_| local.spawn_local(client(until))).collect();
        let sent = local.block_on(&runtime, async {
            let mut sent = 0;
            for client in clients {
                sent += client.await??;
            }
            anyhow::Ok(sent)
        })?;
        Ok((cpu(UsageWho::RUSAGE_THREAD)? - before).as_secs_f64() / sent as f64)
    });
    measured.await?
}
