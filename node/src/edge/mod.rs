//! The edges: a protocol each. They parse requests, ask the [service](crate::service), and print its answers.

pub mod grpc;
pub mod http;
pub mod listen;
