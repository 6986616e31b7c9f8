//! Where a request's time went.

use std::time::{Duration, Instant};

use tracing::{Instrument, Span, info_span};

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Checking the token.
    Auth,
    /// Finding the caller's tenant.
    Tenant,
    /// Getting a connection to the tenant's database.
    Connection,
    /// Doing what was asked.
    Action,
    /// Recording that it was done.
    Audit,
    /// Writing the answer.
    Response,
}

impl Component {
    /// Every component, in the order a request takes them.
    pub const ALL: [Self; 6] = [Self::Auth, Self::Tenant, Self::Connection, Self::Action, Self::Audit, Self::Response];

    /// The name used in `Server-Timing`, benches, reports and docs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Tenant => "tenant",
            Self::Connection => "connection",
            Self::Action => "action",
            Self::Audit => "audit",
            Self::Response => "response",
        }
    }

    /// A span of its name. Where nobody listens it is an atomic load.
    fn span(self) -> Span {
        match self {
            Self::Auth => info_span!("auth"),
            Self::Tenant => info_span!("tenant"),
            Self::Connection => info_span!("connection"),
            Self::Action => info_span!("action"),
            Self::Audit => info_span!("audit"),
            Self::Response => info_span!("response"),
        }
    }
}

/// Time spent in each component of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings([Duration; Component::ALL.len()]);

impl Timings {
    /// Runs `work` in a span of `component` and adds its time to it.
    pub fn time<T>(&mut self, component: Component, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = component.span().in_scope(work);
        self.0[component as usize] += start.elapsed();
        done
    }

    /// Awaits `work` in a span of `component` and adds its time, waiting included, to it.
    pub async fn time_async<T>(&mut self, component: Component, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let done = work.instrument(component.span()).await;
        self.0[component as usize] += start.elapsed();
        done
    }

    /// Time spent in `component`.
    pub fn of(&self, component: Component) -> Duration {
        self.0[component as usize]
    }

    /// The value of a `Server-Timing` header: `auth;dur=0.021, tenant;dur=…`, in milliseconds to the microsecond.
    pub fn server_timing(&self) -> String {
        use std::fmt::Write;
        let mut header = String::with_capacity(128);
        for component in Component::ALL {
            let separator = if header.is_empty() { "" } else { ", " };
            let micros = self.of(component).as_nanos().div_ceil(1000);
            let _ = write!(header, "{separator}{};dur={}.{:03}", component.name(), micros / 1000, micros % 1000);
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_timing_lists_every_component_in_milliseconds() {
        let mut timings = Timings::default();
        timings.0[Component::Tenant as usize] = Duration::from_micros(12_345);
        assert_eq!(
            timings.server_timing(),
            "auth;dur=0.000, tenant;dur=12.345, connection;dur=0.000, action;dur=0.000, audit;dur=0.000, response;dur=0.000"
        );
    }
}
