//! Plans: what would come of fleets that nobody has built.

use tare_evidence::units::{percent, rate, time, whole};
use tare_plan::{Arrival, Layout, Model, Outcome, Planned, Routing, Scenario, Use, assumptions};

use crate::plot::{Axis, Chart, Line, Plot, Scale, Unit, svg};
use crate::section::{Section, Table};

/// More processors than this others may not keep busy unsaid.
const DISTURBED: f64 = 0.3;
/// Lines that one picture can hold.
const LINES: usize = 6;

/// All that is told of plans, the next thing to do first.
pub fn plan(model: &Model, plans: &[Planned]) -> Vec<Section> {
    let mut told = vec![outcomes(plans)];
    told.extend(plans.iter().map(of_one));
    told.extend([fit(model), taken_for_granted(model, plans)]);
    told
}

/// How P95 grows with the load, as SVG; nothing where there is no plan.
pub fn plan_chart(plans: &[Planned]) -> Option<String> {
    svg(&plot(plans))
}

fn plot(plans: &[Planned]) -> Plot {
    let by_callers = plans.iter().any(|plan| matches!(plan.scenario.arrival, Arrival::Callers { .. }));
    let lines = plans.iter().take(LINES).map(|plan| Line {
        name: name(&plan.scenario),
        points: plan
            .course
            .iter()
            // Where it does not keep up P95 has no end, and is as long as it was simulated.
            .filter(|point| point.keeps_up)
            .map(|point| (point.load, point.p95_ms))
            .collect(),
    });
    Plot {
        title: "P95 by load".into(),
        description: "P95 of each plan with less load than asked and with more, as long as it keeps up".into(),
        chart: Chart::Lines {
            x: Axis {
                name: if by_callers { "callers" } else { "requests per second" },
                unit: Unit::Number,
                scale: Scale::Linear,
            },
            y: Axis { name: "P95", unit: Unit::Time, scale: Scale::Logarithmic },
            lines: lines.collect(),
        },
    }
}

/// `200 tenants, 500 req/s, 2 instances, pool size 16, 2 ms away`.
fn name(scenario: &Scenario) -> String {
    let load = match scenario.arrival {
        Arrival::Rate { per_second, .. } => rate(per_second),
        Arrival::Callers { callers, .. } => format!("{} callers", whole(callers as f64)),
    };
    let instances = if scenario.instances == 1 { "instance" } else { "instances" };
    let far =
        if scenario.round_trip_ms > 0.0 { format!(", {} ms away", scenario.round_trip_ms) } else { String::new() };
    let cores = match scenario.layout {
        Layout::Together => String::new(),
        Layout::Apart { server_cores, postgres_cores } => format!(", cores {server_cores} + {postgres_cores}"),
    };
    let routing = if scenario.routing == Routing::ByTenant { ", by tenant" } else { "" };
    format!(
        "{} tenants, {load}, {} {instances}, pool size {}, budget {}{far}{cores}{routing}",
        whole(scenario.tenants as f64),
        scenario.instances,
        scenario.pool_size,
        scenario.budget,
    )
}

fn marked(plan: &Planned) -> &'static str {
    if plan.beyond.is_empty() { "" } else { " *" }
}

fn outcomes(plans: &[Planned]) -> Section {
    let header =
        ["plan", "throughput", "P50", "P95", "P99", "connections", "in use", "opened a second", "first bottleneck"];
    let row = |plan: &Planned| {
        let Outcome { throughput, latency, connections, keeps_up, .. } = &plan.outcome;
        let ms = |figure: f64| if *keeps_up { time(figure) } else { "grows".to_owned() };
        let Use { resource, share, .. } = plan.outcome.bottleneck();
        vec![
            format!("{}{}", name(&plan.scenario), marked(plan)),
            rate(*throughput),
            ms(latency.p50_ms),
            ms(latency.p95_ms),
            ms(latency.p99_ms),
            whole(connections.peak),
            format!("{:.1}", connections.used),
            format!("{:.1}", connections.opened_per_second),
            format!("{}, {}", resource.words(), percent(share)),
        ]
    };
    let mut paragraphs: Vec<_> = plans.iter().map(next).collect();
    if plans.iter().any(|plan| !plan.beyond.is_empty()) {
        paragraphs.push("* Beyond what was measured; what of it is said below.".into());
    }
    let table = Table { header: header.map(str::to_owned).into(), rows: plans.iter().map(row).collect() };
    Section { plots: vec![plot(plans)], essential: true, ..Section::new("Plan", paragraphs, Some(table)) }
}

/// The first bottleneck, and what to change next.
fn next(plan: &Planned) -> String {
    let Use { resource, share, .. } = plan.outcome.bottleneck();
    let state = match plan.outcome.keeps_up {
        true => format!("keeps up with a P95 of {}", time(plan.outcome.latency.p95_ms)),
        false => format!("does not keep up: {} is all that is answered", rate(plan.outcome.throughput)),
    };
    let change = match plan.advice.first() {
        Some(best) => format!(
            "What helps most is {}: {}, P95 {}.",
            best.what,
            rate(best.outcome.throughput),
            if best.outcome.keeps_up { time(best.outcome.latency.p95_ms) } else { "grows".to_owned() },
        ),
        None => "No change of one thing would make it better by more than 5 %.".to_owned(),
    };
    format!(
        "{}{} {state}. The first bottleneck is {}, {} busy. {change}",
        name(&plan.scenario),
        marked(plan),
        resource.words(),
        percent(share)
    )
}

/// How busy everything is, and every change that helps.
fn of_one(plan: &Planned) -> Section {
    let uses =
        plan.outcome.uses.iter().map(|Use { resource, share, waited_ms }| {
            vec![resource.words().to_owned(), percent(*share), time(*waited_ms)]
        });
    let mut paragraphs: Vec<_> = plan.beyond.iter().map(|beyond| format!("* Not measured: {beyond}.")).collect();
    let [lower, upper] = plan.outcome.p95_ms;
    paragraphs.push(format!(
        "P95 lies between {} and {} with 95 % confidence, by chance in the simulation alone.",
        time(lower),
        time(upper)
    ));
    paragraphs.extend(plan.advice.iter().map(|advice| {
        format!(
            "With {}: {}, P95 {}.",
            advice.what,
            rate(advice.outcome.throughput),
            time(advice.outcome.latency.p95_ms)
        )
    }));
    let header = ["resource", "busy", "waited for, of each request"].map(str::to_owned);
    Section::new(name(&plan.scenario), paragraphs, Some(Table { header: header.into(), rows: uses.collect() }))
}

/// What all follows from.
fn fit(model: &Model) -> Section {
    let header =
        ["action", "sent", "requests at work", "CPU of the load", "of the server", "of PostgreSQL"].map(str::to_owned);
    let rows = model.actions.iter().flat_map(|(name, action)| {
        let looped = action.looped.iter().map(|point| ("in a closed loop", point));
        looped.chain(action.paced.iter().map(|point| ("at a rate", point))).map(move |(how, point)| {
            let cpu = point.cpu_ms;
            let mut row = vec![name.clone(), how.to_owned(), format!("{:.2}", point.at_work)];
            row.extend([cpu.load, cpu.server, cpu.postgres].map(time));
            row
        })
    });
    let mut paragraphs: Vec<_> = model
        .actions
        .iter()
        .map(|(name, action)| {
            format!(
                "{name} waits {} besides when it is alone (P95 {}), of which {} is not the disk, and makes {} round trips.",
                time(action.waiting.p50_ms),
                time(action.waiting.p95_ms),
                time(action.wake_ms),
                action.round_trips
            )
        })
        .collect();
    if model.others > DISTURBED {
        paragraphs.push(format!(
            "Others kept up to {:.2} processors busy while this was measured, and times are too long by what they took. Measure again when \
             nobody else uses the machine.",
            model.others
        ));
    }
    paragraphs.extend(model.opening.map(|opening| {
        format!(
            "Opening a connection takes {} of the server, {} of PostgreSQL, {} besides, and {} round trips.",
            time(opening.server_ms),
            time(opening.postgres_ms),
            time(opening.waiting_ms),
            opening.round_trips
        )
    }));
    Section::new("What was measured", paragraphs, Some(Table { header: header.into(), rows: rows.collect() }))
}

fn taken_for_granted(model: &Model, plans: &[Planned]) -> Section {
    let mut all: Vec<String> = Vec::new();
    for sentence in plans.iter().flat_map(|plan| assumptions(model, &plan.scenario)) {
        if !all.contains(&sentence) {
            all.push(sentence);
        }
    }
    Section::new("What is taken for granted", all, None)
}
