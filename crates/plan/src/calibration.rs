//! What was measured of one machine, as it is kept in a file.

use serde::{Deserialize, Serialize};
use tare_evidence::{Latency, Machine};

/// The version of this format; it changes when older readers would misunderstand.
pub const VERSION: u32 = 1;
/// What a calibration calls itself, so that no other file is taken for one.
const KIND: &str = "tare-plan-calibration";

/// What one machine was measured to do. Everything else about a plan follows from this, and from what is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    kind: String,
    version: u32,
    /// When it began, RFC 3339.
    pub began: String,
    /// The commit, where there is one.
    pub commit: Option<String>,
    /// Where load, server and PostgreSQL ran together.
    pub machine: Machine,
    /// Version and provider: `15.8 (container)`.
    pub postgres: String,
    /// Tenants that requests took in turn, each with a database of its own.
    pub tenants: usize,
    /// Connections of the server at most.
    pub budget: usize,
    /// Threads that sent.
    pub load_threads: usize,
    /// Threads of the server.
    pub server_threads: usize,
    /// Every pass, in order.
    pub passes: Vec<Observation>,
}

/// What was sent in a pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// The action.
    pub action: String,
    /// Requests due per second, evenly; nothing for a closed loop.
    pub rate: Option<f64>,
    /// Requests at a time, at most.
    pub concurrency: usize,
    /// Between server and database, in milliseconds.
    pub round_trip_ms: f64,
    /// Connections to one tenant's database at most.
    pub pool_size: usize,
    /// Whether connections were kept. Else each request opened one.
    pub pooled: bool,
}

/// One pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// What was sent.
    pub sent: Sent,
    /// Requests counted; each was answered as it should be.
    pub requests: u64,
    /// Of them per second.
    pub throughput: f64,
    /// Of all.
    pub latency: Latency,
    /// Of the component in which the audit queue's disk was waited for.
    pub audit: Option<Latency>,
    /// Processor time of one request.
    pub cpu_ms: Cpu,
    /// Round trips between server and database of one request, where they were counted: those behind it included.
    pub round_trips: Option<f64>,
    /// Processors that were busy for others on this machine, on average.
    pub others: f64,
}

/// Processor time of one request, in milliseconds: all that its processes took, divided by the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// Of the process that sent it, the relay that stands for the network included.
    pub load: f64,
    /// Of the server.
    pub server: f64,
    /// Of PostgreSQL, with all its processes.
    pub postgres: f64,
}

impl Cpu {
    /// Of all of them.
    pub fn all(self) -> f64 {
        self.load + self.server + self.postgres
    }
}

/// Why a text is no calibration.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// It is no JSON, or not to its end.
    #[error("it is not whole, or no JSON: {0}")]
    Broken(#[source] serde_json::Error),
    /// It is something else.
    #[error("it is something else than the calibration of a plan")]
    Foreign,
    /// Another version wrote it.
    #[error("it has version {0}, and this reads {VERSION}")]
    Version(u64),
    /// It says that it is one, and is not.
    #[error("it is not as a calibration should be: {0}")]
    Malformed(#[source] serde_json::Error),
}

impl Calibration {
    /// One without passes yet.
    pub fn begun(machine: Machine, postgres: String, began: String, commit: Option<String>) -> Self {
        Self {
            kind: KIND.into(),
            version: VERSION,
            began,
            commit,
            machine,
            postgres,
            tenants: 0,
            budget: 0,
            load_threads: 1,
            server_threads: 1,
            passes: Vec::new(),
        }
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// Why it is none; see [`CalibrationError`].
    pub fn parse(text: &str) -> Result<Self, CalibrationError> {
        let any: serde_json::Value = serde_json::from_str(text).map_err(CalibrationError::Broken)?;
        if any["kind"] != KIND {
            return Err(CalibrationError::Foreign);
        }
        match any["version"].as_u64() {
            Some(version) if version == u64::from(VERSION) => {
                serde_json::from_value(any).map_err(CalibrationError::Malformed)
            }
            version => Err(CalibrationError::Version(version.unwrap_or_default())),
        }
    }

    /// As the text of a file.
    ///
    /// # Panics
    /// Never: all of it can be written.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and names serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn what_is_written_is_read_again() {
        // In figures as they are written: a number may be read as the one next to it.
        let read = |calibration: &Calibration| Calibration::parse(&calibration.to_json()).unwrap();
        let calibration = read(&samples::calibration());
        assert_eq!(read(&calibration), calibration);
    }

    #[test]
    fn what_is_none_is_refused_and_the_reason_said() {
        let whole = samples::calibration().to_json();
        let refused = |text: &str| Calibration::parse(text).unwrap_err().to_string();
        assert!(refused(&whole[..whole.len() / 2]).contains("not whole"));
        assert!(refused("").contains("not whole"));
        assert!(refused(r#"{"version": 6, "run": {}}"#).contains("something else"));
        assert!(refused("[1]").contains("something else"));
        assert!(refused(&whole.replace("\"version\": 1", "\"version\": 9")).contains("version 9, and this reads 1"));
        assert!(refused(&whole.replace("\"concurrency\"", "\"concurrent\"")).contains("unknown field `concurrent`"));
        assert!(refused(&whole.replace("\"budget\": 80", "\"budget\": -1")).contains("invalid value"));
    }
}
