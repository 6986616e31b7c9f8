//! The network that a relay stands for.

use std::time::Duration;

use tare_testbed::Network;

/// Anything is refused with the form that is asked for, or is a network that makes sense and can be given as it is told.
pub fn network(bytes: &[u8]) -> bool {
    let Ok(given) = str::from_utf8(bytes) else { return false };
    let network: Network = match given.parse() {
        Ok(network) => network,
        Err(error) => {
            assert!(error.to_string().contains("rtt=80ms,jitter=5ms"));
            return false;
        }
    };
    assert!(network.jitter <= network.round_trip && network.round_trip <= Duration::from_secs(60), "{network:?}");
    assert!(
        network.bandwidth.is_none_or(|bandwidth| (1_000..=1_000_000_000_000_000).contains(&bandwidth)),
        "{network:?}"
    );
    let told = network.to_string();
    assert_eq!(told.parse(), Ok(network), "{given} is told as {told}");
    true
}
