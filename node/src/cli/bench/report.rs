//! The figures of a run.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::Work;
use super::publish::Published;
use super::receive::Received;
use crate::cli::Failure;
use crate::cli::output::{Format, print_json, print_table, table, verdict};

/// See the module.
pub(super) struct Report {
    work: Work,
    size: usize,
    seconds: f64,
    /// Confirmed, or where there are consumers acknowledged, in the measured time.
    messages: u64,
    pub(super) confirmed_ever: u64,
    pub(super) errors: u64,
    error: Option<String>,
    pub(super) failed_settles: u64,
    confirm: Histogram<u64>,
    end_to_end: Histogram<u64>,
    pub(super) verified: bool,
}

impl Report {
    pub(super) fn new(
        work: Work,
        size: usize,
        seconds: f64,
        published: Published,
        received: Received,
    ) -> Self {
        Self {
            work,
            size,
            seconds,
            messages: if work == Work::Publish { published.confirmed } else { received.acked },
            confirmed_ever: published.confirmed_ever,
            errors: published.errors + received.errors,
            error: published.error.or(received.error),
            failed_settles: received.failed_settles,
            confirm: published.confirm,
            end_to_end: received.end_to_end,
            verified: false,
        }
    }

    pub(super) fn print(&self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Json => print_json(&self.to_json()),
            Format::Table => self.print_for_people(),
        }
    }

    /// A run that broke a promise, or met errors, has failed.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if let Some(error) = &self.error {
            return Err(Failure::new(
                format!("{} errors, the first: {error}", self.errors),
                "look at the cluster's state with `quorate cluster status`",
            ));
        }
        if !self.verified {
            return Err(Failure::new(
                "the run is not verified: messages are missing, repeated or out of order",
                "keep the data directories and report it",
            ));
        }
        Ok(())
    }

    fn work(&self) -> &'static str {
        match self.work {
            Work::Publish => "publish",
            Work::Receive(_) => "receive",
            Work::Pipeline => "pipeline",
        }
    }

    fn rates(&self) -> (f64, f64) {
        let per_second = self.messages as f64 / self.seconds;
        (per_second, per_second * self.size as f64 / 1e6)
    }

    fn to_json(&self) -> Value {
        let (messages, megabytes) = self.rates();
        let mut object = json!({
            "work": self.work(),
            "messages": self.messages,
            "seconds": (self.seconds * 1000.0).round() / 1000.0,
            "msgs_per_second": messages.round(),
            "mb_per_second": (megabytes * 100.0).round() / 100.0,
            "errors": self.errors,
            "verified": self.verified,
        });
        // A backlog is made before the clock runs, and how long it lies there says nothing.
        if !matches!(self.work, Work::Receive(_)) {
            object["confirm_us"] = percentiles(&self.confirm);
        }
        if self.work == Work::Pipeline {
            object["end_to_end_us"] = percentiles(&self.end_to_end);
        }
        object
    }

    fn print_for_people(&self) -> Result<(), Failure> {
        let (messages, megabytes) = self.rates();
        let mut out = table(&["WORK", "MESSAGES", "MSGS/S", "MB/S", "ERRORS", "VERIFIED"]);
        let cells = [
            self.work().to_owned(),
            self.messages.to_string(),
            format!("{messages:.0}"),
            format!("{megabytes:.1}"),
            self.errors.to_string(),
        ];
        let mut row: Vec<_> = cells.into_iter().map(comfy_table::Cell::new).collect();
        row.push(verdict(if self.verified { "yes" } else { "NO" }, self.verified));
        out.add_row(row);
        print_table(&out)?;
        let mut times = table(&["LATENCY", "P50", "P99", "P99.9", "MAX"]);
        let mut add = |name: &str, histogram: &Histogram<u64>| {
            let at = |quantile| format!("{:.2} ms", histogram.value_at_quantile(quantile) as f64 / 1000.0);
            let max = format!("{:.2} ms", histogram.max() as f64 / 1000.0);
            times.add_row([name.to_owned(), at(0.5), at(0.99), at(0.999), max]);
        };
        match self.work {
            Work::Receive(_) => return Ok(()),
            Work::Publish => add("confirm", &self.confirm),
            Work::Pipeline => {
                add("confirm", &self.confirm);
                add("end to end", &self.end_to_end);
            }
        }
        print_table(&times)
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "p50": histogram.value_at_quantile(0.5),
        "p99": histogram.value_at_quantile(0.99),
        "p999": histogram.value_at_quantile(0.999),
        "max": histogram.max(),
    })
}
