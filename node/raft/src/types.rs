//! openraft's types for Quorate, and their translation to what the log keeps and what the wire carries.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use openraft::impls::leader_id_adv;
use openraft::{EntryPayload, Membership, StoredMembership};
use prost::Message as _;
use quorate_machine::Versions;
use quorate_machine::reply::Outcome;
use quorate_proto::peer::v1 as wire;
use quorate_storage::log::{self, Kind, Record};

use crate::responder::Done;

/// The commands of one entry, encoded once on the leader: log, network and machine share these bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Commands(pub Bytes);

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len()) // openraft prints entries; bodies are nobody's business
    }
}

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the machine answered to the commands of one entry, in their order.
#[derive(Debug)]
pub struct Answers(pub Vec<Outcome>);

/// What the membership says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Stable name, such as a pod's.
    pub name: String,
    /// `host:port` of the peer API.
    pub peer_addr: String,
    /// `host:port` of the client API.
    pub client_addr: String,
    /// Drawn once for each data directory.
    pub incarnation: [u8; 16],
    /// What its program reads and writes, as it said last.
    pub versions: Versions,
}

/// openraft's view of Quorate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Commands;
    type R = Answers;
    type NodeId = u64;
    type Node = Peer;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = Done<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::AnyError;
}

/// Term and node: two nodes may lead one term, which saves an election round on a tie.
pub type LeaderId = leader_id_adv::LeaderId<u64, u64>;
/// A log id in openraft's terms.
pub type LogId = openraft::LogId<LeaderId>;
/// A vote in openraft's terms.
pub type Vote = openraft::Vote<LeaderId>;
/// What an entry carries.
pub type Payload = EntryPayload<Commands, u64, Peer>;
/// An entry in openraft's terms.
pub type Entry = openraft::Entry<LeaderId, Payload>;
/// A membership with the log id that set it.
pub type Members = StoredMembership<LeaderId, u64, Peer>;

/// The log id as the log keeps it.
pub fn log_id_to_store(id: &LogId) -> log::LogId {
    log::LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

/// The log id as openraft wants it.
pub fn log_id_from_store(id: log::LogId) -> LogId {
    LogId { leader_id: LeaderId { term: id.term, node_id: id.node }, index: id.index }
}

/// The log id as peers send it.
pub fn log_id_to_wire(id: &LogId) -> wire::LogId {
    wire::LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

/// The log id as openraft wants it.
pub fn log_id_from_wire(id: wire::LogId) -> LogId {
    LogId { leader_id: LeaderId { term: id.term, node_id: id.node }, index: id.index }
}

/// The vote as the log keeps it.
pub fn vote_to_store(vote: &Vote) -> log::Vote {
    log::Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

/// The vote as openraft wants it.
pub fn vote_from_store(vote: log::Vote) -> Vote {
    Vote { leader_id: LeaderId { term: vote.term, node_id: vote.node }, committed: vote.committed }
}

/// The vote as peers send it.
pub fn vote_to_wire(vote: &Vote) -> wire::Vote {
    wire::Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

/// The vote as openraft wants it.
pub fn vote_from_wire(vote: wire::Vote) -> Vote {
    Vote { leader_id: LeaderId { term: vote.term, node_id: vote.node }, committed: vote.committed }
}

/// The entry as the log keeps it. The commands are shared, not copied.
pub fn entry_to_record(entry: Entry) -> Record {
    let id = log_id_to_store(&entry.log_id);
    let (kind, payload) = payload_to_bytes(entry.payload);
    Record { id, kind, payload }
}

/// The entry as openraft wants it; an error if the membership cannot be read.
pub fn entry_from_record(record: Record) -> Result<Entry, Unreadable> {
    let payload = payload_from_bytes(record.kind, record.payload)?;
    Ok(Entry { log_id: log_id_from_store(record.id), payload })
}

/// The entry as peers send it.
pub fn entry_to_wire(entry: Entry) -> wire::Entry {
    let id = Some(log_id_to_wire(&entry.log_id));
    let (kind, payload) = payload_to_bytes(entry.payload);
    wire::Entry { id, kind: u32::from(kind as u8), payload }
}

/// The entry as openraft wants it; an error if a part is missing or unknown.
pub fn entry_from_wire(entry: wire::Entry) -> Result<Entry, Unreadable> {
    let id = entry.id.ok_or(Unreadable("an entry without a log id"))?;
    let kind = match entry.kind {
        0 => Kind::Blank,
        1 => Kind::Commands,
        2 => Kind::Membership,
        _ => return Err(Unreadable("an entry of a kind that this program does not know")),
    };
    Ok(Entry { log_id: log_id_from_wire(id), payload: payload_from_bytes(kind, entry.payload)? })
}

fn payload_to_bytes(payload: Payload) -> (Kind, Bytes) {
    match payload {
        EntryPayload::Blank => (Kind::Blank, Bytes::new()),
        EntryPayload::Normal(commands) => (Kind::Commands, commands.0),
        EntryPayload::Membership(membership) => {
            (Kind::Membership, MembershipRecord::from(&membership).encode_to_vec().into())
        }
    }
}

fn payload_from_bytes(kind: Kind, payload: Bytes) -> Result<Payload, Unreadable> {
    Ok(match kind {
        Kind::Blank => EntryPayload::Blank,
        Kind::Commands => EntryPayload::Normal(Commands(payload)),
        Kind::Membership => EntryPayload::Membership(membership_from_bytes(payload)?.try_into()?),
    })
}

/// A membership of which nothing is lost: what this program does not know may say who votes.
fn membership_from_bytes(bytes: Bytes) -> Result<MembershipRecord, Unreadable> {
    let length = bytes.len();
    let record =
        MembershipRecord::decode(bytes).map_err(|_| Unreadable("a membership that cannot be decoded"))?;
    match record.encoded_len() == length {
        true => Ok(record),
        false => Err(Unreadable("a membership with fields that this program does not know")),
    }
}

/// Something that this version cannot read.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it is {0}")]
pub struct Unreadable(pub &'static str);

impl From<Unreadable> for std::io::Error {
    fn from(e: Unreadable) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, e)
    }
}

/// A membership as the log and the state keep it. Tags are frozen.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MembershipRecord {
    /// One set of voters, or two while the membership changes.
    #[prost(message, repeated, tag = "1")]
    pub configs: Vec<VoterSet>,
    /// Voters and learners.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<wire::Member>,
    /// Log id of the entry that set it; only in the state.
    #[prost(message, optional, tag = "3")]
    pub log_id: Option<wire::LogId>,
}

/// Ids of voters.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VoterSet {
    /// In ascending order.
    #[prost(uint64, repeated, tag = "1")]
    pub ids: Vec<u64>,
}

impl From<&Membership<u64, Peer>> for MembershipRecord {
    fn from(membership: &Membership<u64, Peer>) -> Self {
        let configs = membership.get_joint_config().iter();
        Self {
            configs: configs.map(|ids| VoterSet { ids: ids.iter().copied().collect() }).collect(),
            members: membership.nodes().map(|(id, peer)| peer_to_wire(*id, peer)).collect(),
            log_id: None,
        }
    }
}

impl TryFrom<MembershipRecord> for Membership<u64, Peer> {
    type Error = Unreadable;

    fn try_from(record: MembershipRecord) -> Result<Self, Unreadable> {
        let configs = record.configs.into_iter().map(|set| set.ids.into_iter().collect::<BTreeSet<u64>>());
        let members: BTreeMap<u64, Peer> =
            record.members.into_iter().map(|m| Ok((m.id, peer_from_wire(&m)?))).collect::<Result<_, _>>()?;
        Membership::new(configs.collect(), members)
            .map_err(|_| Unreadable("a membership that is not consistent"))
    }
}

/// The membership with its log id, as the state keeps it.
pub fn members_to_bytes(members: &Members) -> Bytes {
    let mut record = MembershipRecord::from(members.membership());
    record.log_id = members.log_id().as_ref().map(log_id_to_wire);
    record.encode_to_vec().into()
}

/// Reads what [`members_to_bytes`] wrote; empty bytes mean no membership yet.
pub fn members_from_bytes(bytes: &Bytes) -> Result<Members, Unreadable> {
    if bytes.is_empty() {
        return Ok(Members::default());
    }
    let record = membership_from_bytes(bytes.clone())?;
    let log_id = record.log_id.map(log_id_from_wire);
    Ok(Members::new(log_id, record.try_into()?))
}

/// A member as peers send it.
pub fn peer_to_wire(id: u64, peer: &Peer) -> wire::Member {
    wire::Member {
        id,
        name: peer.name.clone(),
        peer_addr: peer.peer_addr.clone(),
        client_addr: peer.client_addr.clone(),
        incarnation: Bytes::copy_from_slice(&peer.incarnation),
        versions: Some(versions_to_wire(peer.versions)),
    }
}

/// The versions as peers send them.
pub fn versions_to_wire(versions: Versions) -> wire::Versions {
    let Versions { reads_from, reads_to, writes } = versions;
    wire::Versions { reads_from, reads_to, writes }
}

/// Reads what [`versions_to_wire`] wrote.
pub fn versions_from_wire(versions: Option<wire::Versions>) -> Result<Versions, Unreadable> {
    let wire::Versions { reads_from, reads_to, writes } =
        versions.ok_or(Unreadable("a node that does not say which versions it reads"))?;
    Ok(Versions { reads_from, reads_to, writes })
}

/// Reads what [`peer_to_wire`] wrote.
pub fn peer_from_wire(member: &wire::Member) -> Result<Peer, Unreadable> {
    let incarnation = member.incarnation.as_ref().try_into();
    Ok(Peer {
        name: member.name.clone(),
        peer_addr: member.peer_addr.clone(),
        client_addr: member.client_addr.clone(),
        incarnation: incarnation.map_err(|_| Unreadable("an incarnation that is not 16 bytes"))?,
        versions: versions_from_wire(member.versions)?,
    })
}
