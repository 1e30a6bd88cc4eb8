//! Logs: one subscriber for the process, on stderr, so that stdout stays for what a program reads.

use std::io::stderr;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogFormat, TelemetryConfig};

/// Starts logging as configured. A process that has a subscriber already keeps it: an embedding platform logs
/// its own way.
///
/// # Errors
/// [`ConfigError::Invalid`] if the filter is not valid.
pub fn start(config: &TelemetryConfig) -> Result<(), ConfigError> {
    // The DTLS stack warns of every extension of every browser's hello; a filter that names it goes before.
    let filter = EnvFilter::try_new(format!("rtc_dtls=error,{}", config.log)).map_err(|error| {
        ConfigError::Invalid {
            key: "telemetry.log".to_owned(),
            message: error.to_string(),
        }
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    let started = match config.format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&stderr()))
            .try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if started.is_err() {
        tracing::debug!("the process logs its own way");
    }
    Ok(())
}
