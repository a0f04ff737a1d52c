//! Where the settings of `serve` come from: flag, then `QUORATE_…` variable, then file, then default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, Invalid};

/// Every setting, in the order that `--print-config` shows them.
const KEYS: [&str; 15] = [
    "name",
    "data-dir",
    "client-addr",
    "peer-addr",
    "http-addr",
    "bootstrap",
    "join",
    "rejoin",
    "log-bytes-max",
    "map-bytes-max",
    "client-connections-max",
    "disk-reserve",
    "heartbeat",
    "election-timeout",
    "log-stall-after",
];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line.
    Flag,
    /// An environment variable.
    Variable(String),
    /// The file of `--config`.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

/// Values as texts, with their sources.
#[derive(Debug)]
pub struct Settings(BTreeMap<&'static str, (String, Source)>);

/// Settings that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("the settings in {path} cannot be read: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A value cannot be used.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Settings {
    /// Gathers the settings. `flags` are those that were given on the command line.
    pub fn gather(flags: BTreeMap<&'static str, String>, file: Option<&Path>) -> Result<Self, Error> {
        let in_file = file.map(read_file).transpose()?.unwrap_or_default();
        let mut all = BTreeMap::new();
        for key in KEYS {
            let variable = variable(key);
            let value = if let Some(flag) = flags.get(key) {
                Some((flag.clone(), Source::Flag))
            } else if let Ok(value) = std::env::var(&variable) {
                Some((value, Source::Variable(variable)))
            } else {
                file.and_then(|file| Some((in_file.get(key)?.clone(), Source::File(file.into()))))
            };
            if let Some(value) = value.or_else(|| default(key).map(|v| (v, Source::Default))) {
                all.insert(key, value);
            }
        }
        Ok(Self(all))
    }

    /// One line a setting: what applies and where it came from. The lines are a valid settings file.
    pub fn print(&self) -> String {
        let lines = self.0.iter().map(|(key, (value, source))| {
            let source = match source {
                Source::Flag => "flag".to_owned(),
                Source::Variable(name) => name.clone(),
                Source::File(path) => path.display().to_string(),
                Source::Default => "default".to_owned(),
            };
            format!("{key} = {}  # {source}\n", toml::Value::String(value.clone()))
        });
        lines.collect()
    }

    /// The settings as a node takes them.
    pub fn config(&self) -> Result<Config, Error> {
        let text = |key: &'static str| self.0.get(key).map(|(value, _)| value.as_str());
        let missing = |key| Invalid { key, problem: "must be given".into() };
        let name = text("name").ok_or_else(|| missing("name"))?;
        let mut config = Config::new(name, text("data-dir").ok_or_else(|| missing("data-dir"))?);
        if let Some(addr) = text("client-addr") {
            config.client_addr = addr.into();
        }
        if let Some(addr) = text("peer-addr") {
            config.peer_addr = addr.into();
        }
        if let Some(addr) = text("http-addr") {
            config.http_addr = addr.into();
        }
        config.bootstrap = bootstrap(text("bootstrap").unwrap_or_default())?;
        let join = text("join").unwrap_or_default().split(',').map(str::trim);
        config.join = join.filter(|addr| !addr.is_empty()).map(str::to_owned).collect();
        config.rejoin = match text("rejoin").unwrap_or("false") {
            "true" => true,
            "false" => false,
            other => {
                let problem = format!("{other:?} is neither true nor false");
                return Err(Invalid { key: "rejoin", problem }.into());
            }
        };
        if let Some(value) = text("log-bytes-max") {
            config.raft.log_bytes_max = size("log-bytes-max", value)?;
        }
        if let Some(value) = text("map-bytes-max") {
            config.map_bytes_max = size("map-bytes-max", value)?;
        }
        if let Some(value) = text("client-connections-max") {
            let problem = |_| Invalid {
                key: "client-connections-max",
                problem: format!("{value:?} is not a number of connections"),
            };
            config.client_connections_max = value.parse().map_err(problem)?;
        }
        if let Some(value) = text("disk-reserve") {
            config.disk_reserve_bytes = size("disk-reserve", value)?;
        }
        if let Some(value) = text("heartbeat") {
            config.raft.heartbeat_ms = millis("heartbeat", value)?;
        }
        if let Some(value) = text("election-timeout") {
            config.raft.election_ms_max = millis("election-timeout", value)?;
            config.raft.election_ms_min = config.raft.election_ms_max / 2;
        }
        if let Some(value) = text("log-stall-after") {
            config.raft.log_stall_after = Duration::from_millis(millis("log-stall-after", value)?);
        }
        config.check()?;
        Ok(config)
    }
}

/// The variable that says the same as a key.
pub(super) fn variable(key: &str) -> String {
    format!("QUORATE_{}", key.replace('-', "_").to_uppercase())
}

fn default(key: &str) -> Option<String> {
    let config = Config::new("", "");
    match key {
        "client-addr" => Some(config.client_addr),
        "peer-addr" => Some(config.peer_addr),
        "http-addr" => Some(config.http_addr),
        "log-bytes-max" => Some(format!("{}MiB", config.raft.log_bytes_max >> 20)),
        "map-bytes-max" => Some(format!("{}GiB", config.map_bytes_max >> 30)),
        "client-connections-max" => Some(config.client_connections_max.to_string()),
        "disk-reserve" => Some(format!("{}MiB", config.disk_reserve_bytes >> 20)),
        "heartbeat" => Some(format!("{}ms", config.raft.heartbeat_ms)),
        "election-timeout" => Some(format!("{}ms", config.raft.election_ms_max)),
        "log-stall-after" => Some(format!("{}s", config.raft.log_stall_after.as_secs())),
        _ => None,
    }
}

/// Keys and values of a TOML file, values as texts.
fn read_file(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let failed = |problem: String| Error::File { path: path.into(), problem };
    let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| failed(e.to_string()))?;
    let pairs = table.into_iter().map(|(key, value)| {
        let key = key.replace('_', "-");
        if !KEYS.contains(&key.as_str()) {
            return Err(failed(format!("{key} is not a setting; there are {}", KEYS.join(", "))));
        }
        match value {
            toml::Value::String(text) => Ok((key, text)),
            toml::Value::Integer(number) => Ok((key, number.to_string())),
            toml::Value::Boolean(on) => Ok((key, on.to_string())),
            other => Err(failed(format!("{key} must be a text or a number, not {}", other.type_str()))),
        }
    });
    pairs.collect()
}

/// `n1=host:7401,n2=host:7401`.
fn bootstrap(list: &str) -> Result<Vec<(String, String)>, Invalid> {
    let members = list.split(',').map(str::trim).filter(|member| !member.is_empty());
    let pair = |member: &str| match member.split_once('=') {
        Some((name, addr)) => Ok((name.to_owned(), addr.to_owned())),
        None => Err(Invalid { key: "bootstrap", problem: format!("{member:?} is not name=host:port") }),
    };
    members.map(pair).collect()
}

fn size(key: &'static str, text: &str) -> Result<u64, Invalid> {
    super::units::size(text).map_err(|problem| Invalid { key, problem })
}

fn millis(key: &'static str, text: &str) -> Result<u64, Invalid> {
    let duration = super::units::duration(text).map_err(|problem| Invalid { key, problem })?;
    Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
