//! What holds whatever comes, in whatever order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use steadfast_membership::limits::WITNESSES;
use steadfast_membership::message::{Header, Listing, Message};
use steadfast_membership::{Config, Event, Incarnation, Membership, Outputs, Packet, Profile, Record, Role, State, Table};
use steadfast_types::{ClusterId, Instant, NodeId, Rng};

const CLUSTER: ClusterId = ClusterId(0);

fn address(number: u64) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), number as u16)
}

fn profile(number: u64, version: u64) -> Profile {
    Profile {
        id: NodeId(number),
        name: format!("n{number}"),
        address: address(number),
        role: Role::Agent,
        born: number,
        version: Incarnation(version),
        metadata: Bytes::from(format!("version {version}")),
    }
}

fn gossip(records: Vec<Record>) -> Bytes {
    let header = Header { from: NodeId(999), incarnation: Incarnation(0), digest: 0 };
    Packet { header, message: Message::Gossip, records }.encode(CLUSTER).into()
}

fn newcomer(config: Config) -> Membership {
    Membership::new(config, profile(1, 0), Incarnation::of_life(1), 1, Instant(0))
}

fn states() -> impl Strategy<Value = State> {
    prop::sample::select(vec![State::Alive, State::Suspect, State::Failed, State::Left])
}

prop_compose! {
    fn records()(
        number in 2_u64..8, incarnation in 1_u64..5, state in states(), words in prop::collection::btree_set(2_u64..20, 1..=WITNESSES), version in 1_u64..5,
    ) -> Record {
        let may = matches!(state, State::Suspect | State::Failed);
        let witnesses = if may { words.into_iter().map(NodeId).collect() } else { vec![] };
        let profile = Some(Arc::new(profile(number, version.min(incarnation))));
        Record { id: NodeId(number), incarnation: Incarnation(incarnation), state, witnesses, profile }
    }
}

fn ids() -> impl Strategy<Value = NodeId> {
    any::<u64>().prop_map(NodeId)
}

fn messages() -> impl Strategy<Value = Message> {
    let entries = prop::collection::vec((ids(), any::<u64>().prop_map(Incarnation), any::<u64>().prop_map(Incarnation)), 0..5);
    let listing = (any::<u8>(), ids(), ids(), entries);
    let listing = listing.prop_map(|(bucket, first, last, entries)| Listing { bucket, first, last, entries });
    prop_oneof![
        (any::<u32>(), ids(), any::<bool>()).prop_map(|(number, target, is_accused)| Message::Ping { number, target, is_accused }),
        any::<u32>().prop_map(|number| Message::Ack { number }),
        (any::<u32>(), ids()).prop_map(|(number, target)| Message::PingRequest { number, target }),
        any::<u32>().prop_map(|number| Message::Nack { number }),
        Just(Message::Gossip),
        prop::collection::vec(any::<u32>(), 256).prop_map(Message::Sums),
        prop::collection::vec(listing, 0..4).prop_map(Message::Listings),
        Just(Message::Push),
        prop::collection::vec(ids(), 0..9).prop_map(Message::Want),
        Just(Message::Join),
        any::<u64>().prop_map(|floor| Message::Table { floor: Incarnation(floor) }),
        any::<u64>().prop_map(|floor| Message::Exchange { floor: Incarnation(floor) }),
    ]
}

prop_compose! {
    fn packets()(
        from in ids(), incarnation in any::<u64>(), digest in any::<u32>(), message in messages(), records in prop::collection::vec(records(), 0..6),
    ) -> Packet {
        Packet { header: Header { from, incarnation: Incarnation(incarnation), digest }, message, records }
    }
}

/// Incarnation, state, witnesses and version of the profile.
type Held = (Incarnation, State, Vec<NodeId>, Incarnation);

/// All that a table says of its members, and what it is compared by.
fn contents(membership: &Membership) -> (u32, BTreeMap<NodeId, Held>) {
    let of = |member: steadfast_membership::MemberView<'_>| {
        (member.profile.id, (member.incarnation, member.state, member.witnesses.to_vec(), member.profile.version))
    };
    (membership.table().digest(), membership.table().iter().map(of).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn packets_survive_the_wire(packet in packets()) {
        prop_assert_eq!(Packet::decode(packet.encode(CLUSTER).into(), CLUSTER), Ok(packet));
    }

    #[test]
    fn a_cut_or_damaged_packet_is_an_error_or_another_packet(packet in packets(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = packet.encode(CLUSTER);
        let at = at.index(bytes.len());
        let _ = Packet::decode(Bytes::copy_from_slice(&bytes[..at]), CLUSTER);
        bytes[at] = byte;
        if let Ok(other) = Packet::decode(Bytes::copy_from_slice(&bytes), CLUSTER) {
            let again = other.encode(CLUSTER);
            prop_assert_eq!(Packet::decode(again.into(), CLUSTER), Ok(other));
        }
    }

    #[test]
    fn a_wall_clock_that_is_hours_off_matters_to_namesakes_alone(records in prop::collection::vec(records(), 1..30), hours in -3_i64..=3) {
        let told = |hours: i64| {
            let mut membership = newcomer(Config::default());
            for (at, record) in (1_u64..).zip(records.clone()) {
                let born = 1_000_000_u64.saturating_add_signed(hours * 3600);
                let profile = record.profile.as_ref().map(|profile| Arc::new(Profile { born, ..(**profile).clone() }));
                membership.receive_datagram(Instant(at), address(9), gossip(vec![Record { profile, ..record }])).expect("of this cluster");
            }
            membership.table().iter().map(|member| (member.profile.id, member.incarnation, member.state)).collect::<Vec<_>>()
        };
        prop_assert_eq!(told(0), told(hours));
    }

    #[test]
    fn of_two_namesakes_the_one_with_the_earlier_clock_is_the_elder_and_a_third_removes_neither(births in prop::array::uniform2(0_u64..3), order: bool) {
        let mut membership = newcomer(Config::default());
        let twin = |at: usize| Arc::new(Profile { name: "twin".into(), born: births[at] * 3600, ..profile(at as u64 + 2, 1) });
        for at in if order { [0, 1] } else { [1, 0] } {
            membership.receive_datagram(Instant(1), address(9), gossip(vec![Record::alive(twin(at), Incarnation(1))])).expect("of this cluster");
        }
        let mut outputs = Outputs::default();
        membership.take_outputs(&mut outputs);
        let (elder, younger) = if births[0] <= births[1] { (NodeId(2), NodeId(3)) } else { (NodeId(3), NodeId(2)) };
        prop_assert!(outputs.events.contains(&Event::NameConflict { elder, younger }), "{:?}", outputs.events);
        prop_assert!([2, 3].into_iter().all(|id| membership.state(NodeId(id)) == Some(State::Alive)));
    }

    #[test]
    fn hostile_bytes_harm_nobody(pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), any::<bool>()), 1..20)) {
        let mut membership = newcomer(Config::default());
        for (at, (mut bytes, by_stream)) in (0_u64..).zip(pieces) {
            let mut whole = vec![1, 0, 0, 0, 0];
            whole.append(&mut bytes);
            let now = Instant(at * 300_000);
            let _ = if by_stream { membership.receive_stream(now, address(9), whole.into()) } else { membership.receive_datagram(now, address(9), whole.into()) };
        }
    }

    #[test]
    fn any_packets_in_any_number_leave_one_alive(packets in prop::collection::vec((packets(), any::<bool>()), 1..30)) {
        let mut membership = newcomer(Config::default());
        for (at, (packet, by_stream)) in (0_u64..).zip(packets) {
            let (now, bytes) = (Instant(at * 200_000), packet.encode(CLUSTER).into());
            let _ = if by_stream { membership.receive_stream(now, address(9), bytes) } else { membership.receive_datagram(now, address(9), bytes) };
        }
        membership.tick(Instant(60_000_000));
        prop_assert_eq!(membership.state(membership.id()), Some(State::Alive));
    }

    #[test]
    fn the_order_of_gossip_is_all_one(records in prop::collection::vec(records(), 1..40), seed in any::<u64>()) {
        let mut shuffled = [records.clone(), records.clone()].concat();
        Rng::with_seed(seed).shuffle(&mut shuffled);
        let tables = [records, shuffled].map(|records| {
            let mut membership = newcomer(Config::default());
            for record in records {
                membership.receive_datagram(Instant(1), address(9), gossip(vec![record])).unwrap();
            }
            contents(&membership)
        });
        prop_assert_eq!(&tables[0], &tables[1]);
    }

    #[test]
    fn an_old_incarnation_never_comes_back(records in prop::collection::vec(records(), 1..80), remembered in 0_usize..6) {
        let mut membership = newcomer(Config { dead_count: remembered, ..Config::default() });
        let mut deaths: BTreeMap<NodeId, Incarnation> = BTreeMap::new();
        for record in records {
            membership.receive_datagram(Instant(1), address(9), gossip(vec![record.clone()])).unwrap();
            if let Some(member) = membership.table().view(record.id) && !member.state.is_active() {
                let death = deaths.entry(record.id).or_default();
                *death = (*death).max(member.incarnation);
            }
            // One that is forgotten at once was dead too.
            if !record.state.is_active() && membership.table().view(record.id).is_none() {
                let death = deaths.entry(record.id).or_default();
                *death = (*death).max(record.incarnation);
            }
            for (id, death) in &deaths {
                if let Some(member) = membership.table().view(*id) {
                    prop_assert!(!member.state.is_active() || member.incarnation > *death, "{} is back @{}, dead @{}", id, member.incarnation, death);
                }
            }
        }
    }

    /// One member in a cluster of eight where one never answers: it is failed if, and only if, enough of those who are asked say that they found it silent.
    #[test]
    fn too_few_words_fail_nobody(sayers in prop::collection::btree_set(2_u64..8, 0..=6), seed in any::<u64>()) {
        let failed = failed_by(&sayers, seed, 60);
        if sayers.len() + 1 < 3 {
            prop_assert!(!failed, "failed on the word of {:?}", sayers);
        }
    }

    #[test]
    fn enough_words_fail_the_silent(seed in any::<u64>()) {
        prop_assert!(failed_by(&(2..8).collect(), seed, 60));
    }
}

/// Member 1 among members 2 to 8, of whom 8 is silent: those in `sayers` say so when they are asked, the others nothing.
fn failed_by(sayers: &BTreeSet<u64>, seed: u64, seconds: u64) -> bool {
    let mut rng = Rng::with_seed(seed);
    let mut table = Table::new(Arc::new(profile(1, 0)), Incarnation(1), Instant(0));
    (2..=8).for_each(|number| table.admit_known(Arc::new(profile(number, 0)), Incarnation(1), Instant(0), &mut rng));
    let mut membership = Membership::with_table(Config::default(), table, seed, Instant(0));
    let mut outputs = Outputs::default();
    while membership.next_deadline() <= Instant(seconds * 1_000_000) {
        let now = membership.next_deadline();
        membership.tick(now);
        membership.take_outputs(&mut outputs);
        if outputs.events.contains(&Event::Failed(NodeId(8), Incarnation(1))) {
            return true;
        }
        for (to, bytes) in std::mem::take(&mut outputs.datagrams) {
            let packet = Packet::decode(bytes.into(), CLUSTER).unwrap();
            let number = u64::from(to.port());
            let answer = match packet.message {
                Message::Ping { number: ping, .. } if number != 8 => Message::Ack { number: ping },
                Message::PingRequest { number: request, target } if target != NodeId(8) => Message::Ack { number: request },
                Message::PingRequest { number: request, .. } if sayers.contains(&number) => Message::Nack { number: request },
                _ => continue,
            };
            let header = Header { from: NodeId(number), incarnation: Incarnation(1), digest: membership.table().digest() };
            let bytes = Packet { header, message: answer, records: vec![] }.encode(CLUSTER);
            membership.receive_datagram(now + Duration::from_millis(100), to, bytes.into()).unwrap();
        }
    }
    false
}

#[test]
fn a_member_that_was_forgotten_takes_a_new_incarnation() {
    let config = Config { dead_count: 0, ..Config::default() };
    let mut forgetful = newcomer(config.clone());
    let dead = Record {
        id: NodeId(2),
        incarnation: Incarnation(5),
        state: State::Left,
        witnesses: vec![],
        profile: Some(Arc::new(profile(2, 5))),
    };
    forgetful.receive_datagram(Instant(1), address(9), gossip(vec![dead])).unwrap();
    assert!(forgetful.table().view(NodeId(2)).is_none());
    let mut forgotten = Membership::new(config, profile(2, 5), Incarnation(5), 2, Instant(0));
    let old = Record::alive(Arc::new(profile(2, 5)), Incarnation(5));
    forgetful.receive_datagram(Instant(2), address(9), gossip(vec![old])).unwrap();
    assert!(forgetful.table().view(NodeId(2)).is_none(), "its old incarnation is not believed");
    let mut outputs = Outputs::default();
    forgetful.take_outputs(&mut outputs);
    let told = outputs.datagrams.iter().find(|(to, _)| *to == address(2)).expect("it is told");
    forgotten.receive_datagram(Instant(3), address(1), told.1.clone().into()).unwrap();
    assert!(forgotten.incarnation() > Incarnation(5));
    let new = Record::alive(Arc::new(profile(2, 5)), forgotten.incarnation());
    forgetful.receive_datagram(Instant(4), address(9), gossip(vec![new])).unwrap();
    assert_eq!(forgetful.table().view(NodeId(2)).map(|member| member.state), Some(State::Alive));
}

/// A timer that rings to the very moment must not find the dead a moment too young, for ever.
#[test]
fn the_dead_are_forgotten_at_the_moment_that_they_are_old_enough() {
    // A turn after so long would be a pause, by which all timers are put off.
    let config = Config { dead_age: Duration::from_secs(5), pause_limit: None, ..Config::default() };
    let mut member = newcomer(config);
    let dead = Record {
        id: NodeId(2),
        incarnation: Incarnation(5),
        state: State::Left,
        witnesses: vec![],
        profile: Some(Arc::new(profile(2, 5))),
    };
    member.receive_datagram(Instant(1), address(9), gossip(vec![dead])).unwrap();
    member.tick(Instant(1) + Duration::from_secs(5) - Duration::from_micros(1));
    assert!(member.table().view(NodeId(2)).is_some());
    member.tick(Instant(1) + Duration::from_secs(5));
    assert!(member.table().view(NodeId(2)).is_none());
}

/// Two members, one of which has paused a few times: when the other dies, nobody's answer makes it well again.
#[test]
fn who_has_paused_notices_the_death_of_the_only_other_all_the_same() {
    let mut member = newcomer(Config::default());
    let other = Record::alive(Arc::new(profile(2, 5)), Incarnation(5));
    member.receive_datagram(Instant(1), address(2), gossip(vec![other])).unwrap();
    for _ in 0..6 {
        let late = member.next_deadline() + Duration::from_secs(1);
        member.tick(late);
    }
    assert!(member.own_health().score >= 4, "it is not well");
    let end = member.next_deadline() + Duration::from_secs(60);
    while member.next_deadline() < end {
        member.tick(member.next_deadline());
    }
    assert_eq!(member.state(NodeId(2)), Some(State::Failed));
}

/// Carries what two members say to each other; to all others it is lost.
fn run_together(members: &mut [Membership], from: Instant, until: impl Fn(&[Membership]) -> bool) -> Option<Instant> {
    let (mut now, mut outputs, mut under_way) = (from, Outputs::default(), Vec::new());
    let end = from + Duration::from_secs(120);
    while now < end {
        now = now + Duration::from_millis(10);
        for (to, from, bytes) in std::mem::take(&mut under_way) {
            if let Some(member) = members.iter_mut().find(|member| address(member.id().0) == to) {
                member.receive_datagram(now, from, Bytes::from(bytes)).unwrap();
            }
        }
        for member in members.iter_mut() {
            member.tick(now);
            member.take_outputs(&mut outputs);
            let own = address(member.id().0);
            under_way.extend(outputs.datagrams.drain(..).map(|(to, bytes)| (to, own, bytes)));
        }
        if until(members) {
            return Some(now);
        }
    }
    None
}

fn witnesses(member: &Membership, of: u64) -> Vec<NodeId> {
    member.table().view(NodeId(of)).map(|view| view.witnesses.to_vec()).unwrap_or_default()
}

/// A member dies while but one other knows it, whose word is enough; whoever decides later may want two.
#[test]
fn those_who_come_later_add_their_words_about_the_dead() {
    let mut first = newcomer(Config::default());
    let dead = Record::alive(Arc::new(profile(2, 5)), Incarnation(5));
    first.receive_datagram(Instant(1), address(2), gossip(vec![dead])).unwrap();
    let mut members = vec![first];
    let found = run_together(&mut members, Instant(1), |members| members[0].state(NodeId(2)) == Some(State::Failed));
    let now = found.expect("it is found dead");
    assert_eq!(witnesses(&members[0], 2), [NodeId(1)]);
    let second = Membership::new(Config::default(), profile(3, 0), Incarnation::of_life(1), 3, now);
    let record = Record::alive(Arc::new(profile(3, 0)), second.incarnation());
    members.push(second);
    members[0].receive_datagram(now, address(3), gossip(vec![record])).unwrap();
    // By stream, as whoever joins has it: what the first knows of the dead.
    let told = Record {
        id: NodeId(2),
        incarnation: Incarnation(5),
        state: State::Failed,
        witnesses: vec![NodeId(1)],
        profile: Some(Arc::new(profile(2, 5))),
    };
    let known = Record::alive(Arc::new(profile(1, 0)), Incarnation::of_life(1));
    members[1].receive_datagram(now, address(1), gossip(vec![told, known])).unwrap();
    let both = |member: &Membership| witnesses(member, 2) == [NodeId(1), NodeId(3)];
    run_together(&mut members, now, |members| members.iter().all(both)).expect("both have found it silent");
}

/// Nobody who hears nobody takes its death back at once, to be found dead again.
#[test]
fn who_was_declared_dead_comes_back_when_it_is_heard() {
    for hears in [false, true] {
        let mut members = vec![newcomer(Config::default())];
        let other = Membership::new(Config::default(), profile(2, 0), Incarnation::of_life(1), 3, Instant(0));
        let record = Record::alive(Arc::new(profile(2, 0)), other.incarnation());
        let mut records = vec![record];
        if hears {
            members.push(other);
        }
        let own = members[0].incarnation();
        records.push(Record { id: NodeId(1), incarnation: own, state: State::Failed, witnesses: vec![NodeId(2)], profile: None });
        members[0].receive_datagram(Instant(1), address(9), gossip(records)).unwrap();
        let back = run_together(&mut members, Instant(1), |members| members[0].incarnation() > own).expect("it comes back in the end");
        let most = Config::default().return_backoff_max;
        let is_early = back.since(Instant(1)) < most * 3 / 4;
        assert_eq!(is_early, hears, "{back:?}");
    }
}
