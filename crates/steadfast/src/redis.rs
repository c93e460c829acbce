//! `steadfast redis`: one command of Redis on available state, at any node of the cluster.
//!
//! It finds the replica by the cluster's status, so that the endpoints that all other commands take are enough. Many commands, and what pushes messages, are for redis-cli.

mod answer;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo};
use steadfast_client::{Endpoint, connect_bytes};

use crate::endpoints::Cluster;
use crate::show;
use crate::status::replicas;
use crate::usage::UsageError;
use crate::user::User;

/// A command may wait for other replicas.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// What `steadfast redis` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Every node takes reads and writes by itself, also while it sees no other node. What a request may rely
on is its level: eventual (what the node has), session, causal.

Exit status: 0, or 1 if the command is answered with an error.

Examples:
  steadfast redis INCR visits
  steadfast redis --node n2 GET visits
  steadfast redis --level session --token TOKEN GET visits
  steadfast redis --json HGETALL user:7")]
pub(crate) struct RedisArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// The node that is to run it; without, the first that answers
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Who asks, where available state has users: name and password
    #[arg(long, env = "STEADFAST_REDIS_USER", hide_env_values = true, value_name = "NAME:PASSWORD")]
    redis_user: Option<User>,
    /// What the command may rely on
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
    /// What was seen elsewhere and must be seen by this command, as SESSION TOKEN gave it
    #[arg(long, requires = "level", value_name = "TOKEN")]
    token: Option<String>,
    /// Print one JSON value
    #[arg(long)]
    json: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command and prints its answer.
pub(crate) async fn run(args: &RedisArgs) -> Result<()> {
    let replica = find(args).await?;
    let mut connection = connect(&replica, args.redis_user.as_ref()).await?;
    match connection.send_packed_command(&command(args)).await {
        Ok(answer) if args.json => show::print(answer::json(&answer))?,
        Ok(answer) => show::print(answer::text(&answer))?,
        Err(error) => bail!("{replica}: {}", in_words(&error)),
    }
    Ok(())
}

/// As it goes over the wire.
fn command(args: &RedisArgs) -> Cmd {
    let mut command = Cmd::new();
    if let Some(level) = &args.level {
        command.arg("CONSISTENCY").arg("WITH").arg(level);
        if let Some(token) = &args.token {
            command.arg("TOKEN").arg(token);
        }
    }
    command.arg(&args.command);
    command
}

/// Where the replica is that is asked.
async fn find(args: &RedisArgs) -> Result<Endpoint> {
    let found = replicas(&args.cluster.endpoints()?).await?;
    let replica = match &args.node {
        None => found.into_iter().find_map(|(_, replica)| replica),
        Some(name) => {
            let names = found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            let node = found.into_iter().find(|(of, _)| of == name);
            node.ok_or_else(|| UsageError(format!("--node {name}: no node of that name answers; there are {names}")))?.1
        }
    };
    replica.context("no node that was asked serves available state now: start nodes with --listen-redis")
}

async fn connect(replica: &Endpoint, user: Option<&User>) -> Result<MultiplexedConnection> {
    let stream = connect_bytes(replica).await?;
    let mut info = RedisConnectionInfo::default().set_protocol(redis::ProtocolVersion::RESP3).set_skip_set_lib_name();
    if let Some(user) = user {
        info = info.set_username(user.name()).set_password(user.password());
    }
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_WAIT));
    let connected = MultiplexedConnection::new_with_config(&info, stream, config).await;
    let (connection, driver) = connected.map_err(|error| anyhow::anyhow!("{replica}: {}", in_words(&error)))?;
    tokio::spawn(driver);
    Ok(connection)
}

/// An answer that is an error as the server gave it, anything else as the library puts it.
fn in_words(error: &redis::RedisError) -> String {
    match (error.kind(), error.code(), error.detail()) {
        (ErrorKind::Server(_) | ErrorKind::Extension, Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
