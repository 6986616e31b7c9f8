//! Spans to an OpenTelemetry collector, over OTLP as protobuf on HTTP.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Each of these tells where the collector is, as the OpenTelemetry specification has it.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// How long the collector may take for one batch, and for the last one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Exports spans until it is dropped, and then those that are left.
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// To the collector that the environment tells; nothing when it tells none. Must be called outside of an async runtime.
    ///
    /// # Errors
    /// What the environment tells cannot be used.
    pub fn of_environment() -> Result<Option<Self>> {
        let is_told = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let Some(told) = ENDPOINTS.iter().find(|name| is_told(name)) else { return Ok(None) };
        let client = reqwest::blocking::Client::builder().tls_backend_preconfigured(tare_tls::client(None)?);
        let client = client.timeout(PATIENCE).build().context("cannot make a client for the collector of spans")?;
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
        let exporter = exporter.with_context(|| format!("cannot export spans to where {told} tells"))?;
        let mut resource = Resource::builder();
        if !is_told(&"OTEL_SERVICE_NAME") {
            resource = resource.with_service_name("tare-server");
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        Ok(Some(Self(provider.build())))
    }

    /// What hears of the spans: requests and their components.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let own = Targets::new().with_targets(["tare_gateway", "tare_server"].map(|name| (name, LevelFilter::INFO)));
        let layer: tracing_opentelemetry::OpenTelemetryLayer<S, Tracer> =
            tracing_opentelemetry::layer().with_tracer(self.0.tracer("tare-server"));
        layer.with_filter(own)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Makes `span` a part of the client's trace.
pub fn join(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    // Refused where no spans are exported, and then of no account.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
}
