//! The bytes of an entry: encoded once here, shared by the network, the log and the machine.

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::FORMAT_VERSION;
use quorate_machine::command::{Batch, Command, Verb};

/// Roughly the encoded size of a command, without encoding it.
pub fn size_hint(verb: &Verb) -> usize {
    const SMALL: usize = 128;
    match verb {
        Verb::Publish(publish) => SMALL + publish.messages.len() + publish.lengths.len() * 3,
        Verb::Settle(settle) => SMALL + settle.ranges.len() * 32,
        _ => SMALL,
    }
}

/// Encodes a batch of commands stamped with the leader's time.
pub fn encode(time_ms: u64, verbs: Vec<Verb>) -> Bytes {
    let commands = verbs.into_iter().map(|verb| Command { verb: Some(verb) }).collect();
    Batch { format_version: FORMAT_VERSION, time_ms, commands }.encode_to_vec().into()
}
