//! A calibration for tests, with round figures.

use tare_evidence::{Latency, Machine};

use crate::calibration::{Calibration, Cpu, Observation, Sent};
use crate::scenario::{Arrival, Layout, Routing, Scenario};

/// Reads take 0.4 ms of processor time alone, and 0.2 ms less of the server's each when there are many.
pub(crate) fn calibration() -> Calibration {
    let machine = Machine { system: "Test".into(), cpu: "Test".into(), cores: 2, memory_bytes: 1 << 30, load: 0.0 };
    let mut calibration = Calibration::begun(machine, "15.8 (system)".into(), "2026-01-01T00:00:00Z".into(), None);
    (calibration.tenants, calibration.budget) = (5, 80);
    let pass = |concurrency: usize, server: f64, pooled: bool, round_trip_ms: f64| {
        let load = if round_trip_ms > 0.0 { 0.15 } else { 0.1 };
        let cpu_ms = Cpu { load, server, postgres: if pooled { 0.1 } else { 1.1 } };
        // Many next to the database wait for each other.
        let others = if concurrency > 1 && round_trip_ms == 0.0 { 1.7 } else { 0.0 };
        let short = |figure: f64| (figure * 1e3).round() / 1e3;
        let p50_ms = short(cpu_ms.all() + 0.5 + round_trip_ms + others);
        let mean_ms = short(p50_ms + 0.069);
        Observation {
            sent: Sent {
                action: "view_part_details".into(),
                rate: None,
                concurrency,
                round_trip_ms,
                pool_size: 16,
                pooled,
            },
            requests: 1_000,
            throughput: short(1e3 / mean_ms * concurrency as f64),
            latency: Latency {
                min_ms: short(p50_ms - 0.1),
                mean_ms,
                p50_ms,
                p95_ms: short(p50_ms + 0.3),
                p99_ms: short(p50_ms + 0.6),
                p999_ms: short(p50_ms + 1.0),
                max_ms: short(p50_ms + 2.0),
            },
            audit: Some(Latency { p50_ms: 0.3, ..Latency::default() }),
            cpu_ms,
            round_trips: (!pooled).then_some(7.0),
            others: 0.0,
        }
    };
    calibration.passes =
        vec![pass(1, 0.2, true, 0.0), pass(16, 0.1, true, 0.0), pass(1, 2.2, false, 0.0), pass(16, 0.1, true, 10.0)];
    calibration
}

/// The same with passes at rates, which take more of the server's processor time.
pub(crate) fn with_rates() -> Calibration {
    let mut calibration = calibration();
    for (per_second, server, p50_ms, p95_ms) in [(500.0, 0.4, 1.1, 2.5), (2_000.0, 0.3, 1.1, 4.0)] {
        let mut pass = calibration.passes[0].clone();
        (pass.sent.rate, pass.sent.concurrency) = (Some(per_second), 64);
        (pass.throughput, pass.cpu_ms.server) = (per_second, server);
        (pass.latency.p50_ms, pass.latency.p95_ms) = (p50_ms, p95_ms);
        calibration.passes.push(pass);
    }
    calibration
}

/// All of it on the machine that was measured.
pub(crate) fn scenario(arrival: Arrival) -> Scenario {
    Scenario {
        action: "view_part_details".into(),
        tenants: 5,
        arrival,
        instances: 1,
        pool_size: 16,
        budget: 80,
        round_trip_ms: 0.0,
        jitter_ms: 0.0,
        layout: Layout::Together,
        routing: Routing::Any,
    }
}
