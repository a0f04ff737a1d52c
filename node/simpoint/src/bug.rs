//! The bugs that can be planted.
//!
//! Each stands at one place of the product, in a line or a few, where a hurried author might have made it.

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $promise:literal;)*) => {
        /// A bug that the product must not have and that can be planted in a simulation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug { $($(#[doc = $doc])+ #[doc = concat!("Breaks ", $promise, ".")] $variant,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$variant),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Bug::$variant => $name),* }
            }

            /// The promise that it breaks in the first place.
            pub fn promise(self) -> &'static str {
                match self { $(Bug::$variant => $promise),* }
            }
        }
    };
}

bugs! {
    // The log.
    /// A write to the log is reported as durable before it is synced.
    AckBeforeSync = "ack-before-sync", "P1";
    /// A vote is promised and never written: a restarted node votes again.
    ForgetVote = "forget-vote", "P1";
    /// A log with a damaged record is cut off before it when it is opened, instead of refused.
    CutAtDamage = "cut-at-damage", "P11";
    /// The log goes on after a write that failed, and reports it as durable.
    SyncErrorIgnored = "sync-error-ignored", "P1";
    /// Records and rows are believed without a look at their checksums.
    ChecksumIgnored = "checksum-ignored", "P11";
    /// No room is taken ahead of what is written, and a write that was cut short because the volume is full is taken for a disk that failed.
    ShortWriteFatal = "short-write-fatal", "P11";
    /// The reserve of the disk is given to whoever publishes.
    ReserveIgnored = "reserve-ignored", "P11";
    /// Whoever feeds the log does not ask whether it keeps up with what it has.
    ReadyIgnored = "ready-ignored", "P12";
    /// A node whose data directory is gone goes on.
    GoneIgnored = "gone-ignored", "P1";

    // The state.
    /// The state is flushed with entries that are not on this node's disk yet.
    FlushAheadOfLog = "flush-ahead-of-log", "P10";
    /// A flush writes the applied index first, and the rows that it stands for later.
    AppliedAheadOfRows = "applied-ahead-of-rows", "P1";
    /// A flush comes in two transactions: between them the disk holds a part of what an entry did.
    HalfAFlush = "half-a-flush", "P6";
    /// The log is purged up to what was applied, not to what was flushed.
    PurgeAboveFlushed = "purge-above-flushed", "P1";
    /// The log is purged although the state has bodies in it.
    PurgeIgnoresBodies = "purge-ignores-bodies", "P9";
    /// A snapshot leaves out one row in sixteen.
    SnapshotMissesRows = "snapshot-misses-rows", "P10";
    /// A snapshot claims to stand for entries that were applied after its rows were written.
    SnapshotClaimsTooMuch = "snapshot-claims-too-much", "P10";
    /// Receipts of producer sessions are not installed with a snapshot.
    ReceiptsNotInstalled = "receipts-not-installed", "P5";
    /// A snapshot takes the place of the state before it is synced.
    SwitchWithoutSync = "switch-without-sync", "P1";
    /// A snapshot takes the place of the state before its last rows are written.
    SwitchBeforeRows = "switch-before-rows", "P10";

    // The replicas.
    /// Reads trust the leader's lease instead of asking a majority.
    LeaseRead = "lease-read", "P7";
    /// A read that passed the barrier does not wait until the state has caught up with it.
    StaleRead = "stale-read", "P7";
    /// Whoever believes to lead reads without any barrier.
    BarrierSkipped = "barrier-skipped", "P7";
    /// A restarted leader goes on in its old term, although followers may have entries that it has lost.
    LeaderRestore = "leader-restore", "P1";
    /// Nobody compares the digests of replicas while they run.
    DigestsNotCompared = "digests-not-compared", "P10";
    /// The active version is raised without a look at what the members read.
    RaisedTooEarly = "raised-too-early", "P8";
    /// The same, and whoever cannot read an entry goes on after it.
    UnreadableSkipped = "unreadable-skipped", "P10";
    /// A node whose directory was emptied comes back under its old id, and its peers let it.
    AmnesiaAccepted = "amnesia-accepted", "P8";

    /// The leader looks at its own disk only before it takes new bytes.
    RoomOfFollowersIgnored = "room-of-followers-ignored", "P11";
    /// A leader whose log stands still, or whose disk is full, goes on leading.
    StalledLeaderStays = "stalled-leader-stays", "P8";
    /// A leader whose log takes no more, since its disk hangs, goes on leading until that is stalled.
    BlockedLeaderStays = "blocked-leader-stays", "P8";
    /// The log is kept for a follower for as long as that takes.
    LaggardHoldsLog = "laggard-holds-log", "P12";
    /// A follower that nobody needs is sent entries until its disk is full to the last byte.
    FullFollowerFed = "full-follower-fed", "P11";

    // The machine.
    /// Deadlines fall due by the clock of the node that applies the tick.
    ExpireByLocalClock = "expire-by-local-clock", "P10";
    /// Replicated time follows a leader whose clock is behind.
    TimeGoesBack = "time-goes-back", "P4";
    /// A message notes when this node applied it, not when it was published.
    NondeterministicApply = "nondeterministic-apply", "P10";
    /// A publish that is repeated is answered from its receipts, and appended again all the same.
    DedupIgnored = "dedup-ignored", "P5";
    /// A transaction that is repeated is carried out again.
    TransactionRepeated = "transaction-repeated", "P6";
    /// A transaction that is refused leaves what it had done until then.
    TransactionHalf = "transaction-half", "P6";
    /// A producer session that was taken over still takes what its former holder sends.
    EpochNotChecked = "epoch-not-checked", "P5";
    /// A producer session that was taken over may be resumed by its former holder.
    FormerHolderResumes = "former-holder-resumes", "P5";
    /// A consumer session that was resumed still takes credit, and its end, from the stream before.
    GenerationNotChecked = "generation-not-checked", "P4";
    /// A settle is carried out whatever token it names.
    StaleSettleAccepted = "stale-settle-accepted", "P4";
    /// A message that is leased again takes tokens that the next lease takes, too.
    TokenReused = "token-reused", "P4";
    /// The tokens of a queue or subscription that is deleted and made again begin at 1 again.
    TokensBeginAgain = "tokens-begin-again", "P4";
    /// The positions of a queue that is deleted and made again begin at 1 again.
    PositionsBeginAgain = "positions-begin-again", "P2";
    /// Extending a lease is confirmed and does nothing.
    ExtendIgnored = "extend-ignored", "P4";
    /// Order `total`: a message that waits for its retry does not hold up those behind it.
    OrderLostOnRetry = "order-lost-on-retry", "P3";
    /// Order `key`: a message that waits for its retry does not hold up those of its key behind it.
    KeyLostOnRetry = "key-lost-on-retry", "P3";
    /// Order `total`: when a lease expires, those behind it stay with their holder.
    RunNotRevoked = "run-not-revoked", "P3";
    /// Giving a message back counts as a failure.
    AttemptCountedOnRelease = "attempt-counted-on-release", "P9";
    /// A message whose lease expires is done.
    DroppedOnExpiry = "dropped-on-expiry", "P9";
    /// What a consumer holds does not count against its credit.
    CreditIgnored = "credit-ignored", "P12";
    /// What a tick has no room for of a batch that expires never does.
    RestOfExpiryForgotten = "rest-of-expiry-forgotten", "P9";
    /// What a session that ended held and its entry had no room to release stays with it.
    RestOfSessionForgotten = "rest-of-session-forgotten", "P9";
    /// The length of a queue leaves out what waits for a retry.
    LengthMiscounted = "length-miscounted", "P7";

    // What is proposed.
    /// Commands are packed into an entry as if each took 128 bytes, and nobody looks at how long it has become.
    EntryCapIgnored = "entry-cap-ignored", "P8";
    /// Commands are proposed whatever they say: only applying them finds what is unlawful.
    CheckSkipped = "check-skipped", "P12";
    /// A refusal is foreseen from a state that may be older than what was acknowledged.
    ForeseenWithoutBarrier = "foreseen-without-barrier", "P7";

    // The server.
    /// A stream that resumes its session is also sent the leases of the session that was attached before it.
    TwoHolders = "two-holders", "P4";
    /// A publish whose leader was lost is refused for good, although it may have been stored.
    UnknownReportedAsRefused = "unknown-reported-as-refused", "P11";
    /// A settle is answered when it was proposed.
    SettleAnsweredEarly = "settle-answered-early", "P1";
    /// Answers to the commands of an entry come in the wrong order.
    AnswersMixedUp = "answers-mixed-up", "P5";
    /// A new leader knows nothing of sessions that do not come back: their leases stay with them.
    SessionsNotAdopted = "sessions-not-adopted", "P8";
    /// No tick is proposed after the third term.
    TickerStops = "ticker-stops", "P8";

    /// Whatever clients send is let in, however much has no answer yet.
    AdmissionUnbounded = "admission-unbounded", "P12";

    // The members.
    /// The id of a new member is one above the highest that there is, though a removed member may have had it.
    NodeIdUsedAgain = "node-id-used-again", "P8";
    /// A new leader does not finish a change of the voters that it finds half done.
    ChangeLeftHalfDone = "change-left-half-done", "P8";
    /// Whoever had the name of a new member stays a voter beside it.
    FormerKeepsItsVote = "former-keeps-its-vote", "P8";

    // The client.
    /// A producer forgets what has no receipt when it loses its stream, and gives its numbers to what follows.
    ClientForgetsUnanswered = "client-forgets-unanswered", "P9";
    /// A producer sends what has no receipt in reverse when it has lost its stream.
    ClientReordersOnReconnect = "client-reorders-on-reconnect", "P3";
    /// A producer numbers what has no receipt anew when it has lost its stream, also what was stored.
    ClientResendsUnderNewSeq = "client-resends-under-new-seq", "P5";
    /// A transaction without an answer is sent again under another number.
    ClientTransactsAnew = "client-transacts-anew", "P6";
    /// A consumer that has lost its stream never attaches again.
    StopAfterLeaderLoss = "stop-after-leader-loss", "P8";
    /// A consumer hands out what has arrived, although its lease is over by its own clock.
    OverHandedOut = "over-handed-out", "P4";
}

impl Bug {
    /// The bug of that name.
    pub fn from_name(name: &str) -> Option<Bug> {
        Bug::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_found_by_its_name_and_breaks_a_promise() {
        assert!(Bug::ALL.len() >= 24);
        for bug in Bug::ALL {
            assert_eq!(Bug::from_name(bug.name()), Some(*bug), "{bug:?}");
            let promise = bug.promise().strip_prefix('P').and_then(|number| number.parse::<u32>().ok());
            assert!(promise.is_some_and(|number| (1..=12).contains(&number)), "{bug:?}");
        }
        assert_eq!(Bug::from_name("none"), None);
    }
}
