use super::*;
use crate::outcome::Resource;
use crate::samples::{self, scenario};
use crate::{Layout, beyond, plan};

fn model() -> Model {
    Model::fit(&samples::calibration()).unwrap()
}

fn callers(callers: usize) -> Arrival {
    Arrival::Callers { callers, think_ms: 0.0 }
}

fn rate(per_second: f64) -> Arrival {
    Arrival::Rate { per_second, spacing: Spacing::Poisson, at_a_time: None }
}

fn come_to(scenario: &Scenario) -> Outcome {
    simulate(&model(), scenario, Extent { seed: 1, warmup: 2_000, requests: 10_000 }).unwrap()
}

#[test]
fn the_same_seed_comes_to_the_same() {
    let seeded = |seed| simulate(&model(), &scenario(rate(1_000.0)), Extent { seed, ..Extent::default() }).unwrap();
    assert_eq!(seeded(1), seeded(1));
    assert_ne!(seeded(1).latency, seeded(2).latency);
}

#[test]
fn one_request_alone_takes_what_it_was_measured_to_take() {
    let Outcome { latency, throughput, .. } = come_to(&scenario(callers(1)));
    assert!((latency.p50_ms / 0.9 - 1.0).abs() < 0.02, "{latency:?}");
    assert!((latency.p95_ms / 1.2 - 1.0).abs() < 0.02, "{latency:?}");
    assert!((throughput * latency.mean_ms / 1e3 - 1.0).abs() < 0.01, "{throughput}");
    let far = come_to(&Scenario { round_trip_ms: 10.0, ..scenario(callers(1)) });
    assert!(far.latency.p50_ms > 10.9, "a round trip more, and the relay's work: {:?}", far.latency);
}

#[test]
fn callers_get_as_much_as_their_time_allows() {
    for (number, think_ms) in [(3, 0.0), (20, 0.0), (20, 30.0)] {
        let Outcome { throughput, latency, .. } = come_to(&scenario(Arrival::Callers { callers: number, think_ms }));
        let law = number as f64 / (latency.mean_ms + think_ms) * 1e3;
        assert!((throughput / law - 1.0).abs() < 0.01, "{throughput} {law}");
    }
}

#[test]
fn more_load_waits_longer_until_it_does_not_keep_up() {
    let p95 = [500.0, 2_000.0, 4_000.0].map(|per_second| {
        let outcome = come_to(&scenario(rate(per_second)));
        assert!(outcome.keeps_up, "{per_second}");
        outcome.latency.p95_ms
    });
    assert!(p95[0] < p95[1] && p95[1] < p95[2], "{p95:?}");
    // 0.3 ms of processor time each, of two cores.
    let over = come_to(&scenario(rate(9_000.0)));
    assert!(!over.keeps_up && over.throughput < 2.0 / 0.3e-3, "{}", over.throughput);
    assert_eq!(over.bottleneck().resource, Resource::Machine);
    assert!(over.is_held_back());
}

#[test]
fn a_few_requests_that_came_late_by_chance_are_no_fleet_that_does_not_keep_up() {
    for seed in 0..20 {
        let extent = Extent { seed, warmup: 200, requests: 1_000 };
        let outcome = simulate(&model(), &scenario(rate(300.0)), extent).unwrap();
        assert!(outcome.keeps_up, "{seed}: {}", outcome.throughput);
    }
}

#[test]
fn few_connections_hold_a_distance_back_and_more_of_them_are_what_helps() {
    let few = Scenario { pool_size: 1, round_trip_ms: 10.0, ..scenario(callers(16)) };
    let planned = plan(&model(), &few, Extent { seed: 1, warmup: 500, requests: 4_000 }).unwrap();
    assert!(planned.outcome.throughput < 5.0 / 0.01, "{}", planned.outcome.throughput);
    assert_eq!(planned.outcome.bottleneck().resource, Resource::PoolSize);
    let best = &planned.advice[0];
    assert!(best.what.contains("--pool-size 2") || best.what.contains("5 ms away"), "{}", best.what);
    assert!(best.outcome.throughput > planned.outcome.throughput * 1.5);
}

#[test]
fn requests_from_afar_take_the_server_what_those_at_a_rate_do() {
    let model = Model::fit(&samples::with_rates()).unwrap();
    // Milliseconds of the server's one thread for a request.
    let of_server = |round_trip_ms| {
        let scenario = Scenario { round_trip_ms, ..scenario(callers(16)) };
        let outcome = simulate(&model, &scenario, Extent { seed: 1, warmup: 2_000, requests: 10_000 }).unwrap();
        let server = outcome.uses.iter().find(|used| used.resource == Resource::ServerThreads).unwrap();
        server.share * model.server_threads as f64 / outcome.throughput * 1e3
    };
    assert!((of_server(0.0) / 0.1 - 1.0).abs() < 0.1, "{}", of_server(0.0));
    // 16 callers 10 ms away are answered about 1,400 times a second.
    assert!((of_server(10.0) / 0.34 - 1.0).abs() < 0.05, "{}", of_server(10.0));
}

#[test]
fn there_are_never_more_connections_than_the_budgets() {
    let many = Scenario { tenants: 300, budget: 8, ..scenario(rate(100.0)) };
    let fleet = Scenario { instances: 3, layout: Layout::Apart { server_cores: 2, postgres_cores: 4 }, ..many.clone() };
    for (scenario, most) in [(many, 8.0), (fleet, 24.0)] {
        let Outcome { connections, .. } = come_to(&scenario);
        assert!(connections.peak <= most && connections.used <= connections.open, "{connections:?}");
        assert!(connections.opened_per_second > 50.0, "nearly each request opens one: {connections:?}");
    }
}

#[test]
fn tenants_that_go_to_one_instance_find_their_connections_there() {
    let fleet = |routing| Scenario {
        tenants: 60,
        budget: 20,
        instances: 3,
        routing,
        layout: Layout::Apart { server_cores: 2, postgres_cores: 4 },
        ..scenario(rate(300.0))
    };
    let opened = |routing| come_to(&fleet(routing)).connections.opened_per_second;
    assert!(opened(Routing::ByTenant) < opened(Routing::Any) / 10.0);
}

#[test]
fn what_is_beyond_what_was_measured_is_said() {
    let model = model();
    let within = scenario(callers(16));
    assert_eq!(beyond(&model.ranges, &within), [] as [String; 0]);
    let further = Scenario {
        tenants: 10_000,
        instances: 10,
        pool_size: 64,
        budget: 500,
        round_trip_ms: 50.0,
        layout: Layout::Apart { server_cores: 4, postgres_cores: 32 },
        routing: Routing::ByTenant,
        ..scenario(rate(1e6))
    };
    let said = beyond(&model.ranges, &further);
    for part in
        ["tenants 10000", "second and instance 100000", "instances 10", "pool size 64", "budget 500", "distance 50 ms"]
    {
        assert!(said.iter().any(|sentence| sentence.starts_with(part) || sentence.contains(part)), "{part}: {said:?}");
    }
    assert_eq!(said.len(), 8, "{said:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let model = model();
    let refused = |scenario: &Scenario| scenario.check(&model).unwrap_err().to_string();
    let action = Scenario { action: "sink".into(), ..scenario(callers(1)) };
    assert!(refused(&action).contains("\"sink\" was not measured; measured were view_part_details"));
    for arrival in [callers(0), rate(0.0), rate(-5.0), rate(f64::NAN), rate(f64::INFINITY)] {
        assert_eq!(refused(&scenario(arrival)), "the load must be above zero");
    }
    assert!(refused(&Scenario { pool_size: 0, ..scenario(callers(1)) }).contains("pool size"));
    let unknown = Model { opening: None, ..model.clone() };
    assert_eq!(scenario(callers(1)).check(&unknown), Err(ScenarioError::NoOpening));
}
