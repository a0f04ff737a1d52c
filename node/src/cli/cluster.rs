//! `quorate cluster status` and `remove`.

use quorate_client::wire;
use serde_json::{Value, json};

use super::Failure;
use super::frame::Frame;
use super::options::Options;
use super::output::{Format, print_json, print_line, table, verdict};
use super::units::bytes_for_people;
use super::watch::Watch;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Members, leader, terms, applied and flushed index, lag, digest, disk.
    #[command(after_help = "\
Examples:
  Who leads, and who lags:
    quorate cluster status
  The same, twice a second:
    quorate cluster status --watch 500ms
  For a program, a line a member:
    quorate cluster status -o json
")]
    Status {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        options: Options,
    },
    /// Remove a member for good. A new one joins by itself: `quorate serve --join`.
    #[command(after_help = "\
Examples:
  A node whose disk or machine is lost:
    quorate cluster remove n4
  Wait longer for the others to agree:
    quorate cluster remove n3 --timeout 2m
")]
    Remove {
        /// Its name, as `cluster status` shows it.
        name: String,
        #[command(flatten)]
        options: Options,
    },
}

pub(super) async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Status { watch, options } => {
            let cluster = watch.client(&options)?.cluster();
            watch.show(&options, async |frame: &mut Frame| print(&cluster.status().await?, frame)).await
        }
        Verb::Remove { name, options } => {
            options.client()?.cluster().remove(&name).await?;
            match options.output {
                Format::Json => print_json(&json!({ "removed": name })),
                Format::Table => print_line(&format!("{name} is no member any more")),
            }
        }
    }
}

fn print(replicas: &[wire::ReplicaStatus], frame: &mut Frame) -> Result<(), Failure> {
    if frame.format == Format::Json {
        return replicas.iter().try_for_each(|replica| frame.json(&to_json(replica)));
    }
    let mut out = table(&[
        "NAME",
        "ID",
        "SHARD",
        "ROLE",
        "TERM",
        "LAST",
        "COMMITTED",
        "APPLIED",
        "FLUSHED",
        "LAG",
        "DIGEST",
        "CLIENT",
        "DISK FREE",
    ]);
    // How far the leader of the shard has committed is what the others are measured by.
    let ahead = |shard| {
        let of_shard = replicas.iter().filter(|replica| replica.shard == shard);
        of_shard.map(|replica| replica.committed).max().unwrap_or(0)
    };
    for replica in replicas {
        let role = role_name(replica.role());
        let lag = ahead(replica.shard).saturating_sub(replica.applied);
        let mut row = vec![
            replica.name.clone().into(),
            replica.id.to_string().into(),
            replica.shard.to_string().into(),
        ];
        row.push(verdict(role, replica.role() != wire::Role::Unreachable));
        if replica.role() == wire::Role::Unreachable {
            row.extend((0..7).map(|_| "".into()));
            row.extend([replica.client_addr.clone().into(), "".into()]);
        } else {
            let figures =
                [replica.term, replica.last, replica.committed, replica.applied, replica.flushed, lag];
            row.extend(figures.map(|figure| figure.to_string().into()));
            row.push(digest(replica).into());
            row.extend([replica.client_addr.clone().into(), bytes_for_people(replica.disk_free).into()]);
        }
        out.add_row(row);
    }
    frame.table(&out)
}

fn digest(replica: &wire::ReplicaStatus) -> String {
    format!("{}:{}", replica.digest_index, replica.digest)
}

fn to_json(replica: &wire::ReplicaStatus) -> Value {
    json!({
        "name": replica.name,
        "id": replica.id,
        "shard": replica.shard,
        "role": stable_role(replica.role()),
        "term": replica.term,
        "last": replica.last,
        "committed": replica.committed,
        "applied": replica.applied,
        "flushed": replica.flushed,
        "digest": digest(replica),
        "client_addr": replica.client_addr,
        "disk_free": replica.disk_free,
    })
}

/// A candidate is a follower without a leader: the names in JSON don't grow.
fn stable_role(role: wire::Role) -> &'static str {
    match role {
        wire::Role::Candidate => "follower",
        other => role_name(other),
    }
}

fn role_name(role: wire::Role) -> &'static str {
    match role {
        wire::Role::Leader => "leader",
        wire::Role::Follower => "follower",
        wire::Role::Learner => "learner",
        wire::Role::Candidate => "candidate",
        wire::Role::Unreachable | wire::Role::Unspecified => "unreachable",
    }
}
