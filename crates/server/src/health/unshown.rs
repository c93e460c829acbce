//! Servers of strong state that gossip does not show: one that died before anybody had asked it. They are judged all the same, by what others hold against them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use steadfast_membership::{Incarnation, Role, State};
use steadfast_state::command::Member;
use steadfast_types::{Instant, NodeId};

use crate::gossip::{Seen, View};
use crate::options::peer_address;

/// By then gossip shows whoever lives.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

/// Since when gossip does not show them, as seen here; one for each server at most.
#[derive(Debug, Default)]
pub(super) struct Unshown(BTreeMap<NodeId, Instant>);

impl Unshown {
    /// Those that have started once, have a place in the cluster still, and have not been shown for long enough: as if gossip had found them dead, by nobody.
    pub(super) fn servers(&mut self, now: Instant, view: &View, servers: &[Member]) -> Vec<Seen> {
        let is_shown = |server: &Member| view.members.iter().any(|seen| seen.id == server.id || seen.name == server.name);
        // Where it is counts for nobody here; it may be a name.
        let address = |url: &String| peer_address(url).parse().unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
        let unshown: Vec<(&Member, SocketAddr)> = servers
            .iter()
            .filter(|server| !server.name.is_empty() && !is_shown(server))
            .filter_map(|server| Some((server, address(server.peer_urls.first()?))))
            .collect();
        self.0.retain(|id, _| unshown.iter().any(|(server, _)| server.id == *id));
        let seen = |(server, address): (&Member, SocketAddr)| {
            let since = *self.0.entry(server.id).or_insert(now);
            (now.since(since) >= SHOWN_WITHIN).then(|| Seen {
                id: server.id,
                name: server.name.clone(),
                role: Role::Server,
                address,
                state: State::Failed,
                since,
                witnesses: Vec::new(),
                witness_ids: Vec::new(),
                incarnation: Incarnation::default(),
                born: 0,
            })
        };
        unshown.into_iter().filter_map(seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_shown_for_long_is_as_if_found_dead() {
        let server = |id: u64, name: &str| Member {
            id: NodeId(id),
            name: name.to_owned(),
            peer_urls: vec![format!("http://127.0.0.1:{id}")],
            client_urls: vec![],
            learner: false,
            claimed_by: 1,
        };
        let at = |seconds: u64| Instant(seconds * 1_000_000);
        let named = Member { peer_urls: vec!["http://n2.example:2380".to_owned()], ..server(2, "n2") };
        let servers = [server(1, "n1"), named, server(3, ""), Member { peer_urls: vec![], ..server(4, "n4") }];
        let (mut unshown, nobody) = (Unshown::default(), View::default());
        assert_eq!(unshown.servers(at(5), &nobody, &servers), []);
        let seen = unshown.servers(at(15), &nobody, &servers);
        assert_eq!(
            seen.iter().map(|seen| (&*seen.name, seen.state, seen.since)).collect::<Vec<_>>(),
            [("n1", State::Failed, at(5)), ("n2", State::Failed, at(5))]
        );
        // It is shown, and then no more: the time begins anew.
        let shown = View { members: vec![Seen { state: State::Alive, ..seen[0].clone() }], is_admitted: true };
        assert_eq!(unshown.servers(at(16), &shown, &servers).len(), 1);
        assert_eq!(unshown.servers(at(17), &nobody, &servers).len(), 1);
        assert_eq!(unshown.servers(at(27), &nobody, &servers).len(), 2);
    }
}
