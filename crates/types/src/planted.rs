//! Bugs that can be planted, to see that the simulator notices them: each is a place where the code is right and [`is_planted`] makes it wrong.
//!
//! They exist only in a build with the compiler flag `--cfg planted`, which no feature of any crate can set; one such build holds them all, and
//! `plant` chooses. Without the flag [`is_planted`] is the constant `false`, and nothing of them is left. `cargo xtask planted` runs the
//! simulator against each.

/// A bug. Numbers up to 38 are those of bugs that other systems shipped; from 101 on they are our own, from 201 on those of membership.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Bug {
    /// The commit index advances to what the leader alone has.
    CommitWithoutQuorum = 1,
    /// A leader commits entries of earlier terms by counting replicas (Raft paper, figure 8).
    CommitEarlierTerms = 2,
    /// In a joint configuration only the new majority counts, and a leader changes the members before it has committed in its own term (the two rules
    /// that exclude the bug of single-server changes of 2015).
    NewMajorityAlone = 3,
    /// A vote is sent before it is durable.
    VoteBeforeDurable = 4,
    /// Answers to appends of earlier terms move the follower's match forward.
    StaleAppendAnswers = 5,
    /// What a leader can't read of its log is left out of what it sends.
    ReadErrorSkipsEntries = 6,
    /// A node that does not know yet that it votes refuses pre-votes: in a joint configuration that only the candidate has, nobody is elected.
    NonVoterRefusesVotes = 7,
    /// A leader confirms reads before it has committed in its own term.
    ReadBeforeOwnCommit = 8,
    /// Reads are confirmed by lease with the time of an earlier turn.
    LeaseByOldClock = 9,
    /// The tables say that they hold one entry more than they do.
    AppliedAheadOfData = 10,
    /// The only voter commits before its own sync.
    SingleNodeBeforeSync = 11,
    /// A snapshot at or below the commit index is installed.
    OldSnapshotInstalled = 12,
    /// Damage in the middle of the log is taken for its torn end, and cut off.
    DamageTakenForTorn = 13,
    /// A failed sync is tried again and believed.
    FailedSyncRetried = 14,
    /// A node that lost its log starts and votes as if it had never said anything.
    LostLogStarts = 15,
    /// A node that may have lost entries votes like any other.
    SuspectVotesFreely = 16,
    /// A follower acknowledges what it has not synced.
    AcknowledgedBeforeSync = 17,
    /// Learners count in quorums.
    LearnersCount = 18,
    /// A leader whose disk stands still keeps leading.
    SlowDiskKeepsLeading = 19,
    /// A leader that hears no quorum keeps leading.
    LeaderWithoutQuorum = 20,
    /// A progress notice does not wait for watchers that lag.
    ProgressOvertakes = 21,
    /// A watcher that lags behind a compaction goes on after it, untold.
    CompactedPassedOver = 22,
    /// A turn is given without looking whether the waiter's own key, and so its lease, is still there.
    TurnWithoutLease = 23,
    /// A resource admits a holder whose turn is over.
    StaleTokenAdmitted = 24,
    /// A new leader counts on with leases as if they had been given half their time already.
    LeaseTimeRunsOn = 25,
    /// An element that both sides of a join hold keeps the dots of both, those too that the other has seen go.
    DotsOfBothKept = 26,
    /// A replica goes on as the actor that its name had, whatever became of its disk.
    ActorReused = 27,
    /// Versions follow the wall clock alone, and the greater one wins also over what it has not seen.
    WallClockWins = 28,
    /// A counter's write that was seen is added once more.
    CounterAppliedTwice = 29,
    /// A delta is applied when all before it of its own writer were, whatever else the writer had seen.
    AppliedOutOfOrder = 30,
    /// What is kept for replicas that lack something is collected without waiting for those that were not heard of lately.
    CollectedEarly = 31,
    /// A follower commits what its leader has committed, whether or not their logs meet there.
    CommitBeyondVerified = 101,
    /// A follower takes entries that do not meet its log.
    AppendWithoutMeeting = 102,
    /// A vote is granted to a log that is behind.
    VoteForOlderLog = 103,
    /// A second vote in a term.
    VoteTwice = 104,
    /// Entries that the leader has replaced stay in the log on disk.
    TruncationNotWritten = 105,
    /// Reads are confirmed without asking anybody.
    ReadWithoutRound = 106,
    /// Confirmed reads do not wait until their index is applied.
    ReadBeforeApplied = 107,
    /// A forwarded command that comes twice is taken twice.
    ForwardedTwice = 108,
    /// The log is cut up to what is applied, not to what the tables hold durably.
    LogCutBeforeFlush = 109,
    /// A manifest names files that are not synced.
    ManifestBeforeFiles = 110,
    /// A merge drops tombstones while older rows lie below.
    TombstoneDroppedEarly = 111,
    /// Runs of tables that were received keep their sender's names.
    RunNamesKept = 112,
    /// A lease's time is answered before what was committed is applied.
    LeaseAnsweredEarly = 113,
    /// A piece of history for lagging watchers ends in the middle of a revision.
    HistorySplit = 114,
    /// What a watch hub was not told, its watchers do not look up.
    MissedNotLookedUp = 115,
    /// Rights are checked where a request arrives, and not where it is applied.
    RightsCheckedOnArrival = 117,
    /// A role's users keep the rights that it gave them before it changed.
    RightsSurviveChange = 118,
    /// A token is good for as long as its user has the rights, whatever has changed since it was given out.
    OldTokensGood = 119,
    /// What was restored counts on with the revisions that its cluster had, as if nobody had seen later ones.
    RevisionsComeAgain = 120,
    /// The cluster's level is raised although some members offer less.
    LevelRaisedEarly = 121,
    /// A merge goes on into a run of which nothing is left.
    MergeIntoNothing = 122,
    /// A key that is deleted counts on when it is made again.
    HeadOutlivesKey = 123,
    /// A read that is to wait for a revision is let through before it is there.
    SessionReadEarly = 124,
    /// What a replica told it has seen counts for what is stable before all that it had seen was seen here.
    ToldCountsEarly = 125,
    /// What was told under another set of replicas counts for what is stable.
    ToldUnderAnySet = 126,
    /// A part of what a replica wrote that is not known yet is taken for the rest of one that is gone.
    LetGoOfTheNew = 127,
    /// An old incarnation brings a dead member back.
    StaleRevives = 201,
    /// Members are removed however many fail at once.
    RemovalWithoutBrakes = 202,
    /// A member is declared failed on the word of one that got no answer.
    VerdictOnOneWord = 203,
    /// Whoever is heard lives, in whichever incarnation it speaks: a late packet brings a dead member back.
    SenderRevives = 204,
    /// What a planner has decided is carried out before strong state has it.
    DecisionNotCommitted = 205,
    /// A node that lost its disk comes back under its old id.
    WipedKeepsIdentity = 206,
    /// Plans are made however many nodes are failed, and however many plans are at work.
    EvictionWithoutBrakes = 207,
}

/// Text that every program of a build with bugs says when it starts, and that is in no other program.
pub const MARKER: &str = "this build can have bugs planted in it";

#[cfg(planted)]
pub use chosen::{BUGS, is_planted, plant};

/// Whether `bug` is planted: never, in this build.
#[cfg(not(planted))]
#[inline(always)]
#[must_use]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}

#[cfg(planted)]
mod chosen {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::Bug;

    /// All of them.
    pub const BUGS: &[(Bug, &str)] = &[
        (Bug::CommitWithoutQuorum, "commits what the leader alone has"),
        (Bug::CommitEarlierTerms, "commits earlier terms by counting (figure 8)"),
        (Bug::NewMajorityAlone, "only the new majority counts in a joint configuration"),
        (Bug::VoteBeforeDurable, "a vote is sent before it is durable"),
        (Bug::StaleAppendAnswers, "stale append answers move match forward"),
        (Bug::ReadErrorSkipsEntries, "entries that can't be read are skipped"),
        (Bug::NonVoterRefusesVotes, "who does not know yet that it votes refuses"),
        (Bug::ReadBeforeOwnCommit, "reads before a commit in the leader's own term"),
        (Bug::LeaseByOldClock, "a lease read by an old clock"),
        (Bug::AppliedAheadOfData, "applied index ahead of the data"),
        (Bug::SingleNodeBeforeSync, "a single node commits before its sync"),
        (Bug::OldSnapshotInstalled, "an old snapshot is installed"),
        (Bug::DamageTakenForTorn, "damage in the log taken for its torn end"),
        (Bug::FailedSyncRetried, "a failed sync is tried again and believed"),
        (Bug::LostLogStarts, "a node that lost its log starts and votes"),
        (Bug::SuspectVotesFreely, "a damaged node votes like any other"),
        (Bug::AcknowledgedBeforeSync, "acknowledged before synced"),
        (Bug::LearnersCount, "learners count in quorums"),
        (Bug::SlowDiskKeepsLeading, "a leader with a stuck disk keeps leading"),
        (Bug::LeaderWithoutQuorum, "a leader without quorum keeps leading"),
        (Bug::ProgressOvertakes, "a progress notice overtakes events"),
        (Bug::CompactedPassedOver, "a watcher that lags loses compacted events untold"),
        (Bug::TurnWithoutLease, "a lock for one whose lease has ended"),
        (Bug::StaleTokenAdmitted, "a resource that admits holders of the past"),
        (Bug::LeaseTimeRunsOn, "a lease's time runs on over a change of leaders"),
        (Bug::DotsOfBothKept, "a join keeps dots that the other has seen go"),
        (Bug::ActorReused, "an actor goes on after its disk was wiped"),
        (Bug::WallClockWins, "last writer wins by the wall clock"),
        (Bug::CounterAppliedTwice, "a counter's delta is applied twice"),
        (Bug::AppliedOutOfOrder, "a delta is applied before what it depends on"),
        (Bug::CollectedEarly, "removals are forgotten before all have seen them"),
        (Bug::CommitBeyondVerified, "a follower commits beyond where the logs meet"),
        (Bug::AppendWithoutMeeting, "entries are taken that do not meet the log"),
        (Bug::VoteForOlderLog, "a vote for a log that is behind"),
        (Bug::VoteTwice, "a second vote in a term"),
        (Bug::TruncationNotWritten, "replaced entries stay on disk"),
        (Bug::ReadWithoutRound, "reads without a quorum"),
        (Bug::ReadBeforeApplied, "reads before their index is applied"),
        (Bug::ForwardedTwice, "a forwarded command is taken twice"),
        (Bug::LogCutBeforeFlush, "the log is cut before the tables are durable"),
        (Bug::ManifestBeforeFiles, "a manifest names files that are not synced"),
        (Bug::TombstoneDroppedEarly, "tombstones are dropped too early"),
        (Bug::RunNamesKept, "received tables keep names that are given again"),
        (Bug::LeaseAnsweredEarly, "a lease's time is answered before all is applied"),
        (Bug::HistorySplit, "a revision's events come in two parts"),
        (Bug::MissedNotLookedUp, "watchers do not look up what the hub missed"),
        (Bug::RightsCheckedOnArrival, "rights are checked where a request arrives"),
        (Bug::RightsSurviveChange, "a role's users keep what it gave them before"),
        (Bug::OldTokensGood, "a token outlives the rights that it was given for"),
        (Bug::RevisionsComeAgain, "a restored cluster gives revisions again"),
        (Bug::LevelRaisedEarly, "the level is raised though a member offers less"),
        (Bug::MergeIntoNothing, "a merge goes on into a run that is no more"),
        (Bug::HeadOutlivesKey, "a deleted key counts on when it is made again"),
        (Bug::SessionReadEarly, "a session reads before what it was told of is there"),
        (Bug::ToldCountsEarly, "removals are forgotten on a word that overtook writes"),
        (Bug::ToldUnderAnySet, "removals are forgotten over a change of replicas"),
        (Bug::LetGoOfTheNew, "what a new replica wrote is taken for a dead one's"),
        (Bug::StaleRevives, "an old incarnation brings a dead member back"),
        (Bug::RemovalWithoutBrakes, "members are removed however many fail"),
        (Bug::VerdictOnOneWord, "a member is failed on one accuser's word"),
        (Bug::SenderRevives, "a late packet of a dead incarnation brings it back"),
        (Bug::DecisionNotCommitted, "a voter is replaced by a decision that is not committed"),
        (Bug::WipedKeepsIdentity, "a node that lost its disk votes under its old id"),
        (Bug::EvictionWithoutBrakes, "nodes are replaced however many fail"),
    ];

    static CHOSEN: AtomicU32 = AtomicU32::new(0);

    /// Plants `bug` in this process, in place of any other; `None`: takes it out.
    pub fn plant(bug: Option<Bug>) {
        CHOSEN.store(bug.map_or(0, |bug| bug as u32), Ordering::Relaxed);
    }

    /// Whether `bug` is planted.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        CHOSEN.load(Ordering::Relaxed) == bug as u32
    }
}

#[cfg(all(test, not(planted)))]
mod tests {
    /// At compile time: no bug can be planted in an ordinary build.
    const _: () = assert!(!super::is_planted(super::Bug::CommitWithoutQuorum) && !super::is_planted(super::Bug::LearnersCount));
}
