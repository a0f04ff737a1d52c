//! The client against small servers that keep the protocol's promises and break streams on command.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod consumer;
mod fake;
mod leader;
mod otel;
mod producer;
mod tracing;
mod worker;
