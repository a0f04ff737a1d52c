//! Where a server's log goes.

use tracing_subscriber::EnvFilter;

/// Writes the log to standard error. `RUST_LOG` decides what is said; without it, `level` does.
pub(super) fn to_stderr(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A second call in one process changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(super::output::errors_are_coloured())
        .with_writer(std::io::stderr)
        .try_init();
}
