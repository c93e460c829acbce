//! What nodes that are not members yet may ask of one that is; how a cluster began; and the list of members that a person writes.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use steadfast_server::formation::{ClaimGrant, ClaimRefusal, Claims, FrontDesk};
use steadfast_server::genesis::{Founder, Genesis};
use steadfast_server::identity::Membership;
use steadfast_server::options::{Start, peer_address, peer_url};
use steadfast_server::peers::{Reception, Topic};
use steadfast_state::command::Member;
use steadfast_types::wire::Wire;
use steadfast_types::{Level, NodeId};

use super::wire::decode;

/// Grants every claim.
struct Generous;

impl Claims for Generous {
    async fn claim(&self, peer_url: String, nonce: u64) -> Result<ClaimGrant, ClaimRefusal> {
        let member = Member { id: NodeId(7), peer_urls: vec![peer_url], claimed_by: nonce, ..Member::default() };
        Ok(ClaimGrant { member: member.clone(), members: vec![member] })
    }
}

/// The first byte says what the rest is: a question, a beginning, or text of a person.
pub fn check(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    match kind {
        0 => check_question(Topic::Founding, rest),
        1 => check_question(Topic::Claim, rest),
        2 => check_genesis(rest),
        _ => check_list(&String::from_utf8_lossy(rest)),
    }
}

/// Founders are told the genesis whatever they say. A claim is granted if it is just an address and a number, else refused.
fn check_question(topic: Topic, question: &[u8]) {
    const GRANTED: u8 = 1;
    const REFUSED: u8 = 2;
    let genesis = Genesis::new("token", [Founder { name: "n".into(), address: "a:1".into(), node: NodeId(1) }], Level::NEWEST);
    let desk = FrontDesk::new(Membership::of_founder(genesis.clone()), Generous);
    let Poll::Ready(answer) = pin!(desk.answer(topic, Bytes::copy_from_slice(question))).poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("the front desk waits for nothing");
    };
    let is_claim = decode::<(String, u64)>(Bytes::copy_from_slice(question)).is_some();
    match topic {
        Topic::Founding => assert!(answer.ends_with(&genesis.to_wire())),
        Topic::Claim => assert_eq!(answer[0], if is_claim { GRANTED } else { REFUSED }),
        Topic::Gossip | Topic::Attend | Topic::Health | Topic::Diagnosis | Topic::Admit | Topic::Restart => {
            assert!(answer.is_empty(), "another desk answers them")
        }
    }
}

/// Whatever a genesis holds, its order does not matter to the cluster's id, and the first state follows from it.
fn check_genesis(bytes: &[u8]) {
    let Some(genesis) = decode::<Genesis>(Bytes::copy_from_slice(bytes)) else { return };
    let sorted = Genesis::new(genesis.token(), genesis.founders().iter().cloned(), genesis.level()).with_seed(genesis.seed());
    let reversed = Genesis::new(genesis.token(), genesis.founders().iter().rev().cloned(), genesis.level()).with_seed(genesis.seed());
    assert_eq!((sorted.cluster(), &sorted), (reversed.cluster(), &reversed));
    assert_ne!(genesis.cluster().0, 0);
    assert_eq!(genesis.members().len(), genesis.founders().len());
    assert!(genesis.founders().iter().all(|founder| genesis.configuration().is_voter(founder.node)));
    assert_eq!(Membership::of_founder(genesis.clone()).cluster, genesis.cluster());
}

/// A list of members is read, or refused with its remedy; an address is found again in its URL.
fn check_list(text: &str) {
    match Start::parse_initial_cluster("token", text) {
        Ok(Start::InitialCluster { members, .. }) => {
            assert!(members.len() <= text.split(',').count());
            assert!(members.iter().all(|(_, address)| peer_address(&peer_url(address)) == peer_address(address)));
        }
        Ok(other) => panic!("a list of members became {other:?}"),
        Err(error) => assert!(error.to_string().contains("initial-cluster"), "{error}"),
    }
    assert!(matches!(Start::parse_join(text), Start::Join { .. }));
}
