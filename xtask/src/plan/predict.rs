//! `cargo xtask plan`: plans from what was measured.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tare_plan::{Arrival, Extent, Layout, Model, Planned, Routing, Scenario, Spacing, assumptions, beyond, plan};

use super::{model, together};
use crate::Ending;
use crate::cli::{Format, Plan, Route};
use crate::kept::write_whole;
use crate::session::{show, shown};

/// More than this nobody reads.
const MOST: usize = 100;

/// Plans as they are told to programs.
#[derive(Serialize)]
struct Told<'a> {
    model: &'a Model,
    plans: &'a [Planned],
    assumptions: Vec<Vec<String>>,
}

/// Plans every combination that was asked for.
pub fn run(options: &Plan) -> Result<Ending> {
    let model = model(&options.calibration)?;
    let scenarios = scenarios(options, &model)?;
    for scenario in &scenarios {
        scenario.check(&model)?;
        let beyond = beyond(&model.ranges, scenario);
        if !(beyond.is_empty() || options.extrapolate) {
            bail!(
                "this is beyond what was measured, and would be a guess: {}; ask within it, or --extrapolate and read what is marked",
                beyond.join("; ")
            );
        }
    }
    // Half as many before they are counted: connections are opened, and queues as long as they become.
    let extent =
        Extent { seed: options.seed, warmup: options.requests as usize / 2, requests: options.requests as usize };
    let mut plans = Vec::new();
    for (nth, scenario) in scenarios.iter().enumerate() {
        if scenarios.len() > 1 {
            eprintln!("plan {} of {}", nth + 1, scenarios.len());
        }
        plans.push(plan(&model, scenario, extent)?);
    }
    let sections = tare_report::plan(&model, &plans);
    show(&match options.format {
        Format::Text => tare_report::terminal_of(&sections),
        Format::Markdown => tare_report::markdown_of(&sections),
        Format::Json => {
            let assumptions = plans.iter().map(|plan| assumptions(&model, &plan.scenario)).collect();
            serde_json::to_string_pretty(&Told { model: &model, plans: &plans, assumptions })?
        }
    });
    if let Some(file) = &options.html {
        write(file, &tare_report::html_of("Plan", &sections)?)?;
    }
    if let Some((file, svg)) = options.chart.as_ref().zip(tare_report::plan_chart(&plans)) {
        write(file, &svg)?;
    }
    let all_keep_up = plans.iter().all(|plan| plan.outcome.keeps_up);
    Ok(if all_keep_up { Ending::Met } else { Ending::Missed })
}

fn write(file: &Path, text: &str) -> Result<()> {
    write_whole(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("written: {}", shown(file));
    Ok(())
}

/// Every combination of what was asked for.
fn scenarios(options: &Plan, model: &Model) -> Result<Vec<Scenario>> {
    let layout = match (options.server_cores, options.postgres_cores) {
        (None, None) if options.instances.iter().all(|instances| *instances == 1) => Layout::Together,
        (server, postgres) => Layout::Apart {
            server_cores: server.unwrap_or(model.server_threads),
            postgres_cores: postgres.unwrap_or(model.cores),
        },
    };
    let loads = options.rate.iter().map(|per_second| Arrival::Rate {
        per_second: *per_second,
        spacing: Spacing::Poisson,
        at_a_time: None,
    });
    let loads: Vec<_> = loads
        .chain(options.callers.iter().map(|callers| Arrival::Callers { callers: *callers, think_ms: 0.0 }))
        .collect();
    let tenants = match options.tenants.as_slice() {
        [] => vec![model.ranges.tenants[0] as usize],
        given => given.to_vec(),
    };
    let routing = match options.routing {
        Route::Any => Routing::Any,
        Route::ByTenant => Routing::ByTenant,
    };
    let mut all = vec![Scenario { layout, routing, ..together(&options.action) }];
    all = each(all, &tenants, |scenario, tenants| scenario.tenants = *tenants);
    all = each(all, &loads, |scenario, arrival| scenario.arrival = *arrival);
    all = each(all, &options.instances, |scenario, instances| scenario.instances = *instances);
    all = each(all, &options.pool_size, |scenario, pool_size| scenario.pool_size = *pool_size);
    all = each(all, &options.budget, |scenario, budget| scenario.budget = *budget);
    all = each(all, &options.distance, |scenario, network| {
        scenario.round_trip_ms = network.round_trip.as_secs_f64() * 1e3;
        scenario.jitter_ms = network.jitter.as_secs_f64() * 1e3;
    });
    match all.len() {
        0 => bail!("there is nothing to plan"),
        many if many > MOST => bail!("these are {many} plans, and {MOST} can be read; ask for fewer at a time"),
        _ => Ok(all),
    }
}

/// Each of `scenarios` with each of `values`.
fn each<T>(scenarios: Vec<Scenario>, values: &[T], set: impl Fn(&mut Scenario, &T)) -> Vec<Scenario> {
    let with = |scenario: &Scenario, value: &T| {
        let mut scenario = scenario.clone();
        set(&mut scenario, value);
        scenario
    };
    scenarios.iter().flat_map(|scenario| values.iter().map(move |value| with(scenario, value))).collect()
}
