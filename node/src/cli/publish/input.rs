//! Where messages come from: an argument, a file, standard input.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use crate::cli::Failure;

/// Read ahead so much.
const BUFFER_BYTES: usize = 1024 * 1024;
/// A longer line is refused before it is sent: the longest body a cluster takes.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) body: Bytes,
}

/// See the module.
pub(super) struct Input {
    reader: Box<dyn AsyncBufRead + Send + Unpin>,
    /// What is read, for people.
    name: String,
    /// The beginning of the next line, kept here so that reading may be interrupted at any point.
    partial: BytesMut,
    lines: u64,
    /// The reader holds one message, not one a line.
    whole: bool,
}

impl Input {
    pub(super) async fn open(body: Option<&str>, file: Option<&Path>) -> Result<Self, Failure> {
        let reader: Box<dyn AsyncBufRead + Send + Unpin> = match (body, file) {
            (Some(body), _) => Box::new(std::io::Cursor::new(body.as_bytes().to_vec())),
            (None, Some(path)) if path != Path::new("-") => {
                let file = tokio::fs::File::open(path).await.map_err(|error| {
                    Failure::new(
                        format!("{} cannot be read: {error}", path.display()),
                        "check the path that --file names",
                    )
                })?;
                Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
            }
            _ => Box::new(BufReader::with_capacity(BUFFER_BYTES, tokio::io::stdin())),
        };
        let name = match file {
            Some(path) if path != Path::new("-") => path.display().to_string(),
            _ => "standard input".to_owned(),
        };
        Ok(Self { reader, name, partial: BytesMut::new(), lines: 0, whole: body.is_some() })
    }

    /// The next message; `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, Failure> {
        loop {
            let chunk = self.reader.fill_buf().await.map_err(|error| {
                let what = format!("{} cannot be read after line {}: {error}", self.name, self.lines);
                Failure::new(what, "check what --file names")
            })?;
            if chunk.is_empty() {
                let last = !self.partial.is_empty() || (self.whole && self.lines == 0);
                return Ok(last.then(|| self.line()));
            }
            let end = if self.whole { None } else { chunk.iter().position(|byte| *byte == b'\n') };
            let taken = end.unwrap_or(chunk.len());
            if self.partial.len() + taken > LINE_BYTES_MAX {
                let number = self.lines + 1;
                return Err(Failure::new(
                    format!("line {number} is longer than 16 MiB, the longest body"),
                    "put it into an object store and send the reference",
                ));
            }
            self.partial.extend_from_slice(&chunk[..taken]);
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Some(self.line()));
            }
        }
    }

    fn line(&mut self) -> Line {
        self.lines += 1;
        Line { number: self.lines, body: self.partial.split().freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &'static [u8], capacity: usize) -> Vec<Bytes> {
        let reader = Box::new(BufReader::with_capacity(capacity, bytes));
        let mut input =
            Input { reader, name: String::new(), partial: BytesMut::new(), lines: 0, whole: false };
        let mut lines = Vec::new();
        while let Some(line) = input.next().await.unwrap() {
            assert_eq!(line.number, lines.len() as u64 + 1);
            lines.push(line.body);
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_bytes_without_their_end() {
        for capacity in [1, 2, 3, 64] {
            assert_eq!(lines(b"a\n\n\xff\r\nlast", capacity).await, [&b"a"[..], b"", b"\xff\r", b"last"]);
            assert_eq!(lines(b"a\n", capacity).await, [&b"a"[..]]);
            assert!(lines(b"", capacity).await.is_empty());
        }
    }

    #[tokio::test]
    async fn an_argument_is_one_message_whatever_it_holds() {
        for body in ["a\nb", ""] {
            let mut input = Input::open(Some(body), None).await.unwrap();
            assert_eq!(input.next().await.unwrap().unwrap().body, body);
            assert_eq!(input.next().await, Ok(None));
        }
    }
}
