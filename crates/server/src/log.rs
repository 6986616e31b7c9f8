//! Where what the server says goes to: lines on standard error, spans to a collector.

use anyhow::Result;
use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

/// How lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// What must live as long as the program.
#[derive(Default)]
pub struct Running {
    #[cfg(feature = "otlp")]
    _exporter: Option<crate::otlp::Exporter>,
}

/// Has everything said from here on written to standard error: warnings and errors, or what `RUST_LOG` selects. Exports spans,
/// too, where that is compiled in and asked for.
///
/// # Errors
/// Spans cannot be exported to where the environment tells.
pub fn start(format: Format) -> Result<Running> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = registry().with(lines.with_filter(filter));
    #[cfg(feature = "otlp")]
    if let Some(exporter) = crate::otlp::Exporter::of_environment()? {
        subscriber.with(exporter.layer()).init();
        return Ok(Running { _exporter: Some(exporter) });
    }
    subscriber.init();
    Ok(Running::default())
}
