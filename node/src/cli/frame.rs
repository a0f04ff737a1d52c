//! What one look at the cluster shows.

use std::io::Write as _;

use comfy_table::Table;
use serde_json::Value;

use super::Failure;
use super::output::{Format, unwritable};

/// So many bytes are gathered before they are written, where nobody waits for the whole.
const PORTION_BYTES: usize = 64 * 1024;

/// Gathers what a verb shows, so that it is written at once.
pub(super) struct Frame {
    pub(super) format: Format,
    shown: Vec<u8>,
    /// What is gathered is written out piece by piece, so that a long list needs no memory.
    flows: bool,
}

impl Frame {
    /// One that is shown once.
    pub(super) fn once(format: Format) -> Self {
        Self { format, shown: Vec::new(), flows: true }
    }

    /// One of many, which is to be seen whole.
    pub(super) fn whole(format: Format) -> Self {
        Self { flows: false, ..Self::once(format) }
    }

    /// A line, or what has lines already.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.bytes(line.as_bytes())
    }

    /// Bytes, as a line.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.shown.extend_from_slice(bytes);
        self.shown.push(b'\n');
        if self.flows && self.shown.len() >= PORTION_BYTES { self.write() } else { Ok(()) }
    }

    /// One object on one line.
    pub(super) fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&value.to_string())
    }

    /// A table.
    pub(super) fn table(&mut self, table: &Table) -> Result<(), Failure> {
        self.line(&table.trim_fmt())
    }

    /// What was gathered and not written.
    pub(super) fn shown(&self) -> &[u8] {
        &self.shown
    }

    /// Writes what was gathered. A reader that went away is no error: it has what it wanted.
    pub(super) fn write(&mut self) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&self.shown).and_then(|()| stdout.flush());
        self.shown.clear();
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(unwritable(&error)),
            _ => Ok(()),
        }
    }
}
