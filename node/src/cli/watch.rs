//! `--watch`: the same look again and again.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::time::Duration;

use quorate_client::Client;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::Instant;

use super::Failure;
use super::frame::Frame;
use super::options::Options;
use super::output::{Format, coloured, unwritable};
use super::stop::Stop;
use super::units::{duration, rfc3339};
use crate::clock::{Clock as _, SystemClock};

/// A look takes no longer than this or the interval: long enough for a new leader, and who watches wants to know.
const LOOK_MAX: Duration = Duration::from_secs(3);
/// How long a reader may be gone before that is noticed.
const READER_LOOK: Duration = Duration::from_secs(1);
/// Rows of a terminal that does not say how many it has.
const ROWS: usize = 24;

/// The flag.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Watch {
    /// Show it again and again, 100ms to 1h apart, until Ctrl-C [default: 1s].
    #[arg(
        long,
        value_name = "INTERVAL",
        num_args = 0..=1,
        default_missing_value = "1s",
        value_parser = interval,
        help_heading = "Connection and output"
    )]
    watch: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)
        .map_err(|problem| format!("{problem} (names go before --watch, or write --watch=1s)"))?;
    if (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&interval) {
        Ok(interval)
    } else {
        Err(format!("{text} is out of range: 100ms to 1h"))
    }
}

impl Watch {
    pub(super) fn is_on(self) -> bool {
        self.watch.is_some()
    }

    /// A client for the looks.
    pub(super) fn client(self, options: &Options) -> Result<Client, Failure> {
        match self.watch {
            Some(interval) => options.client_within(interval.max(LOOK_MAX)),
            None => options.client(),
        }
    }

    /// Shows what `look` gathers, once or as often as it was asked for. A watch ends with Ctrl-C, when nobody reads it any
    /// more, or when it is refused; it outlives a lost leader.
    pub(super) async fn show(
        self,
        options: &Options,
        mut look: impl AsyncFnMut(&mut Frame) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(interval) = self.watch else {
            let mut frame = Frame::once(options.output);
            look(&mut frame).await?;
            return frame.write();
        };
        let mut stop = Stop::listen()?;
        let mut screen = Screen::new(options.output, interval);
        loop {
            let next = Instant::now() + interval;
            let mut frame = Frame::whole(options.output);
            let looked = tokio::select! {
                biased;
                () = stop.asked() => return Ok(()),
                looked = look(&mut frame) => looked,
            };
            let failed = match looked {
                Err(failure) if !failure.may_pass() => return Err(failure),
                looked => looked.err(),
            };
            if !screen.show(&frame, failed.as_ref())? {
                return Ok(());
            }
            while Instant::now() < next {
                tokio::select! {
                    biased;
                    () = stop.asked() => return Ok(()),
                    () = tokio::time::sleep_until(next.min(Instant::now() + READER_LOOK)) => {}
                }
                if reader_is_gone() {
                    return Ok(());
                }
            }
        }
    }
}

/// Where frames go.
struct Screen {
    format: Format,
    title: String,
    /// A terminal, where each frame takes the place of the one before.
    redraws: bool,
    frames: u64,
}

impl Screen {
    fn new(format: Format, interval: Duration) -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let title = format!("every {}: quorate {}", humantime::format_duration(interval), words.join(" "));
        Self { format, title, redraws: format == Format::Table && coloured(), frames: 0 }
    }

    /// Writes a frame in one piece; false if nobody reads any more.
    fn show(&mut self, frame: &Frame, failed: Option<&Failure>) -> Result<bool, Failure> {
        let mut text = Vec::new();
        match self.format {
            Format::Json => {
                text.extend_from_slice(frame.shown());
                if let Some(failure) = failed {
                    failure.report(self.format);
                }
            }
            Format::Table => {
                let head = format!("{}  {}\n\n", rfc3339(SystemClock.now_ms()), self.title);
                text.extend_from_slice(head.as_bytes());
                match failed {
                    Some(failure) => text.extend_from_slice(failure.for_people(self.redraws).as_bytes()),
                    None => text.extend_from_slice(frame.shown()),
                }
            }
        }
        if self.redraws {
            text = redrawn(&text, rows(), self.frames == 0);
        } else if self.format == Format::Table {
            text.push(b'\n');
        }
        self.frames += 1;
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(&text).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(!reader_is_gone()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(unwritable(&error)),
        }
    }
}

/// A frame over the one before: each line ends what stood there, and nothing is cleared that is written again, so nothing
/// flickers. Lines are cut at the edges of the terminal.
fn redrawn(text: &[u8], rows: usize, first: bool) -> Vec<u8> {
    let lines: Vec<&[u8]> = text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n').collect();
    // The last row is where the cursor rests.
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    let mut out = Vec::with_capacity(text.len() + 16 * lines.len());
    out.extend_from_slice(if first { b"\x1b[2J\x1b[H\x1b[?7l" } else { b"\x1b[H\x1b[?7l" });
    for line in &lines[..shown] {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\x1b[K\n");
    }
    if shown < lines.len() {
        out.extend_from_slice(format!("… {} more lines\x1b[K\n", lines.len() - shown).as_bytes());
    }
    out.extend_from_slice(b"\x1b[J\x1b[?7h");
    out
}

fn rows() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_row > 0 => size.ws_row.into(),
        _ => ROWS,
    }
}

/// Whether standard output is a pipe that nobody reads, or a terminal that is gone.
fn reader_is_gone() -> bool {
    let stdout = std::io::stdout();
    let wanted = if stdout.is_terminal() { PollFlags::HUP } else { PollFlags::ERR };
    let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&now)).is_ok() && asked[0].revents().intersects(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_bounds() {
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("1h"), Ok(Duration::from_secs(3600)));
        for bad in ["99ms", "0", "61m", "orders"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_frame_is_cut_at_the_last_row_and_clears_what_it_does_not_cover() {
        let text = String::from_utf8(redrawn(b"a\nb\nc\n", 24, true)).unwrap();
        assert_eq!(text, "\x1b[2J\x1b[H\x1b[?7la\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J\x1b[?7h");
        let text = String::from_utf8(redrawn(b"a\nb\nc\n", 3, false)).unwrap();
        assert_eq!(text, "\x1b[H\x1b[?7la\x1b[K\n… 2 more lines\x1b[K\n\x1b[J\x1b[?7h");
    }
}
