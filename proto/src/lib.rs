//! The wire of Quorate, compiled from the `.proto` files in `proto/`, and the [`codec`] of its calls: nothing else lives here.
//!
//! [`v1`] is the public API, stable within its version. [`peer::v1`] is spoken between nodes only.
// Generated code: the .proto files carry the documentation.
#![allow(missing_docs, clippy::too_many_lines)]

pub mod codec;

/// The public API.
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// Node to node.
pub mod peer {
    /// The only version so far.
    pub mod v1 {
        tonic::include_proto!("quorate.peer.v1");
    }
}

/// The compiled descriptors of all services for clients, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The `domain` of every `google.rpc.ErrorInfo` that a Quorate server attaches to a status.
pub const ERROR_DOMAIN: &str = "quorate";
