//! What overhead is made of when a service does not tell: split as it was published. An estimate, and marked as one.

use tare_evidence::{Component, Interval};

/// A request of `request_ms`, of which `action_ms` are its query where that was measured, and `network_ms` the way to the
/// service. What is left is split in proportion to `published`, the published time of each component in milliseconds.
pub fn estimate(
    request_ms: f64,
    action_ms: Option<Interval>,
    network_ms: Option<Interval>,
    published: &[(String, f64)],
) -> Vec<Component> {
    let measured = |name: &str| match name {
        "action" => action_ms,
        "network" => network_ms,
        _ => None,
    };
    // What was measured apart can be more than a request beside it took.
    let taken: f64 = published.iter().filter_map(|(name, _)| measured(name)).map(|ms| ms.estimate).sum();
    let left = (request_ms - taken).max(0.0);
    let whole: f64 = published.iter().filter(|(name, _)| measured(name).is_none()).map(|(_, ms)| ms).sum();
    let component = |(name, published): &(String, f64)| match measured(name) {
        Some(ms) => Component { name: name.clone(), ms, estimated: false },
        None => {
            let ms = Interval { estimate: left * published / whole, ..Interval::default() };
            Component {
                name: name.clone(),
                ms: Interval { lower: ms.estimate, upper: ms.estimate, ..ms },
                estimated: true,
            }
        }
    };
    published.iter().map(component).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_split_as_published_and_marked() {
        let published = [("tenant", 400.0), ("connection", 600.0), ("action", 125.0), ("network", 75.0)];
        let published = published.map(|(name, ms)| (name.to_owned(), ms));
        let exact = |ms| Interval { estimate: ms, lower: ms, upper: ms };
        let split = estimate(112.0, Some(exact(10.0)), Some(exact(2.0)), &published);
        let shown: Vec<_> = split.iter().map(|one| (&*one.name, one.ms.estimate, one.estimated)).collect();
        assert_eq!(
            shown,
            [("tenant", 40.0, true), ("connection", 60.0, true), ("action", 10.0, false), ("network", 2.0, false)]
        );
        let blind = estimate(120.0, None, None, &published);
        assert!(blind.iter().all(|one| one.estimated));
        assert!((blind.iter().map(|one| one.ms.estimate).sum::<f64>() - 120.0).abs() < 1e-9);
        let slower_alone = estimate(5.0, Some(exact(10.0)), None, &published);
        assert_eq!(slower_alone[0].ms.estimate, 0.0);
    }
}
