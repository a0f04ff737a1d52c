//! `quorate cluster status`, `remove` and `version`.

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
    /// Which versions of the replicated data the members' programs read, and which one is active.
    #[command(after_help = "\
Examples:
  Before and after an upgrade of the nodes:
    quorate cluster version
  When all of them run the new program, let it write what is new:
    quorate cluster version --raise
")]
    Version {
        /// Raise the active version to the highest that every member reads and writes. Older programs can take part no more
        #[arg(long)]
        raise: bool,
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
        Verb::Version { raise, options } => {
            let cluster = options.client()?.cluster();
            let raised = if raise { cluster.raise_version(None).await? } else { 0 };
            let mut seen = cluster.version().await?;
            seen.active = seen.active.max(raised); // another node may answer, which is a little behind
            print_versions(&seen, options.output)
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
        "RESERVE",
        "DISK",
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
            row.push(replica.client_addr.clone().into());
            row.extend((0..3).map(|_| "".into()));
        } else {
            let figures =
                [replica.term, replica.last, replica.committed, replica.applied, replica.flushed, lag];
            row.extend(figures.map(|figure| figure.to_string().into()));
            row.push(digest(replica).into());
            row.push(replica.client_addr.clone().into());
            row.extend([replica.disk_free, replica.reserve].map(|bytes| bytes_for_people(bytes).into()));
            row.push(verdict(&disk(replica), replica.disk() == wire::DiskState::Ok));
        }
        out.add_row(row);
    }
    frame.table(&out)
}

fn print_versions(seen: &wire::VersionResponse, format: Format) -> Result<(), Failure> {
    let mut frame = Frame::once(format);
    let mut out = table(&["NAME", "ID", "READS", "WRITES", "ACTIVE"]);
    for member in &seen.members {
        match format {
            Format::Json => frame.json(&json!({
                "name": member.name,
                "id": member.id,
                "reads_from": member.reads_from,
                "reads_to": member.reads_to,
                "writes": member.writes,
                "active": seen.active,
            }))?,
            Format::Table => {
                let reads = match member.reads_from == member.reads_to {
                    true => member.reads_to.to_string(),
                    false => format!("{} to {}", member.reads_from, member.reads_to),
                };
                out.add_row([
                    member.name.clone(),
                    member.id.to_string(),
                    reads,
                    member.writes.to_string(),
                    seen.active.to_string(),
                ]);
            }
        }
    }
    if format == Format::Table {
        frame.table(&out)?;
    }
    frame.write()
}

fn digest(replica: &wire::ReplicaStatus) -> String {
    format!("{}:{}", replica.digest_index, replica.digest)
}

/// The state of a disk in a word, and for how long it has been stalled.
fn disk(replica: &wire::ReplicaStatus) -> String {
    match (replica.disk(), disk_name(replica.disk())) {
        (wire::DiskState::Stalled, name) => format!("{name} {}s", replica.log_stalled_ms / 1000),
        (_, name) => name.to_owned(),
    }
}

fn disk_name(disk: wire::DiskState) -> &'static str {
    match disk {
        wire::DiskState::Unspecified => "unknown",
        wire::DiskState::Ok => "ok",
        wire::DiskState::Low => "low",
        wire::DiskState::Short => "short",
        wire::DiskState::Waiting => "waiting",
        wire::DiskState::Stalled => "stalled",
    }
}

/// What nobody could tell is null.
fn to_json(replica: &wire::ReplicaStatus) -> Value {
    let known = replica.role() != wire::Role::Unreachable;
    let told = |value: Value| if known { value } else { Value::Null };
    json!({
        "name": replica.name,
        "id": replica.id,
        "shard": replica.shard,
        "role": stable_role(replica.role()),
        "term": told(replica.term.into()),
        "last": told(replica.last.into()),
        "committed": told(replica.committed.into()),
        "applied": told(replica.applied.into()),
        "flushed": told(replica.flushed.into()),
        "digest": told(digest(replica).into()),
        "client_addr": replica.client_addr,
        "disk_free": told(replica.disk_free.into()),
        "room": told(replica.room.into()),
        "reserve": told(replica.reserve.into()),
        "disk": told(disk_name(replica.disk()).into()),
        "log_stalled_ms": told(replica.log_stalled_ms.into()),
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
