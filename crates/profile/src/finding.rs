//! What the figures come to.

/// The share of a request from which on one side of it is the place to work, as the guide has it.
const DOMINANT: f64 = 0.70;
/// Components named at most.
const NAMED: usize = 2;

/// The fix for each component's cost, where there is one.
const FIXES: [(&str, &str); 4] =
    [("connection", "pooling"), ("tenant", "tenant-cache"), ("audit", "async-audit"), ("action", "one-call")];

/// A sentence about a request that takes `request_ms`, `database_ms` of it in its query if that was measured, and the rest in
/// `components`.
pub fn finding(who: &str, request_ms: f64, database_ms: Option<f64>, components: &[(String, f64)]) -> String {
    // What the query itself takes is inside the action and no overhead.
    let overhead = |(name, ms): &(String, f64)| match &**name {
        "action" => (name.clone(), (ms - database_ms.unwrap_or(0.0)).max(0.0)),
        _ => (name.clone(), *ms),
    };
    let mut costs: Vec<_> = components.iter().map(overhead).collect();
    costs.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    costs.truncate(NAMED);
    let largest = costs.iter().map(|(name, ms)| format!("{name} {}", percent(ms / request_ms)));
    let largest = match costs.is_empty() {
        true => String::new(),
        false => format!(", most of it {}", largest.collect::<Vec<_>>().join(" and ")),
    };
    let fixes: Vec<_> =
        costs.iter().filter_map(|(name, _)| FIXES.iter().find(|(of, _)| of == name)).map(|(_, fix)| *fix).collect();
    let fixes = match fixes.is_empty() {
        true => String::new(),
        false => format!(" ({})", fixes.join(", ")),
    };
    let Some(database_ms) = database_ms else {
        return format!("{who}: a request takes {request_ms:.2} ms{largest}.");
    };
    let database = (database_ms / request_ms).min(1.0);
    let whole = format!("{who}: the query takes {database_ms:.2} ms of a request's {request_ms:.2} ms");
    match 1.0 - database {
        share if share > DOMINANT => {
            format!("{whole}; {} is overhead{largest}: work on what surrounds the query{fixes}.", percent(share))
        }
        share if share < 1.0 - DOMINANT => {
            format!("{whole}, {} of it: work on queries and indexes.", percent(database))
        }
        share => format!("{whole}; {} is overhead{largest}: neither side dominates, both can gain.", percent(share)),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn components(of: &[(&str, f64)]) -> Vec<(String, f64)> {
        of.iter().map(|(name, ms)| ((*name).to_owned(), *ms)).collect()
    }

    #[test]
    fn the_larger_side_is_where_to_work() {
        let slow = components(&[("auth", 0.1), ("tenant", 40.0), ("connection", 50.0), ("action", 9.0)]);
        let said = finding("before", 100.0, Some(1.0), &slow);
        assert_eq!(
            said,
            "before: the query takes 1.00 ms of a request's 100.00 ms; 99 % is overhead, most of it connection 50 % and \
             tenant 40 %: work on what surrounds the query (pooling, tenant-cache)."
        );
        assert!(finding("x", 100.0, Some(80.0), &slow).ends_with("80 % of it: work on queries and indexes."));
        assert!(finding("x", 100.0, Some(50.0), &slow).ends_with("neither side dominates, both can gain."));
        assert_eq!(finding("x", 3.0, None, &[]), "x: a request takes 3.00 ms.");
    }

    #[test]
    fn the_query_is_no_overhead_of_its_action() {
        let said = finding("x", 10.0, Some(2.0), &components(&[("action", 2.5), ("network", 7.5)]));
        assert!(said.contains("most of it network 75 % and action 5 %"), "{said}");
    }
}
