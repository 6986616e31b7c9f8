//! What a fleet would do: a discrete-event simulation, fitted to what one machine was measured to do. No I/O.
//!
//! A [`Calibration`] is what was measured, and is kept in a file. [`Model::fit`] takes from it what one request takes of each
//! resource; [`simulate`] sends requests through a [`Scenario`] made of such resources. [`beyond`] says what of a scenario was
//! never measured, and [`assumptions`] what is taken for granted.

mod advice;
mod assumptions;
mod calibration;
mod engine;
mod model;
mod outcome;
mod plan;
mod range;
#[cfg(test)]
mod samples;
mod scenario;
mod settle;
mod simulate;

pub use advice::{Advice, Change, advise};
pub use assumptions::assumptions;
pub use calibration::{Calibration, CalibrationError, Cpu, Observation, Sent, VERSION};
pub use model::{Action, CpuAt, Model, ModelError, Opening, quietest};
pub use outcome::{Connections, Outcome, Resource, Use};
pub use plan::{Planned, Point, plan};
pub use range::{Ranges, beyond};
pub use scenario::{Arrival, Layout, Routing, Scenario, ScenarioError, Spacing};
pub use simulate::{Extent, simulate};
