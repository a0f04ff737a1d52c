//! What every verb that talks to a cluster understands.

use std::time::Duration;

use clap::{ArgMatches, FromArgMatches as _};
use quorate_client::{Client, Error};

use super::Failure;
use super::output::Format;
use super::units::duration;

/// How to reach the cluster and how to answer.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Connection and output")]
pub(super) struct Options {
    /// Any nodes of the cluster; the client finds the leader. Also the variable QUORATE_ENDPOINT.
    // The variable is read here: of what clap reads from variables it believes that it was typed, and says so in usages.
    #[arg(long, value_name = "URL,…", value_delimiter = ',', default_values_t = endpoints())]
    endpoint: Vec<String>,
    /// The namespace.
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// How long a call may take, looking for the leader included; 1ms or more.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// For people, or one JSON object a line.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub(super) output: Format,
}

/// What `--endpoint` is if it is not given.
fn endpoints() -> Vec<String> {
    let named = std::env::var("QUORATE_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:7400".into());
    named.split(',').map(str::to_owned).collect()
}

impl Options {
    /// Those that were given to a verb; `None` if it takes none.
    pub(super) fn of(verb: &ArgMatches) -> Option<Self> {
        verb.try_contains_id("endpoint").ok()?;
        Self::from_arg_matches(verb).ok()
    }

    pub(super) fn client(&self) -> Result<Client, Failure> {
        self.client_within(Duration::MAX)
    }

    /// A client whose calls take no longer than this, nor than `--timeout` says.
    pub(super) fn client_within(&self, at_most: Duration) -> Result<Client, Failure> {
        let builder = Client::builder().endpoints(&self.endpoint).namespace(&self.namespace);
        builder.timeout(self.timeout.min(at_most)).build().map_err(|error| {
            let failure = Failure::from(error.clone());
            match error {
                Error::Config(_) => Failure { action: self.corrected(), ..failure },
                _ => failure,
            }
        })
    }

    /// What to do about options that no client can be built of.
    fn corrected(&self) -> String {
        match self.timeout.is_zero() {
            true => "give --timeout 1ms or more".into(),
            false => {
                "give --endpoint, or the variable QUORATE_ENDPOINT, as http://host:port, several with commas between".into()
            }
        }
    }
}
