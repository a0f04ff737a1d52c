//! The faults there are, each with everything that was decided about it.

use std::fmt;
use std::time::Duration;

use crate::disk::Loss;
use crate::world::Latency;

/// Which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// This one.
    Node(usize),
    /// Who leads when the fault begins; any node if nobody does.
    Leader,
    /// Somebody who does not.
    Follower,
}

/// How the nodes are cut off from one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// These from all others; each client sees one side, or both.
    Halves(Vec<usize>),
    /// One node from all others, clients included if so said.
    One { whom: Whom, clients: bool },
    /// Each sees a majority, and no two the same one.
    Ring,
    /// Two halves, and one node that sees both.
    Bridge { bridge: usize, half: Vec<usize> },
    /// All see one only. Nobody but that one could lead, and an old leader's heartbeats keep it from trying.
    Star(Whom),
    /// What one node sends arrives nowhere.
    Mute(Whom),
    /// What is sent to one node does not arrive.
    Deaf(Whom),
    /// Each client loses each node, in one direction or both, in so many of 100 cases.
    Clients { percent: u64 },
}

/// What happens to the clock of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockFault {
    /// It moves by so many milliseconds, and back when the fault ends.
    Jump(i64),
    /// It gains or loses so many parts in a million.
    Drift(i64),
    /// It jumps to and fro by so many milliseconds.
    Strobe { by_ms: i64, every: Duration },
}

/// A file that damage can be done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The environment of the log.
    Log,
    /// The environment of the state.
    State,
    /// One copy of the identity.
    OneIdentity,
    /// Both copies.
    BothIdentities,
}

/// What becomes of bytes that lie on a disk while nothing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// So many bits are flipped.
    Flip(u32),
    /// The file ends after so many thousandths of what was written to it.
    Truncate(u64),
    /// Some of its values are as others are or were.
    Stale,
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// So many of a million messages are lost.
    Loss { per_million: u32 },
    /// The links of one host are slow.
    Slow { whom: Whom, latency: Latency },
    /// Each link has a latency of its own, so that messages overtake one another across connections.
    Spread { greatest: Duration },
    /// Some see some others not.
    Partition(Shape),
    /// The same, on and off.
    Flap { shape: Shape, every: Duration },
    /// Messages wait until the end and arrive then: of one node, or of everybody.
    Hold(Option<Whom>),
    /// The process dies, or the power fails, at this disk operation from now; back at the end.
    Crash { whom: Whom, ops: u64, after: bool, loss: Loss },
    /// All at once, each at a disk operation of its own.
    CrashAll { ops_max: u64, loss: Loss },
    /// It dies again and again while it starts.
    CrashAtStart { whom: Whom, ops_max: u64, loss: Loss },
    /// One after the other is stopped in good order and started again.
    Rolling { apart: Duration },
    /// It does nothing for a while.
    Pause(Whom),
    /// A clock goes wrong.
    Clock { node: usize, what: ClockFault },
    /// The leader is told to let another lead, again and again.
    HandOver { every: Duration },
    /// Nodes are told to take a snapshot, again and again.
    Snapshots { every: Duration },
    /// A sync fails.
    FailSync(Whom),
    /// Files cannot grow.
    Full(Whom),
    /// The disk takes its time.
    SlowDisk { whom: Whom, latency: Latency },
    /// The node crashes, and its disk is damaged before it comes back. Only done to nodes that are set aside for it, as all
    /// that follows.
    AtRest { node: usize, victim: Victim, damage: Damage, loss: Loss },
    /// Bits of values that are in use flip while the node runs.
    Rot { node: usize, victim: Victim, bits: u32 },
    /// Writes are acknowledged and lost, or land elsewhere; then the power fails.
    Lies { node: usize, lost: u32, misdirected: u32 },
    /// The disk is replaced by an empty one when the node is one of the few that have the newest entries: others were cut
    /// off for so long, and whoever has them, too, goes down at the same time.
    LostDisk { node: usize, behind: Duration, loss: Loss },
    /// The leader does not see the others, but its clients; the others forget what they granted it, and are refused where
    /// they look for it.
    Depose { loss: Loss },
    /// The log's device stalls, the state's does not; then the power fails.
    LogStalls { whom: Whom, loss: Loss },
    /// A member is removed, dead or alive. It comes back as a new one.
    Remove { whom: Whom, dead: Option<Loss> },
    /// One after the other is stopped in good order and started with the next program. All the while the leader is told to raise
    /// the active version.
    Upgrade { apart: Duration },
    /// The disk of each node has so many bytes left, and writes are cut short where they end.
    Scarce { left: Vec<u64> },
    /// The disk of a node does not answer, while the node goes on.
    Hang(Whom),
    /// The data directory of a node is removed under it.
    Gone { node: usize },
    /// It is away for so long, and dies again and again while a snapshot arrives, within so many disk operations.
    CrashInstalling { whom: Whom, away: Duration, ops_max: u64, loss: Loss },
    /// A client's process does nothing for a while: this one, modulo how many there are.
    PauseClient { nth: u64 },
}

/// The sorts of faults, for switching them on and off and for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Messages are lost.
    Loss,
    /// The links of a host are slow.
    Slow,
    /// Messages overtake one another across connections.
    Spread,
    /// Some hosts do not see some others.
    Partition,
    /// The same, on and off.
    Flap,
    /// Messages wait and arrive late, all at once.
    Hold,
    /// A process is killed, or its host loses power, at any disk operation.
    Crash,
    /// All nodes lose power at once.
    CrashAll,
    /// A process dies while it starts.
    CrashAtStart,
    /// One node after the other is stopped and started.
    Rolling,
    /// A process does nothing for a while.
    Pause,
    /// A clock jumps, drifts, or jumps to and fro.
    Clock,
    /// The leader lets another lead.
    HandOver,
    /// Nodes take snapshots.
    Snapshots,
    /// A sync fails.
    FailSync,
    /// A disk is full.
    Full,
    /// A disk is slow.
    SlowDisk,
    /// Files are damaged or cut short while their node is down.
    AtRest,
    /// Bits flip in files that are in use.
    Rot,
    /// A disk loses writes, or puts them elsewhere.
    Lies,
    /// A disk is replaced by an empty one.
    LostDisk,
    /// A leader is cut off from the others while these restart.
    Depose,
    /// A log's device stalls before the power fails.
    LogStalls,
    /// A member is removed and comes back as a new one.
    Remove,
    /// Nodes get the next program, one after the other.
    Upgrade,
    /// Disks have little room left, each another amount, and writes are cut short.
    Scarce,
    /// A disk does not answer for a long time, while its node goes on.
    Hang,
    /// A data directory is removed while it is in use.
    Gone,
    /// A node dies again and again while it installs a snapshot.
    CrashInstalling,
    /// A client's process does nothing for a while.
    PauseClient,
}

impl Kind {
    /// All of them. New ones go to the end, or old seeds would mean something else.
    pub(crate) const ALL: [Kind; 30] = [
        Kind::Loss,
        Kind::Slow,
        Kind::Spread,
        Kind::Partition,
        Kind::Flap,
        Kind::Hold,
        Kind::Crash,
        Kind::CrashAll,
        Kind::CrashAtStart,
        Kind::Rolling,
        Kind::Pause,
        Kind::Clock,
        Kind::HandOver,
        Kind::Snapshots,
        Kind::FailSync,
        Kind::Full,
        Kind::SlowDisk,
        Kind::AtRest,
        Kind::Rot,
        Kind::Lies,
        Kind::LostDisk,
        Kind::Depose,
        Kind::LogStalls,
        Kind::Remove,
        Kind::Upgrade,
        Kind::Scarce,
        Kind::Hang,
        Kind::Gone,
        Kind::CrashInstalling,
        Kind::PauseClient,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Loss => "loss",
            Kind::Slow => "slow",
            Kind::Spread => "spread",
            Kind::Partition => "partition",
            Kind::Flap => "flap",
            Kind::Hold => "hold",
            Kind::Crash => "crash",
            Kind::CrashAll => "crash-all",
            Kind::CrashAtStart => "crash-at-start",
            Kind::Rolling => "rolling",
            Kind::Pause => "pause",
            Kind::Clock => "clock",
            Kind::HandOver => "hand-over",
            Kind::Snapshots => "snapshots",
            Kind::FailSync => "fail-sync",
            Kind::Full => "full",
            Kind::SlowDisk => "slow-disk",
            Kind::AtRest => "damage-at-rest",
            Kind::Rot => "rot",
            Kind::Lies => "lies",
            Kind::LostDisk => "lost-disk",
            Kind::Depose => "depose",
            Kind::LogStalls => "log-stalls",
            Kind::Remove => "remove",
            Kind::Upgrade => "upgrade",
            Kind::Scarce => "scarce",
            Kind::Hang => "hang",
            Kind::Gone => "gone",
            Kind::CrashInstalling => "crash-installing",
            Kind::PauseClient => "pause-client",
        }
    }

    /// Whether it takes from a node what that has promised to remember.
    pub(crate) fn damages(self) -> bool {
        matches!(self, Kind::AtRest | Kind::Rot | Kind::Lies | Kind::LostDisk | Kind::Gone)
    }
}

impl Fault {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Fault::Loss { .. } => Kind::Loss,
            Fault::Slow { .. } => Kind::Slow,
            Fault::Spread { .. } => Kind::Spread,
            Fault::Partition(_) => Kind::Partition,
            Fault::Flap { .. } => Kind::Flap,
            Fault::Hold(_) => Kind::Hold,
            Fault::Crash { .. } => Kind::Crash,
            Fault::CrashAll { .. } => Kind::CrashAll,
            Fault::CrashAtStart { .. } => Kind::CrashAtStart,
            Fault::Rolling { .. } => Kind::Rolling,
            Fault::Pause(_) => Kind::Pause,
            Fault::Clock { .. } => Kind::Clock,
            Fault::HandOver { .. } => Kind::HandOver,
            Fault::Snapshots { .. } => Kind::Snapshots,
            Fault::FailSync(_) => Kind::FailSync,
            Fault::Full(_) => Kind::Full,
            Fault::SlowDisk { .. } => Kind::SlowDisk,
            Fault::AtRest { .. } => Kind::AtRest,
            Fault::Rot { .. } => Kind::Rot,
            Fault::Lies { .. } => Kind::Lies,
            Fault::LostDisk { .. } => Kind::LostDisk,
            Fault::Depose { .. } => Kind::Depose,
            Fault::LogStalls { .. } => Kind::LogStalls,
            Fault::Remove { .. } => Kind::Remove,
            Fault::Upgrade { .. } => Kind::Upgrade,
            Fault::Scarce { .. } => Kind::Scarce,
            Fault::Hang(_) => Kind::Hang,
            Fault::Gone { .. } => Kind::Gone,
            Fault::CrashInstalling { .. } => Kind::CrashInstalling,
            Fault::PauseClient { .. } => Kind::PauseClient,
        }
    }

    /// The node that it damages.
    #[cfg(test)]
    pub(crate) fn damaged(&self) -> Option<usize> {
        match self {
            Fault::AtRest { node, .. }
            | Fault::Rot { node, .. }
            | Fault::Lies { node, .. }
            | Fault::LostDisk { node, .. }
            | Fault::Gone { node } => Some(*node),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self:?}", self.kind().name())
    }
}

/// A fault and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scheduled {
    /// Its number in the plan, which it keeps when others are left out. Its own choices follow from it.
    pub(crate) number: usize,
    /// Since the faults began.
    pub(crate) at: Duration,
    pub(crate) until: Duration,
    pub(crate) fault: Fault,
}

impl fmt::Display for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, until) = (self.at.as_secs_f64(), self.until.as_secs_f64());
        write!(f, "{:>4} {at:>9.3} to {until:>9.3}  {}", self.number, self.fault)
    }
}
