//! The client against small servers that keep the protocol's promises and break streams on command.

mod consumer;
mod fake;
mod leader;
mod producer;
