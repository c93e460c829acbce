//! `steadfast member`: who belongs to the cluster, and changes of that.

use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use steadfast_etcd_api::proto::etcdserverpb::cluster_client::ClusterClient;
use steadfast_etcd_api::proto::etcdserverpb::{Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest};

use crate::client::{self, read_error, write_error};
use crate::endpoints::{Cluster, host_and_port};
use crate::show;
use crate::user::Link;

/// What `steadfast member` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
A new node: add it, then start it with the command that is printed. As a learner first, it catches up
without a vote. A lost node: remove it, then add its replacement.

Examples:
  steadfast member list
  steadfast member add n4 --peer 10.0.0.4:2380 --learner
  steadfast member promote n4
  steadfast member remove n2")]
pub(crate) struct MemberArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List the members
    List {
        #[command(flatten)]
        cluster: Cluster,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Add a node before it is started
    Add {
        /// The name that it will be started with
        name: Option<String>,
        /// Where the other nodes will reach it, host:port
        #[arg(long, value_name = "ADDR", value_parser = peer_address)]
        peer: String,
        /// Let it catch up without a vote first; promote it later
        #[arg(long)]
        learner: bool,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Remove a node for good
    Remove {
        /// Its name or id; a node that has not started yet has only an id
        member: String,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Give a learner its vote
    Promote {
        /// Its name or id
        member: String,
        #[command(flatten)]
        cluster: Cluster,
    },
}

fn peer_address(text: &str) -> Result<String, String> {
    host_and_port(text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/'), None)
}

/// Carries out one of the actions.
pub(crate) async fn run(args: &MemberArgs) -> Result<()> {
    match &args.action {
        Action::List { cluster, json } => list(cluster, *json).await,
        Action::Add { name, peer, learner, cluster } => add(cluster, name.as_deref(), peer, *learner).await,
        Action::Remove { member, cluster } => remove(cluster, member).await,
        Action::Promote { member, cluster } => promote(cluster, member).await,
    }
}

async fn list(cluster: &Cluster, json: bool) -> Result<()> {
    let members = members(&mut open(cluster).await?).await?;
    show::print(if json { list_json(&members).to_string() } else { list_text(&members) })?;
    Ok(())
}

async fn add(cluster: &Cluster, name: Option<&str>, peer: &str, learner: bool) -> Result<()> {
    let mut client = open(cluster).await?;
    let request = MemberAddRequest { peer_ur_ls: vec![format!("http://{peer}")], is_learner: learner };
    let answer = client.member_add(request).await.map_err(write_error)?.into_inner();
    let id = answer.member.map_or(0, |member| member.id);
    let others: Vec<&Member> = answer.members.iter().filter(|member| member.id != id).collect();
    let name = name.map_or_else(|| free_name(&others), String::from);
    let what = if learner { "learner" } else { "voter" };
    let mut text = format!("Added member {id:x}, a {what}. Start it on its machine with:\n  {}", join_command(&name, peer, &others));
    if others.iter().any(|member| member.client_ur_ls.iter().any(|url| url.starts_with("https://"))) {
        write!(text, "\nwith the options of TLS that the other nodes have, and https:// wherever clients are told to reach it.")?;
    }
    if learner {
        let promote = format!("{} member promote {}", show::program(), show::shell_word(&name));
        write!(text, "\nWhen it has caught up, give it its vote with:\n  {promote}")?;
    }
    show::print(text)?;
    Ok(())
}

async fn remove(cluster: &Cluster, wanted: &str) -> Result<()> {
    let mut client = open(cluster).await?;
    let id = find(&members(&mut client).await?, wanted)?;
    let answer = client.member_remove(MemberRemoveRequest { id }).await.map_err(write_error)?.into_inner();
    show::print(format!("Removed member {id:x}; {} remain. Its data directory is of no more use.", answer.members.len()))?;
    Ok(())
}

async fn promote(cluster: &Cluster, wanted: &str) -> Result<()> {
    let mut client = open(cluster).await?;
    let id = find(&members(&mut client).await?, wanted)?;
    client.member_promote(MemberPromoteRequest { id }).await.map_err(write_error)?;
    show::print(format!("Member {id:x} is a voter now."))?;
    Ok(())
}

async fn open(cluster: &Cluster) -> Result<ClusterClient<Link>> {
    Ok(ClusterClient::new(client::open(cluster).await?))
}

async fn members(client: &mut ClusterClient<Link>) -> Result<Vec<Member>> {
    let answer = client.member_list(MemberListRequest { linearizable: true }).await.map_err(read_error)?;
    let mut members = answer.into_inner().members;
    members.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(members)
}

/// The id of the member with this name or hexadecimal id.
pub(crate) fn find(members: &[Member], wanted: &str) -> Result<u64> {
    let id = u64::from_str_radix(wanted, 16).ok();
    if let Some(member) = members.iter().find(|member| Some(member.id) == id) {
        return Ok(member.id);
    }
    let named: Vec<&Member> = members.iter().filter(|member| !wanted.is_empty() && member.name == wanted).collect();
    match named.as_slice() {
        [member] => Ok(member.id),
        [] if members.iter().any(|member| member.name.is_empty()) => bail!(
            "no member has the name or id {wanted:?}: one that has not started yet has no name, give its id (`steadfast member list` shows it)"
        ),
        [] => bail!("no member has the name or id {wanted:?}: `steadfast member list` shows them"),
        _ => bail!("{} members have the name {wanted:?}: give the id of one", named.len()),
    }
}

/// The first of n1, n2, … after the number of members that none of them has.
fn free_name(others: &[&Member]) -> String {
    let names = (others.len() + 1..).map(|k| format!("n{k}"));
    names.into_iter().find(|name| others.iter().all(|member| member.name != *name)).expect("there are more numbers than members")
}

/// What starts a node that was just added.
fn join_command(name: &str, peer: &str, others: &[&Member]) -> String {
    let addresses = others.iter().filter_map(|member| member.peer_ur_ls.first());
    let join: Vec<&str> = addresses.map(|url| without_scheme(url)).collect();
    let name = show::shell_word(name);
    format!("{} serve --name {name} --data-dir ./{name} {} --join {}", show::program(), listen_flags(peer), join.join(","))
}

/// The flags for the addresses of a node with this peer address: the ports keep the distances of the defaults, and a host that is a name
/// stands in what is advertised only.
fn listen_flags(peer: &str) -> String {
    let (host, port) = peer.rsplit_once(':').expect("the address was checked");
    let port: u16 = port.parse().expect("the address was checked");
    let client = port.checked_sub(1).filter(|port| *port > 0).unwrap_or(2379);
    match peer.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => {
            let admin = port.checked_add(7070 - 2380).unwrap_or(7070);
            format!("--listen-client {host}:{client} --listen-peer {peer} --listen-admin {host}:{admin}")
        }
        Ok(_) => format!("--listen-client {host}:{client} --listen-peer {peer}"),
        Err(_) => format!(
            "--listen-client 0.0.0.0:{client} --advertise-client http://{host}:{client} --listen-peer 0.0.0.0:{port} --advertise-peer {peer}"
        ),
    }
}

fn without_scheme(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}

/// Addresses as people give them.
fn addresses(urls: &[String]) -> String {
    urls.iter().map(|url| without_scheme(url)).collect::<Vec<_>>().join(",")
}

fn role(member: &Member) -> &'static str {
    if member.is_learner { "learner" } else { "voter" }
}

fn list_text(members: &[Member]) -> String {
    let rows = members.iter().map(|member| {
        let (name, clients) =
            if member.name.is_empty() { ("(not started)", "-".into()) } else { (member.name.as_str(), addresses(&member.client_ur_ls)) };
        vec![name.to_string(), format!("{:x}", member.id), role(member).to_string(), addresses(&member.peer_ur_ls), clients]
    });
    show::table(&["NAME", "ID", "ROLE", "PEERS", "CLIENTS"], &[], rows)
}

fn list_json(members: &[Member]) -> Value {
    let member = |member: &Member| {
        json!({
            "id": format!("{:x}", member.id),
            "name": member.name,
            "role": role(member),
            "started": !member.name.is_empty(),
            "peer_urls": member.peer_ur_ls,
            "client_urls": member.client_ur_ls,
        })
    };
    json!({ "members": members.iter().map(member).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str) -> Member {
        Member { id, name: name.into(), peer_ur_ls: vec![format!("http://10.0.0.{id}:2380")], ..Member::default() }
    }

    #[test]
    fn members_are_found_by_name_or_id() {
        let members = [member(0xa1, "n1"), member(2, "n2"), member(3, "n2"), member(4, "")];
        assert_eq!(find(&members, "a1").expect("by id"), 0xa1);
        assert_eq!(find(&members, "n1").expect("by name"), 0xa1);
        assert!(find(&members, "n2").expect_err("two").to_string().contains("2 members have the name"));
        assert!(find(&members, "").expect_err("none").to_string().contains("no member has"));
        let unstarted = find(&members, "n4").expect_err("not started").to_string();
        assert!(unstarted.contains("has not started yet has no name, give its id (`steadfast member list` shows it)"), "{unstarted}");
        assert!(!find(&members[..3], "n4").expect_err("none").to_string().contains("not started"));
    }

    #[test]
    fn the_join_command_names_all_others() {
        let (first, second) = (member(1, "n1"), member(2, "n2"));
        let command = join_command("n3", "10.0.0.3:2380", &[&first, &second]);
        let expected = "serve --name n3 --data-dir ./n3 --listen-client 10.0.0.3:2379 --listen-peer 10.0.0.3:2380 \
                        --join 10.0.0.1:2380,10.0.0.2:2380";
        assert!(command.ends_with(expected), "{command}");
        assert_eq!(free_name(&[&first, &second]), "n3");
        assert_eq!(free_name(&[&first, &member(2, "n3")]), "n4");
    }

    #[test]
    fn a_new_node_listens_where_it_can() {
        let local = listen_flags("127.0.0.1:2410");
        assert_eq!(local, "--listen-client 127.0.0.1:2409 --listen-peer 127.0.0.1:2410 --listen-admin 127.0.0.1:7100");
        let named = listen_flags("db4.example.org:2380");
        assert_eq!(
            named,
            "--listen-client 0.0.0.0:2379 --advertise-client http://db4.example.org:2379 --listen-peer 0.0.0.0:2380 \
             --advertise-peer db4.example.org:2380"
        );
    }

    #[test]
    fn lists_have_their_shapes() {
        let members = [member(1, "n1"), member(2, "")];
        assert!(list_text(&members).contains("(not started)"));
        let json = list_json(&members);
        assert_eq!(
            json["members"][0],
            json!({"id": "1", "name": "n1", "role": "voter", "started": true, "peer_urls": ["http://10.0.0.1:2380"], "client_urls": []})
        );
        assert_eq!(json["members"][1]["started"], false);
    }
}
