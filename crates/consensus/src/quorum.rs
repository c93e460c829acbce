//! Majorities: of one configuration, of a joint one, and of votes some of which come from nodes that may have lost entries.
//!
//! Invariants:
//! 1. Only voters are ever counted; a learner or a stranger is not even asked about.
//! 2. In a joint configuration nothing is decided without both majorities (Raft paper, section 6).
//! 3. A configuration without voters decides nothing.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Configuration, NodeId};

/// One voter's answer to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    /// Given by a node that remembers everything it acknowledged.
    Granted,
    /// Given by a node that may have lost entries it acknowledged.
    GrantedSuspect,
    /// Not given.
    Refused,
}

/// How a campaign stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Enough votes.
    Won,
    /// No answer still to come can make it won.
    Lost,
    /// Undecided.
    Open,
}

/// The sets that must each agree by majority.
fn halves(configuration: &Configuration) -> impl Iterator<Item = &BTreeSet<NodeId>> {
    let outgoing = if is_planted(Bug::NewMajorityAlone) { &configuration.voters } else { &configuration.outgoing };
    [&configuration.voters, outgoing].into_iter().filter(|half| !half.is_empty())
}

/// How many of `voters` make a majority.
fn majority(voters: &BTreeSet<NodeId>) -> usize {
    voters.len() / 2 + 1
}

/// Whether the voters that satisfy `agrees` are enough to decide.
pub(crate) fn has_quorum(configuration: &Configuration, agrees: impl Fn(NodeId) -> bool) -> bool {
    let decided = |half: &BTreeSet<NodeId>| half.iter().filter(|&&id| agrees(id)).count() >= majority(half);
    !configuration.voters.is_empty() && halves(configuration).all(decided)
}

/// The greatest value that a quorum has reached, when voter `id` has reached `value(id)`. `None` without voters.
pub(crate) fn reached<T: Ord + Copy>(configuration: &Configuration, value: impl Fn(NodeId) -> T) -> Option<T> {
    if configuration.voters.is_empty() {
        return None;
    }
    let of_half = |half: &BTreeSet<NodeId>| {
        let mut values: Vec<T> = half.iter().map(|&id| value(id)).collect();
        values.sort_unstable();
        values[values.len() - majority(half)]
    };
    if is_planted(Bug::LearnersCount) {
        return Some(of_half(&(&configuration.voters | &configuration.learners)));
    }
    halves(configuration).map(of_half).min()
}

/// How a campaign with these votes stands.
///
/// The rule for suspect voters. Of `n` voters with majority `m`, let `r` refuse, `f` grant while suspect, and `s` be silent. A candidate
/// wins if its grants of both kinds are at least `m`, and `s + r + min(f, m - 1) < m`.
///
/// Proof that it then misses no committed entry `e`, as long as fewer than `m` nodes lost data: `e` was acknowledged by at least `m` voters,
/// its holders. A clear voter still has what it acknowledged, and grants only to a log at least as up to date as its own; so if a holder
/// granted clearly, the candidate has `e` (Raft paper, section 5.4.1). Otherwise each holder is silent, refused, or granted while suspect
/// after losing `e`; and fewer than `m` nodes lost anything, so there are at most `s + r + min(f, m - 1) < m` holders: a contradiction.
///
/// Without suspects the second condition follows from the first (`s + r = n - grants <= n - m < m`), so it is Raft's own rule. If all
/// voters are suspect, as after a power failure of all nodes in the middle of a write, someone wins once enough have answered that fewer
/// than `m - min(f, m - 1) = 1` are silent or refuse: everyone.
pub(crate) fn tally(configuration: &Configuration, votes: &BTreeMap<NodeId, Vote>) -> Outcome {
    if configuration.voters.is_empty() {
        return Outcome::Lost;
    }
    let mut outcome = Outcome::Won;
    for half in halves(configuration) {
        match tally_half(half, votes) {
            Outcome::Won => {}
            Outcome::Lost => return Outcome::Lost,
            Outcome::Open => outcome = Outcome::Open,
        }
    }
    outcome
}

/// [`tally`] for one set of voters.
fn tally_half(voters: &BTreeSet<NodeId>, votes: &BTreeMap<NodeId, Vote>) -> Outcome {
    let majority = majority(voters);
    let (mut granted, mut suspect, mut refused, mut silent) = (0, 0, 0, 0);
    for id in voters {
        match votes.get(id) {
            Some(Vote::Granted) => granted += 1,
            Some(Vote::GrantedSuspect) => suspect += 1,
            Some(Vote::Refused) => refused += 1,
            None => silent += 1,
        }
    }
    let damaged = if is_planted(Bug::SuspectVotesFreely) { 0 } else { suspect.min(majority - 1) };
    if granted + suspect >= majority && silent + refused + damaged < majority {
        Outcome::Won
    } else if granted + suspect + silent >= majority && refused + damaged < majority {
        Outcome::Open
    } else {
        Outcome::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().map(|&id| NodeId(id)).collect()
    }

    fn joint(voters: &[u64], outgoing: &[u64]) -> Configuration {
        Configuration { voters: ids(voters), outgoing: ids(outgoing), learners: BTreeSet::new() }
    }

    /// Votes as letters by id from 1: `g`ranted, `s`uspect grant, `r`efused, anything else silent.
    fn outcome(configuration: &Configuration, letters: &str) -> Outcome {
        let vote = |letter| match letter {
            'g' => Some(Vote::Granted),
            's' => Some(Vote::GrantedSuspect),
            'r' => Some(Vote::Refused),
            _ => None,
        };
        let votes = letters.chars().zip(1..).filter_map(|(letter, id)| Some((NodeId(id), vote(letter)?))).collect();
        tally(configuration, &votes)
    }

    #[test]
    fn a_quorum_is_more_than_half_of_each_half() {
        let has = |configuration: &Configuration, who: &[u64]| has_quorum(configuration, |id| who.contains(&id.0));
        assert!(has(&joint(&[1], &[]), &[1]));
        assert!(!has(&joint(&[1, 2, 3, 4], &[]), &[1, 2]));
        assert!(has(&joint(&[1, 2, 3, 4], &[]), &[1, 2, 4]));
        assert!(!has(&joint(&[1, 4, 5], &[1, 2, 3]), &[1, 4, 5]), "the new majority alone");
        assert!(!has(&joint(&[1, 4, 5], &[1, 2, 3]), &[1, 2, 3]), "the old majority alone");
        assert!(has(&joint(&[1, 4, 5], &[1, 2, 3]), &[1, 3, 5]));
        assert!(!has(&Configuration::default(), &[1]), "no voters");
    }

    #[test]
    fn reached_is_the_lesser_of_both_majorities() {
        let at = |id: NodeId| id.0 * 10;
        assert_eq!(reached(&joint(&[1, 2, 3], &[]), at), Some(20));
        assert_eq!(reached(&joint(&[1, 2, 3, 4], &[]), at), Some(20));
        assert_eq!(reached(&joint(&[4, 5, 6], &[1, 2, 3]), at), Some(20));
        assert_eq!(reached(&joint(&[1, 2, 3], &[4, 5, 6]), at), Some(20));
        assert_eq!(reached(&Configuration::default(), at), None);
    }

    #[test]
    fn clear_votes_count_as_in_raft() {
        let three = joint(&[1, 2, 3], &[]);
        assert_eq!(outcome(&three, "g--"), Outcome::Open);
        assert_eq!(outcome(&three, "gg-"), Outcome::Won);
        assert_eq!(outcome(&three, "gr-"), Outcome::Open);
        assert_eq!(outcome(&three, "grr"), Outcome::Lost);
        assert_eq!(outcome(&joint(&[1, 4, 5], &[1, 2, 3]), "g--gg"), Outcome::Open);
        assert_eq!(outcome(&joint(&[1, 4, 5], &[1, 2, 3]), "grrgg"), Outcome::Lost);
        assert_eq!(outcome(&joint(&[1, 4, 5], &[1, 2, 3]), "gg-g-"), Outcome::Won);
    }

    #[test]
    fn a_suspect_voter_does_not_speak_for_a_silent_one() {
        let three = joint(&[1, 2, 3], &[]);
        assert_eq!(outcome(&three, "gs-"), Outcome::Open);
        assert_eq!(outcome(&three, "gsg"), Outcome::Won);
        assert_eq!(outcome(&three, "gsr"), Outcome::Lost, "the refusing one may hold what the suspect lost");
        assert_eq!(outcome(&three, "ss-"), Outcome::Open);
        assert_eq!(outcome(&three, "sss"), Outcome::Won, "everyone answered: nobody else can know more");
        assert_eq!(outcome(&joint(&[1], &[]), "s"), Outcome::Won);
        let five = joint(&[1, 2, 3, 4, 5], &[]);
        assert_eq!(outcome(&five, "ggs--"), Outcome::Open);
        assert_eq!(outcome(&five, "gggs-"), Outcome::Won);
        assert_eq!(outcome(&five, "ggss-"), Outcome::Open);
        assert_eq!(outcome(&five, "ggssg"), Outcome::Won);
        assert_eq!(outcome(&five, "sssss"), Outcome::Won);
    }

    /// The proof above, by trying everything: every way to spread a committed entry and damage over five voters, every way to vote.
    #[test]
    fn no_committed_entry_is_missing_at_a_winner() {
        for n in 1..=5u64 {
            let voters: Vec<u64> = (1..=n).collect();
            let configuration = joint(&voters, &[]);
            let m = majority(&configuration.voters) as u32;
            // Bit i: voter i holds the entry; lost it since; answers.
            for holders in 0u32..1 << n {
                for damaged in 0u32..1 << n {
                    if holders.count_ones() < m || damaged.count_ones() >= m {
                        continue;
                    }
                    for answers in 0u32..1 << n {
                        let vote = |i: u64| {
                            let bit = |set: u32| set >> i & 1 == 1;
                            match (bit(answers), bit(damaged), bit(holders)) {
                                (false, _, _) => '-',
                                (true, true, _) => 's',
                                (true, false, true) => 'r',
                                (true, false, false) => 'g',
                            }
                        };
                        let letters: alloc::string::String = (0..n).map(vote).collect();
                        assert_ne!(outcome(&configuration, &letters), Outcome::Won, "holders {holders:b}, {letters}");
                    }
                }
            }
        }
    }
}
