//! `perf.toml`.

use tare_evidence::{Bench, Config, Evidence, Interval, Machine, Pass, Run, judge, missed_by_benches};

/// A file is refused with a message, or understood; then it says the same when it is written in another way, and runs are judged by it.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    // A table has no place for whole numbers beyond 64 bits, which do for what has a fraction.
    if let Ok(table) = toml::from_str::<toml::Table>(text) {
        let written = toml::to_string(&table).expect("TOML can be written");
        let again = Config::parse(&written).expect("what was understood is understood again");
        // Not by `==`: NaN is a number of TOML.
        assert_eq!(format!("{again:?}"), format!("{config:?}"), "{written}");
    }

    let evidence = measured(&config);
    for check in judge(&config, &evidence) {
        assert!(!check.what.is_empty() && !check.required.is_empty());
    }
    assert!(missed_by_benches(&config, &evidence).len() <= config.budgets.len());
    true
}

/// A run of all that the config asks something of.
fn measured(config: &Config) -> Evidence {
    let ids = config.budgets.iter().flat_map(|budget| [&budget.id, &budget.against]).chain(config.round_trips.keys());
    let bench = |id: &String| Bench {
        id: id.clone(),
        median_ns: Interval { estimate: 5.0, ..Interval::default() },
        round_trips: Some(1),
        ..Bench::default()
    };
    let pass = |strategy: &String| Pass { strategy: Some(strategy.clone()), requests: 1, ..Pass::default() };
    Evidence {
        benches: ids.map(bench).collect(),
        passes: config.targets.keys().map(pass).collect(),
        ..Evidence::begun(Run::default(), Machine::default())
    }
}
