//! Any state, read out as it is held still and seeded anew, is the same state.

use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use steadfast_types::tables::memory::MemoryTables;
use steadfast_types::{Configuration, Entry, Level, NodeId, Payload};

use super::*;
use crate::command::{Command, CommandError, KeySpan, Member, Put, Range};
use crate::reader::{HistoryRequest, Pinned, StateReader};
use crate::state::State;
use crate::state::tests::{ANSWER, apply_all, command_of};

type Reader = <MemoryTables as Tables>::Reader;

fn writes(pinned: &Pinned<Reader>) -> Vec<Write> {
    let mut kept: Vec<Write> = pinned.kept().map(Result::unwrap).collect();
    kept.sort_by_key(|write| (write.revision, write.sub));
    kept.extend(pinned.since(pinned.revision()).map(Result::unwrap));
    kept
}

fn seed(pinned: &Pinned<Reader>, bump: i64) -> (State<MemoryTables>, Seeded) {
    let options = SeedOptions { compact: pinned.compact_revision(), bump };
    let mut seed = Seed::new(MemoryTables::default(), options, |_: &mut MemoryTables| Ok(()));
    writes(pinned).into_iter().for_each(|write| seed.write(write).unwrap());
    let (tables, seeded) = seed.finish(pinned.leases().map(|lease| Ok(lease?))).unwrap();
    (State::open(tables).unwrap(), seeded)
}

fn keys(reader: &StateReader<Reader>, revision: Revision) -> Result<Vec<KeyValue>, CommandError> {
    let all = KeySpan { key: Bytes::from_static(&[0]), range_end: Bytes::from_static(&[0]) };
    Ok(reader.range(&Range { keys: all, revision, ..Range::default() })?.result.kvs)
}

fn state_after(entries: Vec<Vec<Command>>) -> State<MemoryTables> {
    let mut state = State::open(MemoryTables::default()).unwrap();
    for commands in entries {
        apply_all(&mut state, commands, ANSWER);
    }
    state
}

fn assert_same(ours: &StateReader<Reader>, theirs: &StateReader<Reader>) {
    assert_eq!((ours.revision(), ours.compact_revision()), (theirs.revision(), theirs.compact_revision()));
    let compact = ours.compact_revision();
    for revision in compact.0.max(1)..=ours.revision().0 {
        assert_eq!(keys(ours, Revision(revision)), keys(theirs, Revision(revision)), "revision {revision}");
    }
    let request =
        HistoryRequest { from: Revision(compact.0 + 1), to: ours.revision(), max_events: usize::MAX, max_bytes: usize::MAX, prev_kv: true };
    assert_eq!(ours.history(&request, &mut |_| true), theirs.history(&request, &mut |_| true));
    assert_eq!(ours.leases(), theirs.leases());
    for (lease, _) in ours.leases().unwrap() {
        assert_eq!(ours.lease_keys(lease), theirs.lease_keys(lease));
    }
}

proptest! {
    #[test]
    fn a_seeded_state_is_the_one_it_was_read_from(entries in prop::collection::vec(prop::collection::vec(command_of(), 1..4), 1..20)) {
        let state = state_after(entries);
        let pinned = state.reader().pin().unwrap();
        let (copy, seeded) = seed(&pinned, 0);
        assert_same(&copy.reader(), &state.reader());
        prop_assert_eq!(copy.hash(), seeded.hash);
        prop_assert_eq!(writes(&copy.reader().pin().unwrap()), writes(&pinned));
        let again = seed(&pinned, 0).1;
        prop_assert_eq!(again, seeded);
        prop_assert_ne!(seed(&pinned, 1).1.hash, seeded.hash);
    }

    /// What is pinned stays, whatever comes after.
    #[test]
    fn a_pinned_state_is_held_still(
        before in prop::collection::vec(prop::collection::vec(command_of(), 1..4), 1..10),
        after in prop::collection::vec(prop::collection::vec(command_of(), 1..4), 1..10),
    ) {
        let mut state = state_after(before);
        let pinned = state.reader().pin().unwrap();
        let leases = |pinned: &Pinned<Reader>| pinned.leases().map(Result::unwrap).collect::<Vec<_>>();
        let then = (writes(&pinned), leases(&pinned));
        for commands in after {
            apply_all(&mut state, commands, ANSWER);
        }
        prop_assert_eq!((writes(&pinned), leases(&pinned)), then);
    }

    #[test]
    fn a_raised_revision_has_the_same_keys_and_no_past(entries in prop::collection::vec(prop::collection::vec(command_of(), 1..4), 1..20), bump in 1..1000i64) {
        let state = state_after(entries);
        let (copy, seeded) = seed(&state.reader().pin().unwrap(), bump);
        let raised = Revision(state.revision().0 + bump);
        prop_assert_eq!((seeded.revision, seeded.compact), (raised, raised));
        prop_assert_eq!(keys(&copy.reader(), raised), keys(&state.reader(), Revision(0)));
        prop_assert_eq!(keys(&copy.reader(), Revision(raised.0 - 1)), Err(CommandError::Compacted));
    }
}

#[test]
fn a_cluster_is_founded_on_a_seed_and_goes_on() {
    let put = || Command::Put(Put { key: "k".into(), ..Put::default() });
    let (mut state, seeded) = seed(&state_after(vec![vec![put(), put()]]).reader().pin().unwrap(), 0);
    assert!(state.is_unfounded_seed());
    let founder = Member { id: NodeId(1), name: "n1".into(), ..Member::default() };
    state.bootstrap(Configuration::of_voters([NodeId(1)]), vec![founder.clone()], Level::NEWEST);
    assert!(!state.is_unfounded_seed());
    assert_eq!((state.applied(), state.revision()), (FOUNDED, seeded.revision));
    let next = Entry { term: Term(2), index: FOUNDED.index.next(), payload: Payload::Empty };
    state.apply(&next, ANSWER).unwrap();
    apply_all(&mut state, vec![put()], ANSWER);
    assert_eq!(state.revision(), Revision(seeded.revision.0 + 1));
    assert_eq!(state.reader().members(), Ok(vec![founder]));
}

#[test]
fn impossible_writes_are_refused() {
    let kv = |revision: i64| KeyValue {
        key: "k".into(),
        create_revision: Revision(2),
        mod_revision: Revision(revision),
        version: 1,
        ..KeyValue::default()
    };
    let write = |revision: i64, sub, kv| Write { revision: Revision(revision), sub, change: Change::Put(kv) };
    let begin = || {
        let mut seed = Seed::new(MemoryTables::default(), SeedOptions { compact: Revision(-1), bump: 0 }, |_: &mut MemoryTables| Ok(()));
        seed.write(write(3, 1, kv(3))).unwrap();
        seed
    };
    let empty = KeyValue { key: Bytes::new(), ..kv(4) };
    let unborn = KeyValue { version: 0, ..kv(4) };
    for wrong in [write(3, 1, kv(3)), write(3, 0, kv(3)), write(2, 9, kv(2)), write(4, 0, kv(5)), write(4, 0, empty), write(4, 0, unborn)] {
        assert!(matches!(begin().write(wrong.clone()), Err(SeedError::Write { .. })), "{wrong:?}");
    }
    let far = Seed { options: SeedOptions { compact: Revision(-1), bump: LAST_REVISION }, ..begin() };
    assert!(matches!(far.finish(core::iter::empty()), Err(SeedError::Bump { .. })));
}
