//! Compiles the .proto files with protox, so that no `protoc` has to be installed.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

const FILES: [&str; 8] = [
    "quorate/v1/message.proto",
    "quorate/v1/producer.proto",
    "quorate/v1/consumer.proto",
    "quorate/v1/subscriptions.proto",
    "quorate/v1/queues.proto",
    "quorate/v1/transactions.proto",
    "quorate/v1/cluster.proto",
    "quorate/peer/v1/peer.proto",
];

/// Messages that are passed on without being taken apart: on the wire they are what the .proto files say, in Rust they are
/// their own encoding, a slice of the receive buffer.
const ENCODED: [(&str, &str); 4] = [
    ("PublishBatch", "messages"),
    ("PublishTo", "messages"),
    ("Delivery", "message"),
    ("StoredMessage", "message"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut descriptors = protox::compile(FILES, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    // Reflection is for clients: what nodes say among each other is not part of it.
    let mut public = descriptors.clone();
    public.file.retain(|file| file.package() != "quorate.peer.v1");
    std::fs::write(out.join("descriptors.bin"), public.encode_to_vec())?;
    for (message, field) in ENCODED {
        keep_encoded(&mut descriptors, message, field);
    }
    std::fs::write(out.join("parts.rs"), parts(&descriptors))?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::Counting")
        .bytes(".") // bodies are slices of the receive buffer
        .compile_fds(descriptors)?;
    Ok(())
}

/// How many parts each message of a call may have: what clients ask is counted, answers and what nodes say among each other are not.
fn parts(descriptors: &FileDescriptorSet) -> String {
    let mut most = BTreeMap::new();
    for file in &descriptors.file {
        let is_public = file.package() != "quorate.peer.v1";
        for method in file.service.iter().flat_map(|service| &service.method) {
            let of_requests = if is_public { "REQUEST_PARTS_MAX" } else { "usize::MAX" };
            most.entry(method.output_type().to_owned()).or_insert("usize::MAX");
            most.insert(method.input_type().to_owned(), of_requests);
        }
    }
    let line = |(name, most): (String, &str)| {
        let path = name.trim_start_matches(".quorate.").replace('.', "::");
        format!("impl Parts for crate::{path} {{ const MAX: usize = {most}; }}\n")
    };
    most.into_iter().map(line).collect()
}

/// A message and bytes are the same on the wire: a length and so many bytes.
fn keep_encoded(descriptors: &mut FileDescriptorSet, message: &str, field: &str) {
    let messages = descriptors.file.iter_mut().flat_map(|file| &mut file.message_type);
    let mut fields = messages.filter(|m| m.name() == message).flat_map(|m| &mut m.field);
    let field = fields.find(|f| f.name() == field).expect("the field is in the .proto files");
    assert_eq!(field.r#type(), Type::Message);
    field.set_type(Type::Bytes);
    field.type_name = None;
}
