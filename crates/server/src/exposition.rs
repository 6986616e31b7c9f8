//! What is counted, as text for Prometheus.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelValue, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tare_gateway::Gateway;
use tare_gateway::audit::AuditMetrics;
use tare_gateway::connection::{CloseReason, PoolMetrics, WAIT_BOUNDS_MS};
use tare_gateway::fleet::FleetMetrics;
use tare_gateway::reads::ReadMetrics;
use tare_gateway::tenant::CacheMetrics;

use crate::metrics::{Counters, DURATION_BOUNDS};

/// The media type of [`Exposition::text`]: OpenMetrics, which Prometheus reads since its version 2.5.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Reads the counters when it is asked to, and not before: requests are not to pay for it.
pub struct Exposition(Registry);

impl Exposition {
    /// Of `gateway`, and of `counters` of requests.
    pub fn new(gateway: Arc<Gateway>, counters: Arc<Counters>) -> Self {
        let mut registry = Registry::with_prefix("tare");
        registry.register_collector(Box::new(Sources { gateway, counters }));
        Self(registry)
    }

    /// The text.
    ///
    /// # Errors
    /// Nothing there is to write can fail; the library has its methods return this.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(8 * 1024);
        text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

struct Sources {
    gateway: Arc<Gateway>,
    counters: Arc<Counters>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sources")
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        let metrics = self.gateway.metrics();
        requests(&mut page, &self.counters)?;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            page.gauge("tasks", "Tasks of the runtime that have not ended.", runtime.metrics().num_alive_tasks())?;
        }
        metrics.pools.map_or(Ok(()), |metrics| pools(&mut page, &metrics))?;
        metrics.tenants.map_or(Ok(()), |metrics| tenants(&mut page, &metrics))?;
        metrics.audit.map_or(Ok(()), |metrics| audit(&mut page, &metrics))?;
        metrics.fleet.map_or(Ok(()), |metrics| fleet(&mut page, metrics))?;
        metrics.reads.map_or(Ok(()), |metrics| reads(&mut page, metrics))
    }
}

fn requests(page: &mut Page, counters: &Counters) -> fmt::Result {
    page.counters("http_requests", "Requests for actions answered, by status.", "status", counters.answered())?;
    page.gauge("http_requests_in_flight", "Requests for actions under way.", counters.in_flight())?;
    page.gauge("http_requests_waiting", "Requests for actions that wait for a worker.", counters.waiting())?;
    page.gauge("http_requests_allowed", "Requests for actions that may be under way.", counters.allowed())?;
    page.counter("http_requests_shed", "Requests refused at once: too many were under way.", counters.shed())?;
    page.counter("http_requests_abandoned", "Requests whose client hung up unanswered.", counters.abandoned())?;
    let (counts, sum) = counters.durations();
    page.histogram("http_request_duration", "From a request's head to its answer.", &DURATION_BOUNDS, &counts, sum)
}

fn pools(page: &mut Page, pools: &PoolMetrics) -> fmt::Result {
    page.gauge("connections_budget", "Connections to databases that there may be.", pools.budget)?;
    page.gauge("connections", "Connections that there are.", pools.size)?;
    page.gauge("connections_idle", "Connections that nobody uses.", pools.idle)?;
    page.gauge("connections_waiting", "Requests that wait for a connection.", pools.waiting)?;
    page.gauge("pools", "Databases that have a pool.", pools.pools)?;
    page.counter("connections_opened", "Connections opened.", pools.opened)?;
    page.counter("connections_failed", "Connections that could not be opened.", pools.failed)?;
    let closed = CloseReason::ALL.map(CloseReason::name).into_iter().zip(pools.closed);
    page.counters("connections_closed", "Connections closed, by reason.", "reason", closed)?;
    let bounds = WAIT_BOUNDS_MS.map(|bound| bound as f64 / 1e3);
    let help = "Until those had a connection that had to wait for one.";
    page.histogram("connection_wait", help, &bounds, &pools.wait.counts, pools.wait.sum.as_secs_f64())
}

fn tenants(page: &mut Page, cache: &CacheMetrics) -> fmt::Result {
    page.gauge("tenant_cache_entries", "Users remembered.", cache.entries)?;
    page.counter("tenant_lookups", "Look-ups of tenants that a request waited for.", cache.looked_up)?;
    page.counter("tenant_refreshes", "Look-ups of tenants in the background.", cache.refreshed)?;
    page.counter("tenant_changes", "Changes of tenants told of, lost connections included.", cache.changes)?;
    page.gauge("tenant_listening", "1 when changes of tenants are heard of at once, else 0.", cache.listening)
}

fn fleet(page: &mut Page, fleet: FleetMetrics) -> fmt::Result {
    page.gauge("fleet_quota", "Connections of the fleet's budget that this server may have.", fleet.quota)?;
    page.gauge(
        "fleet_instances",
        "Servers that share the budget; 0 as long as this one has no part in it.",
        fleet.instances,
    )
}

fn reads(page: &mut Page, reads: ReadMetrics) -> fmt::Result {
    page.counter("reads_remembered", "Reads answered with what was remembered.", reads.remembered)?;
    page.counter("reads_missed", "Reads that the database answered, since nothing was remembered.", reads.read)
}

fn audit(page: &mut Page, audit: &AuditMetrics) -> fmt::Result {
    page.gauge("audit_queue_capacity", "Audit events that may wait.", audit.capacity)?;
    page.gauge("audit_queue_waiting", "Audit events that wait.", audit.waiting)
}

/// The text being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl TryInto<u64>) -> fmt::Result {
        let gauge = ConstGauge::new(value.try_into().unwrap_or(u64::MAX));
        gauge.encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (impl EncodeLabelValue, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&[(label, of)])?)?;
        }
        Ok(())
    }

    /// Of seconds: `counts` has one more than `bounds`.
    fn histogram(&mut self, name: &str, help: &str, bounds: &[f64], counts: &[u64], sum: f64) -> fmt::Result {
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let mut encoder: MetricEncoder<'_> =
            self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, counts.iter().sum(), &buckets, None)
    }
}
