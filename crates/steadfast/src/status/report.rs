//! What the answers of a cluster's nodes say together: a row for each node, and whether the cluster can serve. Pure.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use steadfast_etcd_api::proto::steadfast::v1::{Member, ReplicaPeer, ReplicaStatus, Role, StatusResponse};

use super::{Answer, role_word};
use crate::show;

/// A cluster's status.
#[derive(Debug)]
pub(super) struct Report {
    cluster: u64,
    /// The leader of the newest term that an answering node claims to lead.
    leader: Option<u64>,
    nodes: Vec<Node>,
    voters: usize,
    voters_up: usize,
}

/// One member, or an endpoint that no member could be found for.
#[derive(Debug)]
struct Node {
    member: Option<Member>,
    address: String,
    status: Result<StatusResponse, String>,
    /// How many log entries it is behind the leader. Only its own word counts: of a node that has not answered it, a leader knows no more
    /// than that it may lack everything.
    lag: Option<u64>,
}

impl Report {
    /// Puts the answers together; at least one must be good. Fails if they are of more than one cluster.
    pub(super) fn new(answers: &[Answer]) -> Result<Self> {
        let good: Vec<&StatusResponse> = answers.iter().filter_map(|answer| answer.status.as_ref().ok()).collect();
        one_cluster(answers)?;
        let leader = good.iter().filter(|status| status.role() == Role::Leader).max_by_key(|status| status.term);
        let newest = leader.or(good.iter().max_by_key(|status| status.applied_index)).expect("at least one node answers");
        let mut nodes: Vec<Node> = newest.members.iter().map(|member| Node::of_member(member, answers, leader.copied())).collect();
        nodes.sort_by_key(Node::sort_key);
        let strangers = answers.iter().filter(|answer| answer.status.is_err() && !nodes.iter().any(|node| node.is_at(answer)));
        let strangers: Vec<Node> = strangers.map(Node::stranger).collect();
        nodes.extend(strangers);
        let voting = |node: &&Node| node.member.as_ref().is_some_and(|member| !member.learner);
        Ok(Report {
            cluster: newest.cluster_id,
            leader: leader.map(|leader| leader.node_id),
            voters: nodes.iter().filter(voting).count(),
            voters_up: nodes.iter().filter(voting).filter(|node| node.status.is_ok()).count(),
            nodes,
        })
    }

    /// Why the cluster can't serve; `None` if it can.
    pub(super) fn trouble(&self) -> Option<String> {
        if self.voters_up <= self.voters / 2 {
            return Some(format!("no quorum: {} of {} voters answer, {} are needed", self.voters_up, self.voters, self.voters / 2 + 1));
        }
        match self.leader {
            Some(_) => None,
            None => Some("the cluster has no leader now; an election takes about a second".into()),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let header = ["NODE", "ID", "ROLE", "TERM", "COMMIT", "APPLIED", "REVISION", "LAG", "DISK", "ADDRESS"];
        let numbers = ["TERM", "COMMIT", "APPLIED", "REVISION", "LAG", "DISK"];
        let mut text = show::table(&header, &numbers, self.nodes.iter().map(Node::row));
        let replicas = self.nodes.iter().filter_map(Node::replica_row).collect::<Vec<_>>();
        if !replicas.is_empty() {
            let header =
                ["AVAILABLE STATE", "KEYS", "MEMORY", "CLIENTS", "PEERS", "PEERS' LAG", "KEPT FOR PEERS", "REPAIRS", "REDIS ADDRESS"];
            let numbers = ["KEYS", "MEMORY", "CLIENTS", "PEERS", "PEERS' LAG", "KEPT FOR PEERS", "REPAIRS"];
            text += &format!("\n\n{}", show::table(&header, &numbers, replicas));
        }
        let notes: Vec<String> = self.nodes.iter().flat_map(Node::notes).collect();
        if !notes.is_empty() {
            text += &format!("\n\n{}", notes.join("\n"));
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "cluster_id": format!("{:x}", self.cluster),
            "leader_id": self.leader.map(|id| format!("{id:x}")),
            "healthy": self.trouble().is_none(),
            "voters": self.voters,
            "voters_reachable": self.voters_up,
            "nodes": self.nodes.iter().map(Node::json).collect::<Vec<_>>(),
        })
    }
}

fn one_cluster(answers: &[Answer]) -> Result<()> {
    let of = |answer: &Answer| answer.status.as_ref().ok().map(|status| (answer.endpoint.clone(), status.cluster_id));
    let mut known = answers.iter().filter_map(of);
    if let Some((first, cluster)) = known.next()
        && let Some((other, another)) = known.find(|(_, id)| *id != cluster)
    {
        bail!("{first} and {other} are of different clusters ({cluster:x} and {another:x}): give the endpoints of one");
    }
    Ok(())
}

impl Node {
    fn of_member(member: &Member, answers: &[Answer], leader: Option<&StatusResponse>) -> Self {
        let own = answers.iter().find(|answer| answer.status.as_ref().is_ok_and(|status| status.node_id == member.id));
        let address = member.client_urls.first().map_or("", |url| without_scheme(url));
        let tried = answers.iter().find(|answer| !address.is_empty() && answer.endpoint.to_string() == address);
        let status = match (own, tried) {
            (Some(own), _) => own.status.clone(),
            (None, Some(Answer { status: Err(reason), .. })) => Err(reason.clone()),
            (None, Some(Answer { status: Ok(other), .. })) => Err(format!("member {:x} answers at its address", other.node_id)),
            (None, None) if member.client_urls.is_empty() => Err("has not started yet".into()),
            (None, None) => Err("was not asked".into()),
        };
        let address = own.map_or(address.to_string(), |own| own.endpoint.to_string());
        let lag = leader.zip(status.as_ref().ok()).map(|(leader, own)| leader.commit_index.saturating_sub(own.applied_index));
        Node { member: Some(member.clone()), address, status, lag }
    }

    fn stranger(answer: &Answer) -> Self {
        Node { member: None, address: answer.endpoint.to_string(), status: answer.status.clone(), lag: None }
    }

    fn is_at(&self, answer: &Answer) -> bool {
        self.address == answer.endpoint.to_string()
    }

    fn sort_key(&self) -> (String, u64) {
        self.member.as_ref().map_or((String::new(), 0), |member| (member.name.clone(), member.id))
    }

    fn name(&self) -> &str {
        self.member.as_ref().map(|member| member.name.as_str()).filter(|name| !name.is_empty()).unwrap_or("?")
    }

    /// What a note calls it: its name, else where it was asked, else its id and where it is expected.
    fn designation(&self) -> String {
        match &self.member {
            Some(member) if !member.name.is_empty() => member.name.clone(),
            Some(member) if self.address.is_empty() => {
                let peers: Vec<&str> = member.peer_urls.iter().map(|url| without_scheme(url)).collect();
                format!("member {:x} (peer {})", member.id, peers.join(","))
            }
            Some(_) | None => self.address.clone(),
        }
    }

    fn role(&self) -> &'static str {
        match (&self.status, &self.member) {
            (Ok(status), _) => role_word(status),
            (Err(_), Some(member)) if member.name.is_empty() => "not started",
            (Err(_), _) => "down",
        }
    }

    fn row(&self) -> Vec<String> {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        let told = |field: fn(&StatusResponse) -> String| or_dash(self.status.as_ref().ok().map(field));
        vec![
            self.name().to_string(),
            or_dash(self.member.as_ref().map(|member| format!("{:x}", member.id))),
            self.role().to_string(),
            told(|status| status.term.to_string()),
            told(|status| status.commit_index.to_string()),
            told(|status| status.applied_index.to_string()),
            told(|status| status.revision.to_string()),
            or_dash(self.lag.map(|lag| lag.to_string())),
            told(|status| show::size(status.log_bytes + status.table_bytes)),
            if self.address.is_empty() { "-".into() } else { self.address.clone() },
        ]
    }

    /// How its replica of available state is, if it has one.
    fn replica_row(&self) -> Option<Vec<String>> {
        let replica = self.status.as_ref().ok()?.replica.as_ref()?;
        let lag = replica.peers.iter().map(|peer| peer.lag_ms).max().flatten();
        Some(vec![
            self.name().to_string(),
            replica.keys.to_string(),
            show::size(replica.bytes),
            replica.connections.to_string(),
            replica.peers.iter().filter(|peer| peer.actor.is_some()).count().to_string(),
            lag.map_or_else(|| "-".into(), |ms| format!("{ms} ms")),
            show::size(replica.kept_bytes),
            replica.reconciliations.to_string(),
            replica.address.clone(),
        ])
    }

    fn notes(&self) -> Vec<String> {
        let who = self.designation();
        match &self.status {
            Ok(status) => status.errors.iter().cloned().chain(diverged(status)).map(|error| format!("{who}: {error}")).collect(),
            Err(reason) => vec![format!("{who}: {reason}")],
        }
    }

    fn json(&self) -> Value {
        let member = self.member.as_ref();
        let mut json = json!({
            "name": member.map(|member| member.name.as_str()),
            "id": member.map(|member| format!("{:x}", member.id)),
            "role": self.role(),
            "learner": member.map(|member| member.learner),
            "reachable": self.status.is_ok(),
            "address": self.address,
            "peer_urls": member.map(|member| member.peer_urls.as_slice()),
            "client_urls": member.map(|member| member.client_urls.as_slice()),
            "lag": self.lag,
        });
        let more = match &self.status {
            Ok(status) => told_json(status),
            Err(reason) => json!({ "reason": reason }),
        };
        if let (Value::Object(json), Value::Object(more)) = (&mut json, more) {
            json.extend(more);
        }
        json
    }
}

fn without_scheme(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}

fn diverged(status: &StatusResponse) -> Option<String> {
    let times = status.replica.as_ref()?.divergences;
    let found = || {
        format!(
            "{times} times another replica had seen the same and held something else; both were made equal. Look for failing memory, and report it"
        )
    };
    (times > 0).then(found)
}

fn replica_json(replica: &ReplicaStatus) -> Value {
    let peer = |peer: &ReplicaPeer| {
        json!({
            "node": format!("{:x}", peer.node),
            "actor": peer.actor,
            "lag_ms": peer.lag_ms,
            "in_flight_bytes": peer.in_flight_bytes,
            "reconciling": peer.reconciling,
        })
    };
    json!({
        "address": replica.address,
        "actor": replica.actor,
        "keys": replica.keys,
        "bytes": replica.bytes,
        "connections": replica.connections,
        "commands": replica.commands,
        "journal_bytes": replica.journal_bytes,
        "kept_bytes": replica.kept_bytes,
        "reconciliations": replica.reconciliations,
        "ranges_joined": replica.ranges_joined,
        "divergences": replica.divergences,
        "peers": replica.peers.iter().map(peer).collect::<Vec<_>>(),
    })
}

fn told_json(status: &StatusResponse) -> Value {
    json!({
        "version": status.version,
        "leader_id": (status.leader_id != 0).then(|| format!("{:x}", status.leader_id)),
        "term": status.term,
        "commit": status.commit_index,
        "applied": status.applied_index,
        "revision": status.revision,
        "compact_revision": status.compact_revision,
        "log_bytes": status.log_bytes,
        "table_bytes": status.table_bytes,
        "resident_bytes": status.resident_bytes,
        "errors": status.errors,
        "available": status.replica.as_ref().map(replica_json),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_etcd_api::proto::steadfast::v1::Follower;

    fn members() -> Vec<Member> {
        let member = |k: u64| Member {
            id: 0x1111_2222_3333_4440 + k,
            name: format!("n{k}"),
            peer_urls: vec![format!("http://127.0.0.1:{}", 2370 + 10 * k)],
            client_urls: vec![format!("http://127.0.0.1:{}", 2369 + 10 * k)],
            learner: false,
        };
        vec![member(1), member(2), member(3)]
    }

    fn good(k: u64, role: Role) -> Answer {
        let members = members();
        let lag = |id: u64, lag_entries: u64| Follower { id, matched_index: 5_000_000 - lag_entries, lag_entries, active: true };
        let followers = if role == Role::Leader { vec![lag(members[1].id, 3), lag(members[2].id, 70)] } else { vec![] };
        let status = StatusResponse {
            cluster_id: 0xabc,
            node_id: members[k as usize - 1].id,
            role: role.into(),
            term: 1234,
            commit_index: 5_000_000,
            applied_index: 5_000_000,
            revision: 12_345_678,
            log_bytes: 5 << 20,
            table_bytes: 300 << 20,
            members,
            followers,
            ..StatusResponse::default()
        };
        Answer { endpoint: format!("127.0.0.1:{}", 2369 + 10 * k).parse().expect("an address"), status: Ok(status) }
    }

    fn down(port: u16) -> Answer {
        Answer { endpoint: format!("127.0.0.1:{port}").parse().expect("an address"), status: Err("connection refused".into()) }
    }

    #[test]
    fn a_node_that_is_down_has_its_row_and_its_reason() {
        let report = Report::new(&[good(1, Role::Leader), good(2, Role::Follower), down(2399)]).expect("one cluster");
        assert_eq!(report.trouble(), None);
        let text = report.text();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let row = text.lines().find(|line| line.starts_with("n3")).expect("a row");
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["n3", "1111222233334443", "down", "-", "-", "-", "-", "-", "-", "127.0.0.1:2399"]
        );
        assert!(text.ends_with("\n\nn3: connection refused"), "{text}");
    }

    fn with_replica(mut answer: Answer, replica: ReplicaStatus) -> Answer {
        answer.status.as_mut().expect("good").replica = Some(replica);
        answer
    }

    #[test]
    fn replicas_of_available_state_have_a_table_of_their_own() {
        let peer = |lag_ms| ReplicaPeer { node: 7, actor: Some(1), lag_ms, ..ReplicaPeer::default() };
        let replica = ReplicaStatus {
            address: "127.0.0.1:6379".into(),
            keys: 4_000_000,
            bytes: 300 << 20,
            kept_bytes: 64 << 20,
            peers: vec![peer(None), peer(Some(12)), ReplicaPeer { actor: None, ..peer(None) }],
            ..ReplicaStatus::default()
        };
        let leader = with_replica(good(1, Role::Leader), replica.clone());
        let report = Report::new(&[leader.clone(), good(2, Role::Follower), down(2399)]).expect("one cluster");
        let text = report.text();
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        let row = text.lines().find(|line| line.starts_with("n1") && line.contains("6379")).expect("a row");
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["n1", "4000000", "300", "MiB", "0", "2", "12", "ms", "64.0", "MiB", "0", "127.0.0.1:6379"]
        );
        assert!(!text.contains("held something else"));
        let json = report.json();
        assert_eq!((&json["nodes"][0]["available"]["peers"][1]["lag_ms"], &json["nodes"][1]["available"]), (&json!(12), &Value::Null));
        let diverged = with_replica(leader, ReplicaStatus { divergences: 2, ..replica });
        let text = Report::new(&[diverged]).expect("one cluster").text();
        assert!(text.contains("n1: 2 times another replica"), "{text}");
    }

    #[test]
    fn a_member_that_has_not_started_is_called_by_its_id() {
        let mut leader = good(1, Role::Leader);
        let new = Member { id: 0xabcd, peer_urls: vec!["http://127.0.0.1:2410".into()], learner: true, ..Member::default() };
        leader.status.as_mut().expect("good").members.push(new);
        let text = Report::new(&[leader, good(2, Role::Follower), good(3, Role::Follower)]).expect("one cluster").text();
        assert!(text.ends_with("\n\nmember abcd (peer 127.0.0.1:2410): has not started yet"), "{text}");
    }

    #[test]
    fn the_lag_is_the_nodes_own_word() {
        let mut behind = good(2, Role::Follower);
        behind.status.as_mut().expect("good").applied_index -= 5;
        let json = Report::new(&[good(1, Role::Leader), behind, down(2399)]).expect("one cluster").json();
        assert_eq!((&json["nodes"][1]["lag"], &json["nodes"][2]["lag"]), (&json!(5), &Value::Null));
    }

    #[test]
    fn a_minority_has_no_quorum_even_with_a_leader_in_it() {
        let report = Report::new(&[good(1, Role::Leader), down(2389), down(2399)]).expect("one cluster");
        assert_eq!(report.trouble().as_deref(), Some("no quorum: 1 of 3 voters answer, 2 are needed"));
    }

    #[test]
    fn a_majority_without_a_leader_is_trouble() {
        let report = Report::new(&[good(2, Role::Candidate), good(3, Role::Follower), down(2379)]).expect("one cluster");
        assert!(report.trouble().expect("trouble").contains("no leader"));
    }

    #[test]
    fn an_endpoint_of_no_member_is_listed_too() {
        let text = Report::new(&[good(1, Role::Leader), good(2, Role::Follower), good(3, Role::Follower), down(9999)])
            .expect("one cluster")
            .text();
        assert!(text.contains("127.0.0.1:9999: connection refused"), "{text}");
    }

    #[test]
    fn two_clusters_are_not_one() {
        let mut other = good(2, Role::Leader);
        other.status.as_mut().expect("good").cluster_id = 0xdef;
        let error = Report::new(&[good(1, Role::Leader), other]).expect_err("two clusters").to_string();
        assert!(error.contains("(abc and def)"), "{error}");
    }

    #[test]
    fn json_has_its_shape() {
        let json = Report::new(&[good(1, Role::Leader), good(2, Role::Follower), down(2399)]).expect("one cluster").json();
        assert_eq!(json["healthy"], true);
        assert_eq!(json["leader_id"], "1111222233334441");
        let (leader, absent) = (&json["nodes"][0], &json["nodes"][2]);
        assert_eq!(
            (&leader["role"], &leader["term"], &leader["lag"], &leader["reachable"]),
            (&json!("leader"), &json!(1234), &json!(0), &json!(true))
        );
        assert_eq!(
            (&absent["role"], &absent["reason"], &absent["reachable"]),
            (&json!("down"), &json!("connection refused"), &json!(false))
        );
        assert!(absent.get("term").is_none());
    }
}
