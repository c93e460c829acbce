//! Whose state is the right one: what members remember of their running hashes, compared. A pure judgement, by majority.
//!
//! A replica's running hash takes in all that was ever written, so a replica that once differed differs at every later entry, until its state is
//! replaced. So of all entries at which a member can be compared the newest one decides.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_types::{Configuration, LogIndex, NodeId};

/// Hashes with the entries after which they held, oldest first.
pub(crate) type Marks = Vec<(LogIndex, u64)>;

/// What a comparison shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Members that have another state than the majority of the voters, or, if there is no majority and all voters were heard, than each other.
    pub(crate) differ: BTreeSet<NodeId>,
    /// Members that have the majority's state, with the newest entry at which they were compared.
    pub(crate) agree: BTreeMap<NodeId, LogIndex>,
    /// The newest entry at which voters differ while too few were heard to say who is right.
    pub(crate) undecided: Option<LogIndex>,
}

/// Judges the members by what each said last. Only voters that are not corrupt, as far as is known, count for what the right state is.
pub(crate) fn judge(configuration: &Configuration, is_corrupt: impl Fn(NodeId) -> bool, said: &BTreeMap<NodeId, Marks>) -> Judgement {
    let mut judgement = Judgement::default();
    // While members change it is not clear whose majority counts; that is soon over.
    if configuration.is_joint() {
        return judgement;
    }
    let counts = |member: NodeId| configuration.voters.contains(&member) && !is_corrupt(member);
    let mut entries: BTreeMap<LogIndex, Vec<(NodeId, u64)>> = BTreeMap::new();
    for (member, marks) in said {
        for (index, hash) in marks {
            entries.entry(*index).or_default().push((*member, *hash));
        }
    }
    for (index, hashes) in entries.iter().rev() {
        let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
        hashes.iter().filter(|(member, _)| counts(*member)).for_each(|(_, hash)| *votes.entry(*hash).or_default() += 1);
        let right = votes.iter().find(|(_, count)| 2 * **count > configuration.voters.len()).map(|(hash, _)| *hash);
        let heard: usize = votes.values().sum();
        match right {
            Some(right) => {
                for (member, hash) in hashes {
                    if judgement.differ.contains(member) || judgement.agree.contains_key(member) {
                        continue;
                    }
                    if *hash == right {
                        judgement.agree.insert(*member, *index);
                    } else {
                        judgement.differ.insert(*member);
                    }
                }
            }
            None if votes.len() > 1 && heard == configuration.voters.len() => {
                judgement.differ.extend(hashes.iter().map(|(member, _)| *member).filter(|member| counts(*member)));
                return judgement;
            }
            None if votes.len() > 1 => judgement.undecided = judgement.undecided.or(Some(*index)),
            None => {}
        }
    }
    judgement
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(all: &[(u64, &[(u64, u64)])]) -> BTreeMap<NodeId, Marks> {
        let marks = |marks: &[(u64, u64)]| marks.iter().map(|(index, hash)| (LogIndex(*index), *hash)).collect();
        all.iter().map(|(member, list)| (NodeId(*member), marks(list))).collect()
    }

    fn three() -> Configuration {
        Configuration { learners: [NodeId(4)].into(), ..Configuration::of_voters([1, 2, 3].map(NodeId)) }
    }

    fn differ(corrupt: &[u64], all: &[(u64, &[(u64, u64)])]) -> Vec<u64> {
        let judgement = judge(&three(), |member| corrupt.contains(&member.0), &said(all));
        judgement.differ.iter().map(|member| member.0).collect()
    }

    #[test]
    fn who_is_not_with_the_majority_differs_also_if_it_leads_or_learns() {
        assert_eq!(differ(&[], &[(1, &[(5, 7)]), (2, &[(5, 7)]), (3, &[(5, 7)]), (4, &[(5, 7)])]), []);
        assert_eq!(differ(&[], &[(1, &[(5, 8)]), (2, &[(5, 7)]), (3, &[(5, 7)]), (4, &[(5, 7)])]), [1]);
        assert_eq!(differ(&[], &[(1, &[(5, 7)]), (2, &[(5, 7)]), (4, &[(5, 8)])]), [4]);
        assert_eq!(differ(&[], &[(1, &[(5, 7)]), (2, &[(5, 8)]), (4, &[(5, 8)])]), [], "a learner makes no majority");
    }

    #[test]
    fn without_a_majority_all_differ_but_only_once_all_were_heard() {
        let two = [(1, &[(5u64, 7u64)] as &[_]), (2, &[(5, 8)])];
        assert_eq!(differ(&[], &two), []);
        assert_eq!(judge(&three(), |_| false, &said(&two)).undecided, Some(LogIndex(5)));
        assert_eq!(differ(&[], &[(1, &[(5, 7)]), (2, &[(5, 8)]), (3, &[(5, 9)])]), [1, 2, 3]);
    }

    #[test]
    fn who_is_corrupt_is_compared_and_does_not_count() {
        assert_eq!(differ(&[1], &[(1, &[(5, 7)]), (2, &[(5, 7)]), (3, &[(5, 8)])]), [], "two that are well, and they differ");
        let back = judge(&three(), |member| member == NodeId(1), &said(&[(1, &[(5, 7)]), (2, &[(5, 7)]), (3, &[(5, 7)])]));
        assert_eq!(back.agree.get(&NodeId(1)), Some(&LogIndex(5)));
    }

    #[test]
    fn the_newest_entry_decides() {
        // Replaced by a good state between 5 and 9.
        let all: [(u64, &[(u64, u64)]); 3] = [(1, &[(5, 8), (9, 1)]), (2, &[(5, 7), (9, 1)]), (3, &[(5, 7)])];
        assert_eq!(differ(&[], &all), []);
        assert_eq!(
            differ(&[], &[(1, &[(5, 8)]), (2, &[(5, 7), (9, 1)]), (3, &[(5, 7), (9, 1)])]),
            [1],
            "it is behind, and was wrong there"
        );
    }

    proptest! {
        /// Replicas whose hashes run as they do: each takes in the entry, and what went wrong in it. Any subset is heard, as far as it is.
        #[test]
        fn exactly_those_are_found_that_went_wrong_if_they_are_few(
            wrong in prop::collection::btree_map(0usize..5, 1u64..20, 0..=2),
            heard in prop::collection::vec((0u64..20, any::<bool>()), 5),
        ) {
            let configuration = Configuration::of_voters((0..5).map(NodeId));
            let hash = |member: usize, index: u64| match wrong.get(&member) {
                Some(from) if index >= *from => 1000 * (member as u64 + 1) + index,
                _ => index,
            };
            let marks = |member: usize, until: u64| (1..=until).map(|index| (LogIndex(index), hash(member, index))).collect::<Marks>();
            let said: BTreeMap<NodeId, Marks> = heard.iter().enumerate().filter(|(_, (_, is_heard))| *is_heard)
                .map(|(member, (until, _))| (NodeId(member as u64), marks(member, *until))).collect();
            let judgement = judge(&configuration, |_| false, &said);
            for member in &judgement.differ {
                prop_assert!(wrong.contains_key(&(member.0 as usize)), "{member} is well");
            }
            for (member, index) in &judgement.agree {
                prop_assert!(wrong.get(&(member.0 as usize)).is_none_or(|from| index.0 < *from), "{member} is wrong at {index}");
            }
            // Whoever can be compared with three that are well is found.
            for (member, from) in &wrong {
                let until = |at: usize| if heard[at].1 { heard[at].0 } else { 0 };
                let well = |index: u64| (0..5).filter(|at| wrong.get(at).is_none_or(|from| index < *from) && until(*at) >= index).count();
                if (*from..=until(*member)).any(|index| well(index) >= 3) {
                    prop_assert!(judgement.differ.contains(&NodeId(*member as u64)), "{member} was not found");
                }
            }
        }
    }
}
