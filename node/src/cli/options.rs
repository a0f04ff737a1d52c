//! What every verb that talks to a cluster understands.

use std::time::Duration;

use quorate_client::Client;

use super::Failure;
use super::output::Format;
use super::units::duration;

/// How to reach the cluster and how to answer.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Options {
    /// Any nodes of the cluster; the client finds the leader.
    #[arg(long, env = "QUORATE_ENDPOINT", value_delimiter = ',', default_value = "http://127.0.0.1:7400")]
    endpoint: Vec<String>,
    /// The namespace.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// How long a call may take, looking for the leader included.
    #[arg(long, default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// For people, or one JSON object a line.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
}

impl Options {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let builder = Client::builder().endpoints(&self.endpoint).namespace(&self.namespace);
        Ok(builder.timeout(self.timeout).build()?)
    }
}
