//! An agent from its start to its end: a member of the cluster that holds no strong state, has no vote and serves no clients.

use std::sync::Arc;

use bytes::Bytes;
use steadfast_types::wire::Wire;
use tokio::sync::watch;

use crate::admin::{self, AdminStatus, FaultDesk, Metrics};
use crate::checks;
use crate::clock::Clock;
use crate::diagnosis::{self, Diagnosis};
use crate::errors::{StartError, listen};
use crate::fault_table::Faults;
use crate::formation::{AttendAnswer, AttendRefusal, FormationError, attend};
use crate::gossip::{self, Ended, Gossip};
use crate::health::{self, Counted, Part};
use crate::identity::{Directory, Membership};
use crate::options::{ServerOptions, Start};
use crate::peers::{Reception, Topic, answer_questions};
use crate::ports::Ports;
use crate::recovery::restarter::{self, Restarter, Restarting};
use crate::run::{RunError, StopSignal, enable_faults, until};

/// Takes part until SIGINT or SIGTERM, then says goodbye.
pub(crate) async fn serve(options: ServerOptions) -> Result<(), RunError> {
    let mut stop_signal = StopSignal::new()?;
    let peers = listen("listen-peer", options.listen_peer).await?;
    let admin = listen("listen-admin", options.listen_admin).await?;
    let mut directory = Directory::open_agent(&options.data_dir, &options.name, &options.advertise_peer).map_err(StartError::from)?;
    let metrics = Metrics::new();
    let ports = Ports::secure(&options, &metrics)?;
    let life = directory.begin_life().map_err(StartError::from)?;
    let Start::Join { peers: servers } = &options.start else { unreachable!("an agent's options name servers") };
    let membership = tokio::select! {
        place = attend(&directory, servers, &ports.link, life.born) => place.map_err(StartError::from)?,
        () = stop_signal.wait() => return Ok(()),
    };
    settle(&mut directory, &membership).map_err(StartError::from)?;
    let faults = if options.faults { enable_faults() } else { Faults::default() };
    let clock = Clock::new(faults);
    let started = gossip::start(&options, (&directory, life), &membership, peers.local_addr()?, (&ports.link, clock, &metrics, faults))?;
    let gossip = started.expect("an agent's options let it gossip");
    gossip.add_seeds(servers);
    tracing::info!(name = options.name, node = %directory.identity().node, cluster = %membership.cluster, "agent started");
    let (stop, stopping) = watch::channel(false);
    let others = gossip.clone();
    let resolve = Box::new(move |word: &str| others.view().find(word));
    let desk = faults.table().map(|table| FaultDesk { table, resolve });
    let more = admin::faults_route(desk).merge(gossip.members_route());
    let place = diagnosis::Place::new(&options, (membership.cluster, directory.identity().node), &ports.link, &metrics);
    let diagnosis = Diagnosis::new(diagnosis::Place { gossip: Some(gossip.clone()), ..place });
    let desk = diagnosis::Answering::new(diagnosis, Answering(gossip.clone()));
    let status = status(&options, &directory, &membership, gossip.clone());
    let part = Part {
        cluster: membership.cluster,
        node: directory.identity().node,
        gossip: gossip.clone(),
        link: ports.link.clone(),
        clock,
        metrics: metrics.clone(),
        directory: options.data_dir.clone(),
        counted: Counted::default(),
        stopping: stopping.clone(),
    };
    // What runs here is declared by the answers to reports, which say how it is.
    let (declare, answers) = watch::channel(Arc::default());
    let restarts = restarter::Part {
        cluster: part.cluster,
        node: part.node,
        is_enabled: options.enable_script_checks,
        directory: options.data_dir.clone(),
        declared: health::restarts(answers.clone()),
    };
    let desk = Restarting::new(Restarter::new(restarts).map_err(StartError::from)?, desk);
    let checks = checks::start(&options, part.node, clock, metrics.clone(), health::declared(answers));
    health::start_agent(part, health::reported(checks.reports.clone()), declare);
    let more = more.merge(checks::routes(checks));
    tokio::spawn(admin::serve(admin, ports.admin.clone(), status, metrics, more, until(stopping)));
    let ended = tokio::select! {
        () = stop_signal.wait() => None,
        ended = gossip.ended() => Some(ended),
        () = answer_questions(&peers, &ports.link, Arc::new(desk)) => unreachable!("questions are answered for ever"),
    };
    if ended.is_none() {
        tracing::info!("stopping: asked to");
        gossip.say_goodbye().await;
    }
    stop.send_replace(true);
    tracing::info!("stopped");
    match ended {
        Some(Ended::NameTaken(address)) => Err(StartError::from(FormationError::NameTaken { name: options.name, address }).into()),
        Some(Ended::Left) | None => Ok(()),
    }
}

/// Notes the agent's place, if it has none yet.
fn settle(directory: &mut Directory, membership: &Membership) -> Result<(), crate::identity::IdentityError> {
    if directory.identity().membership.is_some() {
        return Ok(());
    }
    directory.settle(directory.identity().node, membership.clone())
}

/// What the admin port shows.
fn status(
    options: &ServerOptions,
    directory: &Directory,
    membership: &Membership,
    gossip: Gossip,
) -> impl Fn() -> AdminStatus + Send + Sync + 'static {
    let base = AdminStatus {
        name: options.name.clone(),
        node: directory.identity().node,
        cluster: membership.cluster.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: "agent".to_owned(),
        ..AdminStatus::default()
    };
    move || {
        let view = gossip.view();
        AdminStatus { admitted: Some(view.is_admitted), members: view.active(), ..base.clone() }
    }
}

/// What an agent says on its peer port.
struct Answering(Gossip);

impl Reception for Answering {
    async fn answer(&self, topic: Topic, question: Bytes) -> Bytes {
        match topic {
            Topic::Gossip => self.0.answer(question).await,
            Topic::Attend => AttendAnswer::Refused(AttendRefusal::NotNow("an agent is there, and no server".to_owned())).to_wire().into(),
            Topic::Founding | Topic::Claim | Topic::Health | Topic::Diagnosis | Topic::Admit | Topic::Restart => Bytes::new(),
        }
    }
}
