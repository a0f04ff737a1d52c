//! How long commands are, and how they are put together without being measured again.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::{Batch, Command, Verb};
use crate::limits::{COMMAND_BYTES_MAX, ENTRY_HEAD_BYTES_MAX};
use crate::reply::Refusal;
use crate::weight::weight;

/// Tag of [`Batch::commands`].
const COMMANDS_TAG: u32 = 3;

/// A command with its encoded length and its weight, which are computed once.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    command: Command,
    bytes: usize,
    weight: u64,
}

impl Measured {
    /// Measures a command.
    ///
    /// # Errors
    /// It is longer than any command may be.
    pub fn of(verb: Verb) -> Result<Self, Refusal> {
        let weight = weight(&verb);
        let command = Command::from(verb);
        let bytes = command.encoded_len();
        Refusal::unless_at_most("request", bytes, COMMAND_BYTES_MAX, "bytes encoded")?;
        Ok(Self { command, bytes, weight })
    }

    /// What it takes in an entry, in bytes.
    pub fn bytes(&self) -> usize {
        1 + encoded_len_varint(self.bytes as u64) + self.bytes
    }

    /// Rows that it may touch: see [`weight`].
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// The command itself.
    pub fn verb(&self) -> Option<&Verb> {
        self.command.verb.as_ref()
    }
}

impl Batch {
    /// The bytes of an entry of a version with these commands: those of [`Batch::encode`].
    pub fn pack(format_version: u32, time_ms: u64, commands: &[Measured]) -> Bytes {
        let head = Batch { format_version, time_ms, commands: Vec::new() };
        let bytes: usize = commands.iter().map(Measured::bytes).sum();
        let mut entry = BytesMut::with_capacity(ENTRY_HEAD_BYTES_MAX + bytes);
        head.encode_raw(&mut entry);
        for sized in commands {
            encode_key(COMMANDS_TAG, WireType::LengthDelimited, &mut entry);
            encode_varint(sized.bytes as u64, &mut entry);
            sized.command.encode_raw(&mut entry);
        }
        entry.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FORMAT_VERSION;
    use crate::command::{CreateQueue, Publish, Tick};

    #[test]
    fn packing_is_encoding_and_sizes_are_exact() {
        let publish = |bytes: usize| {
            let (lengths, messages) = Publish::pack(&[vec![7; bytes], Vec::new()]);
            Verb::Publish(Publish { queue: "jobs".into(), lengths, messages, ..Publish::default() })
        };
        let create = Verb::CreateQueue(CreateQueue { name: "x".repeat(90), ..CreateQueue::default() });
        let verbs = [Verb::Tick(Tick {}), publish(3), create, publish(100_000)];
        let sized: Vec<Measured> =
            verbs.iter().cloned().map(|verb| Measured::of(verb).expect("short")).collect();
        let commands = verbs.map(Command::from).to_vec();
        let encoded = Batch::new(u64::MAX, commands).encode();
        let packed = Batch::pack(FORMAT_VERSION, u64::MAX, &sized);
        assert_eq!(packed, encoded);
        let bytes: usize = sized.iter().map(Measured::bytes).sum();
        assert!(encoded.len() > bytes && encoded.len() - bytes <= ENTRY_HEAD_BYTES_MAX);
    }

    #[test]
    fn what_is_longer_than_any_command_is_refused() {
        let long = |bytes: usize| {
            let messages = Bytes::from(vec![0; bytes]);
            Measured::of(Verb::Publish(Publish { messages, ..Publish::default() }))
        };
        assert!(long(COMMAND_BYTES_MAX - 100).is_ok());
        assert!(matches!(long(COMMAND_BYTES_MAX), Err(Refusal::Invalid { field: "request", .. })));
    }
}
