//! Compiles the .proto files with protox, so that no `protoc` has to be installed.

use prost::Message;

const FILES: [&str; 6] = [
    "quorate/v1/message.proto",
    "quorate/v1/producer.proto",
    "quorate/v1/consumer.proto",
    "quorate/v1/queues.proto",
    "quorate/v1/cluster.proto",
    "quorate/peer/v1/peer.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".") // bodies are slices of the receive buffer
        .compile_fds(descriptors)?;
    Ok(())
}
