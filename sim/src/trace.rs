//! The trace of a run: what every part of the product and of the simulator says, with simulated time.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::interpose;

/// What is traced unless `RUST_LOG` says otherwise: every message of every link included.
const EVERYTHING: &str = "debug,turmoil=trace";

struct SimulatedTime;

impl FormatTime for SimulatedTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:10.3}", interpose::elapsed().as_secs_f64())
    }
}

/// Standard output with a large buffer; a write for each line would cost more than the run.
type Out = Arc<Mutex<BufWriter<io::Stdout>>>;

struct Line(Out);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // the guard does it once, at the end
    }
}

/// Writes out what is left of the trace when it is dropped.
pub(crate) struct Guard(Option<Out>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(out) = &self.0 {
            let _ = out.lock().flush(); // whoever read it is gone
        }
    }
}

/// Starts the trace on standard output, or only what `RUST_LOG` asks for, on standard error.
pub(crate) fn start(everything: bool) -> Guard {
    let builder = tracing_subscriber::fmt().with_timer(SimulatedTime).with_ansi(false);
    let filter = |default| EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let (started, out) = if everything {
        let out: Out = Arc::new(Mutex::new(BufWriter::with_capacity(1 << 16, io::stdout())));
        let writer = Arc::clone(&out);
        let builder = builder.with_env_filter(filter(EVERYTHING));
        (builder.with_writer(move || Line(Arc::clone(&writer))).try_init(), Some(out))
    } else {
        (builder.with_env_filter(filter("off")).with_writer(io::stderr).try_init(), None)
    };
    if let Err(e) = started {
        eprintln!("quorate-sim: no trace: {e}");
    }
    Guard(out)
}
