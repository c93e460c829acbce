//! The drill's cluster: servers on one loopback address, each agent on one of its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::super::cluster::{Cluster, Node, free_ports};
use super::super::process::{Life, Process};

/// Starts servers `n1`, `n2`, … and then agents `a1`, `a2`, …, and waits until all are ready.
pub(super) async fn start(servers: usize, agents: usize) -> Result<Cluster> {
    let directory = tempfile::Builder::new().prefix("steadfast-drill-").tempdir().context("cannot make a temporary directory")?;
    let ports = free_ports(servers)?;
    let mut cluster = Cluster::without_nodes(directory);
    let initial: Vec<String> = ports.iter().zip(1..).map(|([_, peer, _], k)| format!("n{k}={peer}")).collect();
    for ([client, peer, admin], k) in ports.iter().zip(1..) {
        let flags = ["--listen-client", client, "--initial-cluster", &initial.join(",")].map(String::from);
        add(&mut cluster, format!("n{k}"), (peer.clone(), admin.clone()), &flags)?;
    }
    cluster.await_ready().await?;
    let join: Vec<&str> = ports.iter().map(|[_, peer, _]| peer.as_str()).collect();
    let flags = ["--role", "agent", "--join", &join.join(",")].map(String::from);
    for k in 1..=agents {
        let at = |address: &str| Some(format!("127.0.1.{k}:{}", address.rsplit_once(':')?.1));
        let addresses = at(&ports[0][1]).zip(at(&ports[0][2])).context("an address without a port")?;
        add(&mut cluster, format!("a{k}"), addresses, &flags)?;
    }
    cluster.await_ready().await?;
    Ok(cluster)
}

fn add(cluster: &mut Cluster, name: String, (peer, admin): (String, String), flags: &[String]) -> Result<()> {
    let (data_dir, log) = (cluster.path().join(&name), cluster.path().join(format!("{name}.log")));
    let program = std::env::current_exe()?.to_str().context("the path of this program is not UTF-8")?.to_owned();
    let directory = data_dir.display().to_string();
    let own = ["serve", "--name", &name, "--data-dir", &directory, "--listen-peer", &peer, "--listen-admin", &admin].map(String::from);
    let argv: Vec<String> = [program].into_iter().chain(own).chain(flags.iter().cloned()).collect();
    let process = Process::start(&argv, &log, Life::WithDrill)?;
    cluster.nodes.push(Node { name, peer, admin, data_dir, argv, log, process, faults: BTreeMap::new() });
    Ok(())
}
