//! Deliberate bugs of this crate, for suites that prove that a check can fail.
//!
//! A shipped build knows none of them: [`active`] is a constant `false` unless the feature `mutants` is on, and then
//! one bug at most is chosen per thread, by [`set`].

/// One deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Entries count as kept, on followers and on the leader, before the disk has synced them.
    AckBeforeSync,
    /// An append whose entries are all held already cuts off what follows them.
    StaleAppendTruncates,
    /// A leader commits an entry of an older term by counting (Raft, figure 8).
    CommitOldTerm,
    /// A vote is given but not part of the hard state that is written.
    VoteNotPersisted,
    /// Joint consensus asks the majority of the incoming voters only.
    OneMajorityInJoint,
    /// A truncated membership entry stays in force.
    MembershipNotRolledBack,
    /// A learner's acknowledgement counts toward the voters' majority.
    LearnerCounts,
    /// The same voter's answer to a vote counts each time it arrives.
    DuplicateAckCountedTwice,
    /// A follower's acknowledgement that arrives again counts as that of one more voter.
    AppendAckCountedTwice,
    /// A vote is given to a candidate whose log is behind.
    VoteForStaleLog,
    /// A replica set goes quiet whatever its followers lack.
    QuietBehind,
    /// A quiet follower stays so when its leader's node is down.
    QuietThroughLoss,
    /// A quiet leader stays so when a member that was down is back.
    LaggardLeftBehind,
    /// What is told late of an earlier process of a node replaces what is known of the later one.
    SwimRevivesOldBoot,
    /// A process on an old copy of its data directory is heard like any other.
    BootNumberIgnored,
    /// The vote of a learner counts like that of a voter.
    LearnerVotes,
    /// A replica set goes from one voter to two.
    OneToTwo,
    /// The next change of membership does not wait until the last one is committed.
    ChangeBeforeCommit,
    /// Replicas are told apart by their node alone: one that was replaced and its successor are the same.
    TripleIgnored,
    /// A read counts as linearizable although nobody confirmed the leader.
    ReadUnconfirmed,
    /// The newest membership of the log is not part of the hard state that is written.
    MembershipNotPersisted,
}

impl Mutant {
    /// Every mutant of the Raft core.
    pub const ALL: [Mutant; 10] = [
        Mutant::AckBeforeSync,
        Mutant::StaleAppendTruncates,
        Mutant::CommitOldTerm,
        Mutant::VoteNotPersisted,
        Mutant::OneMajorityInJoint,
        Mutant::MembershipNotRolledBack,
        Mutant::LearnerCounts,
        Mutant::DuplicateAckCountedTwice,
        Mutant::AppendAckCountedTwice,
        Mutant::VoteForStaleLog,
    ];
}

#[cfg(feature = "mutants")]
std::thread_local! {
    static CHOSEN: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread runs with the bug `mutant`.
#[cfg(feature = "mutants")]
#[must_use]
pub fn active(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(mutant)
}

/// Whether this thread runs with the bug `mutant`: never, in this build.
#[cfg(not(feature = "mutants"))]
#[must_use]
#[inline]
pub const fn active(_mutant: Mutant) -> bool {
    false
}

/// Chooses the bug of this thread, `None` for none.
#[cfg(feature = "mutants")]
pub fn set(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
}
