//! What one fault does, and what sets it right.

use std::collections::BTreeSet;

use bytes::Bytes;
use steadfast_available::exchange::{Delta, Event, Limits};
use steadfast_crdt::{Covers, VersionVector};
use steadfast_types::NodeId;
use steadfast_types::wire::Wire;

use crate::model::{Write, actor, hash};
use crate::net::{Net, offline, quiet, tiny};

#[test]
fn a_session_costs_what_differs_and_not_what_there_is() {
    let limits = Limits { kept_bytes: 1000, leaf_keys: 8, ..Limits::default() };
    let cost = |keys: u64, differing: u64| {
        let mut net = quiet(2, &[(0, 1)], limits.clone());
        net.judges = false;
        let all = (0..keys).map(|key| (key, true)).collect::<Vec<_>>();
        net.write(0, &all);
        net.release(0);
        net.heal();
        net.cut(0, 1);
        offline(&mut net, 0, 0..differing);
        offline(&mut net, 1, keys - differing..keys);
        let before = net.counters();
        net.heal();
        let after = net.counters();
        assert!(after.sessions_begun > before.sessions_begun);
        after.bytes_sent - before.bytes_sent
    };
    let (few, many, most) = (cost(1500, 10), cost(12_000, 10), cost(12_000, 100));
    assert!(many < few * 2, "eight times as many keys: {few}, {many}");
    assert!(most > many * 3 && most < many * 15, "ten times as many differ: {many}, {most}");
}

#[test]
fn a_slow_peer_holds_nobody_up_and_takes_no_memory() {
    let limits = Limits { kept_bytes: 20_000, window_bytes: 4000, frame_bytes: 1000, ..tiny() };
    let mut net = quiet(3, &Net::full(3), limits);
    net.judges = false;
    for key in 0..2000 {
        net.write(0, &[(key % 50, true)]);
        net.release(0);
        while net.deliver(0, 2) || net.deliver(2, 0) {}
        assert!(net.under_way(0, 1) < 8000, "{} bytes", net.under_way(0, 1));
        assert_eq!(net.nodes[0].model.vector, net.nodes[2].model.vector);
        if key % 10 == 0 {
            net.tick(0);
            net.tick(2);
        }
    }
    let status = net.nodes[0].exchange.peer(&net.nodes[0].model, NodeId(1), net.now()).unwrap();
    assert!(status.lag.is_some() && status.in_flight_bytes >= 4000);
    net.heal();
    assert!(net.counters().sessions_ended > 0);
}

#[test]
fn what_a_writer_does_not_bring_over_others_do() {
    let mut net = quiet(3, &Net::full(3), Limits::default());
    net.write(0, &[(1, true)]);
    net.release(0);
    // The connection from 0 to 2 stands, and brings nothing.
    for _ in 0..6 {
        while net.deliver(0, 1) || net.deliver(1, 0) || net.deliver(1, 2) || net.deliver(2, 1) {}
        net.tick_all();
    }
    assert_eq!(net.nodes[2].model.vector, net.nodes[0].model.vector);
    // The writer is gone for good: the others know.
    net.write(0, &[(2, true)]);
    net.release(0);
    while net.deliver(0, 1) {}
    (1..3).for_each(|other| net.cut(0, other));
    for _ in 0..2 {
        net.deliver_all();
        net.tick_all();
    }
    net.deliver_all();
    assert!(net.nodes[2].model.shown().contains_key(&2));
    assert_eq!(net.counters().sessions_begun, 0);
}

#[test]
fn who_lost_what_others_know_is_fenced() {
    for (lost, writes_on, receives) in [(1, false, false), (3, false, false), (2, true, false), (1, false, true)] {
        let mut net = quiet(2, &[(0, 1)], Limits::default());
        net.judges = false;
        for key in 0..4 {
            net.write(usize::from(receives), &[(key, true)]);
            net.release(usize::from(receives));
        }
        net.deliver_all();
        assert!(net.agree());
        net.restart_as(0, lost, 0);
        if writes_on {
            net.write(0, &[(9, true)]);
            net.release(0);
        }
        net.link_all();
        net.deliver_all();
        net.tick_all();
        net.deliver_all();
        assert!(net.nodes[0].exchange.is_fenced(), "lost {lost}, went on {writes_on}, lost what it had got {receives}");
        assert!(matches!(net.nodes[0].events[..], [Event::Fenced { .. }]) && !net.nodes[1].exchange.is_fenced());
        // As another actor it gets all back.
        let past = if writes_on { 1 } else { 0 };
        net.restart(0, past.max(1));
        net.heal();
        assert_eq!(net.nodes[0].model.shown().len(), 4);
    }
}

#[test]
fn strangers_are_refused_until_they_are_replicas() {
    let mut net = quiet(3, &Net::full(3), tiny());
    let two = BTreeSet::from([actor(0), actor(1)]);
    for at in 0..2 {
        let node = &mut net.nodes[at];
        node.exchange.set_replicas(&node.model, two.clone());
        net.drain(at);
    }
    net.deliver_all();
    net.cut(0, 2);
    net.link(0, 2);
    offline(&mut net, 2, 0..6);
    for _ in 0..3 {
        net.deliver_all();
        net.tick_all();
    }
    net.deliver_all();
    assert!(
        net.nodes[0].events.contains(&Event::Stranger(NodeId(2), actor(2))) && net.nodes[2].events.contains(&Event::Refused(NodeId(0)))
    );
    assert_eq!(net.nodes[0].model.vector, VersionVector::default());
    net.cut(1, 2);
    // What it sent meanwhile is not on its way for ever.
    net.tell_replicas();
    net.deliver_all();
    net.tick_all();
    net.deliver_all();
    let status = net.nodes[2].exchange.peer(&net.nodes[2].model, NodeId(0), net.now()).unwrap();
    assert_eq!((status.in_flight_bytes, status.actor), (0, Some(actor(0))));
    net.nodes.iter_mut().for_each(|node| node.events.clear());
    net.heal();
    assert!(net.nodes[0].model.shown().contains_key(&1));
}

#[test]
fn silent_divergence_is_found_and_mended() {
    for forgetful in 0..2 {
        let mut net = quiet(2, &[(0, 1)], Limits::default());
        net.write(0, &[(1, true), (2, true), (3, true)]);
        net.release(0);
        net.heal();
        net.nodes[forgetful].model.keys.remove(&(hash(2), 2));
        net.judges = false;
        for _ in 0..8 {
            net.tick_all();
            net.deliver_all();
        }
        assert!(net.nodes.iter().any(|node| node.events.iter().any(|event| matches!(event, Event::Diverged(_)))));
        assert!(net.agree() && net.counters().divergences > 0);
    }
}

#[test]
fn acknowledgements_are_counted_and_what_all_have_seen_is_stable() {
    let mut net = quiet(3, &Net::chain(3), Limits::default());
    net.write(0, &[(1, true)]);
    let version = net.writes[0].version;
    net.release(0);
    assert_eq!(net.nodes[0].exchange.acknowledged(version), 0);
    net.deliver(0, 1);
    net.deliver(1, 0);
    assert_eq!(net.nodes[0].exchange.acknowledged(version), 1);
    assert_eq!(net.nodes[0].model.collected, VersionVector::default());
    for _ in 0..4 {
        net.deliver_all();
        net.tick_all();
    }
    assert_eq!(net.nodes[0].exchange.acknowledged(version), 2);
    let stable = VersionVector::from_iter([version]);
    assert!(net.nodes.iter().all(|node| node.model.collected == stable && node.exchange.stable(&node.model) == stable));
}

#[test]
fn deltas_that_contradict_what_was_seen_are_refused() {
    let mut net = quiet(3, &Net::full(3), Limits::default());
    for key in 0..3 {
        net.write(0, &[(key, true)]);
        net.release(0);
    }
    net.deliver_all();
    let versions = net.writes.iter().map(|write| write.version).collect::<Vec<_>>();
    let (before, time) = (net.nodes[1].model.vector.clone(), versions[2].time().next().unwrap());
    let forked = Delta {
        writer: actor(0),
        last: time,
        dependencies: VersionVector::from_iter([versions[1]]),
        body: Vec::<Write>::new().to_wire().into(),
    };
    let unreadable = Delta { dependencies: VersionVector::from_iter([versions[2]]), body: Bytes::from_static(b"\xff"), ..forked.clone() };
    for (count, delta) in [(1, forked), (2, unreadable)] {
        let (now, node) = (net.now(), &mut net.nodes[1]);
        node.exchange.receive(&mut node.model, NodeId(2), [vec![3], delta.to_wire()].concat().into(), now).unwrap();
        assert_eq!((node.exchange.counters().deltas_refused, &node.model.vector), (count, &before));
    }
}

#[test]
fn an_old_greeting_is_not_taken_for_lost_memory() {
    let mut net = quiet(3, &[(0, 1), (1, 2), (0, 2)], Limits::default());
    net.cut(0, 2);
    // The greeting of 2 is under way to 0, while 2 sees more, which 0 hears from 1.
    net.link(0, 2);
    net.write(1, &[(1, true)]);
    net.release(1);
    for _ in 0..4 {
        while net.deliver(1, 2) || net.deliver(2, 1) || net.deliver(1, 0) || net.deliver(0, 1) {}
        net.tick(1);
        net.tick(2);
    }
    net.write(2, &[(2, true)]);
    net.release(2);
    net.cut(1, 2);
    for _ in 0..4 {
        net.deliver_all();
        net.tick_all();
    }
    assert!(net.nodes[0].model.shown().contains_key(&2));
    net.heal();
}

#[test]
fn a_session_that_is_cut_again_and_again_comes_to_its_end() {
    let limits = Limits { kept_bytes: 500, leaf_keys: 4, frame_bytes: 400, ..tiny() };
    let mut net = quiet(2, &[(0, 1)], limits);
    net.cut(0, 1);
    net.judges = false;
    offline(&mut net, 0, 0..150);
    offline(&mut net, 1, 100..250);
    let lives = (0..200).find(|_| {
        net.link(0, 1);
        for _ in 0..10 {
            net.deliver(0, 1);
            net.deliver(1, 0);
            net.tick_all();
        }
        net.cut(0, 1);
        net.agree()
    });
    assert!((3..100).contains(&lives.unwrap()), "{lives:?}");
}

#[test]
fn sessions_end_though_everybody_writes_all_the_time() {
    let limits = Limits { kept_bytes: 900, leaf_keys: 4, frame_bytes: 1500, ..tiny() };
    let mut net = quiet(2, &[(0, 1)], limits);
    net.cut(0, 1);
    net.judges = false;
    offline(&mut net, 0, 0..60);
    offline(&mut net, 1, 40..100);
    net.judges = true;
    let before = [net.nodes[0].model.vector.clone(), net.nodes[1].model.vector.clone()];
    net.link(0, 1);
    for round in 0..300 {
        for at in 0..2 {
            net.write(at, &[(round % 3, round % 7 > 0)]);
            net.release(at);
            net.deliver(at, 1 - at);
            if round % 4 == 0 {
                net.tick(at);
            }
        }
    }
    assert!(net.counters().sessions_ended > 0);
    assert!((0..2).all(|at| net.nodes[at].model.vector.includes(&before[1 - at])));
    net.heal();
}

/// A session of 0 and 1 is under way, and so many of its messages were handed over; 0 has seen nothing that 2 has sent, 1 has.
fn amid_a_session(messages: usize) -> Net {
    let limits = Limits { kept_bytes: 900, leaf_keys: 2, window_bytes: 5000, ..tiny() };
    let mut net = quiet(3, &Net::full(3), limits);
    (0..2).for_each(|other| net.cut(other, (other + 1) % 3));
    net.cut(0, 2);
    net.judges = false;
    net.link(1, 2);
    net.link(0, 2);
    net.deliver_all();
    net.write(2, &[(0, true)]);
    net.release(2);
    net.write(2, &[(0, false)]);
    net.release(2);
    while net.deliver(2, 1) || net.deliver(1, 2) {}
    net.cut(1, 2);
    offline(&mut net, 1, 100..130);
    net.link(0, 1);
    while net.deliver(0, 1) || net.deliver(1, 0) {}
    net.tick(0);
    net.tick(1);
    net.judges = true;
    for _ in 0..messages {
        if !net.deliver(1, 0) {
            net.deliver(0, 1);
        }
    }
    net
}

#[test]
fn a_delta_from_a_third_may_come_at_any_moment_of_a_session() {
    for messages in 0..40 {
        let mut net = amid_a_session(messages);
        // The first brings what is added and then removed: 1 has seen both.
        while !net.nodes[0].model.shown().contains_key(&0) && net.deliver(2, 0) {}
        while net.deliver(1, 0) || net.deliver(0, 1) {}
        net.heal();
    }
}

#[test]
fn what_found_no_room_to_wait_is_asked_for_again() {
    let mut net = quiet(3, &Net::full(3), Limits { waiting_bytes: 0, ..Limits::default() });
    net.write(0, &[(1, true)]);
    net.release(0);
    net.deliver(0, 1);
    net.write(1, &[(2, true)]);
    net.release(1);
    net.cut(0, 1);
    while net.deliver(1, 2) {}
    assert_eq!(net.nodes[2].exchange.counters().deltas_dropped, 1);
    for _ in 0..3 {
        net.deliver_all();
        net.tick_all();
    }
    assert!(net.nodes[2].model.shown().contains_key(&2) && net.nodes[0].model.shown().contains_key(&2));
}

/// A write that is on its way is not known by who is told, by another, that its writer has seen a removal.
#[test]
fn nothing_is_collected_on_a_word_that_overtook_a_write() {
    let mut net = quiet(3, &Net::full(3), Limits::default());
    net.write(0, &[(1, true)]);
    net.release(0);
    net.deliver(0, 1);
    net.write(1, &[(1, false)]);
    net.release(1);
    let removal = net.writes[1].version;
    net.write(0, &[(1, true)]);
    net.release(0);
    // The removal comes to the writer; nothing of the writer comes to the one who removed but by the third.
    for _ in 0..3 {
        for (from, to) in [(1, 0), (0, 2), (2, 1), (1, 2), (2, 0)] {
            while net.deliver(from, to) {}
        }
        net.tick_all();
    }
    let collected = |net: &Net, at: usize| net.nodes[at].model.collected.covers(removal);
    assert!(net.nodes[0].model.vector.covers(removal) && !net.nodes[1].model.vector.covers(net.writes[2].version));
    assert!(!collected(&net, 1));
    net.heal();
    for _ in 0..4 {
        net.deliver_all();
        net.tick_all();
    }
    assert!((0..3).all(|at| collected(&net, at)));
}

/// Of what a dead replica wrote, a session that was cut left a part; the rest is nowhere any more.
#[test]
fn what_a_dead_replica_left_in_part_holds_nobody_up() {
    let limits = Limits { kept_bytes: 0, leaf_keys: 2, ..tiny() };
    let found = (1..60).any(|messages| {
        let mut net = quiet(3, &Net::full(3), limits.clone());
        net.cut(0, 1);
        net.cut(0, 2);
        offline(&mut net, 2, 0..40);
        for _ in 0..messages {
            net.tick(1);
            net.tick(2);
            net.deliver(1, 2);
            net.deliver(2, 1);
        }
        let is_ahead = net.nodes[1].model.contexts.len() > 1;
        let lost = net.nodes[2].journal.len();
        net.restart(2, lost);
        net.link_all();
        for round in 0.. {
            net.deliver_all();
            if net.agree() {
                break;
            }
            assert!(round < 200, "they do not agree: {:?}", net.nodes.iter().map(|node| &node.model.vector).collect::<Vec<_>>());
            net.tick_all();
        }
        is_ahead
    });
    assert!(found, "no session was cut in the middle");
}

/// One who has not heard yet of a new replica does not take a part of what that one wrote, come by another, for what is left of a dead one.
#[test]
fn what_a_new_replica_wrote_is_not_given_up_by_who_does_not_know_it_yet() {
    let limits = Limits { kept_bytes: 0, leaf_keys: 2, ..tiny() };
    let found = (1..40).any(|messages| {
        let mut net = quiet(3, &Net::full(3), limits.clone());
        net.cut(0, 2);
        net.cut(1, 2);
        net.restart(2, 1000);
        // The first of them, who would let go, hears of it late.
        let old = (0..3).map(actor).collect::<BTreeSet<_>>();
        let node = &mut net.nodes[0];
        node.exchange.set_replicas(&node.model, old);
        net.drain(0);
        net.link(0, 1);
        for _ in 0..4 {
            net.deliver_all();
            net.tick(0);
            net.tick(1);
        }
        net.link(1, 2);
        net.deliver_all();
        offline(&mut net, 2, 0..40);
        for _ in 0..messages {
            net.tick_all();
            for (from, to) in [(1, 2), (2, 1), (0, 1), (1, 0)] {
                net.deliver(from, to);
            }
        }
        let holds_a_part = net.nodes[0].model.contexts.len() > 1 && net.nodes[0].model.everything().of(actor(3)).is_some();
        for _ in 0..8 {
            while net.deliver(0, 1) || net.deliver(1, 0) {}
            net.tick(0);
            net.tick(1);
        }
        assert!(!net.let_go);
        let writes = net.writes.iter().filter(|write| write.version.actor() == actor(3)).cloned().collect::<Vec<_>>();
        for write in writes.iter().filter(|write| net.nodes[0].model.vector.covers(write.version)) {
            assert!(net.nodes[0].model.shown().contains_key(&write.key), "{write:?} was seen and is not there");
        }
        net.tell_replicas();
        net.heal();
        holds_a_part
    });
    assert!(found, "nobody held a part of it");
}

#[test]
fn what_all_replicas_have_seen_is_kept_no_longer() {
    let kept = |net: &Net| net.nodes.iter().map(|node| node.exchange.kept().0).collect::<Vec<_>>();
    let mut alone = quiet(1, &[], Limits::default());
    alone.write(0, &[(1, true)]);
    alone.release(0);
    alone.tick(0);
    assert_eq!(kept(&alone), [0]);

    let mut net = quiet(3, &Net::full(3), Limits::default());
    (0..2).for_each(|at| net.cut(at, 2));
    for key in 0..5 {
        net.write(0, &[(key, true)]);
        net.release(0);
    }
    for _ in 0..10 {
        net.deliver_all();
        net.tick_all();
    }
    assert_eq!(kept(&net), [5, 5, 0], "one lacks it, and may have it from both");
    let before = net.counters().sessions_begun;
    net.heal();
    for _ in 0..4 {
        net.deliver_all();
        net.tick_all();
    }
    assert_eq!((kept(&net), net.counters().sessions_begun), (vec![0, 0, 0], before), "it got what was kept");
}
