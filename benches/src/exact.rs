//! Counts that are the same for each iteration, and would be in another run.

use tare_evidence::median;

/// Iterations whose allocations are counted where nothing else is.
pub const ALLOCATING: usize = 15;
/// The share of iterations that have to come to the same for what they count to be exact.
const AGREED: f64 = 0.9;

/// Does `work`, and tells how often it asked for memory on this thread.
pub fn allocations<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let mut done = None;
    let allocated = allocation_counter::measure(|| done = Some(work()));
    (done.expect("it was done"), allocated.count_total)
}

/// What nearly every iteration counted: now and then a buffer grows, or something passes that has nothing to do with it. Nothing
/// where they differ, as requests or what goes on beside them do: another run would then come to something else.
pub fn agreed(counts: Vec<f64>) -> Option<u64> {
    let usual = median(counts.clone()).estimate;
    let same = counts.iter().filter(|count| **count == usual).count();
    (same as f64 >= AGREED * counts.len() as f64).then_some(usual as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_what_nearly_every_iteration_comes_to() {
        let counts = |usual: usize, others: &[f64]| [vec![17.0; usual], others.to_vec()].concat();
        assert_eq!(agreed(counts(15, &[])), Some(17));
        assert_eq!(agreed(counts(14, &[21.0])), Some(17), "a buffer grew");
        assert_eq!(agreed(counts(8, &[21.0; 7])), None, "half of the requests ask for more");
        assert_eq!(agreed(counts(3, &[5.0, 20.0, 30.0])), None);
    }
}
