//! Available state in a node: from the node's start to its end, and again as another actor if the replica has to.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use steadfast_coordination::Coordination;
use steadfast_crdt::Actor;
use steadfast_replica::strong_keys::StrongKeys;
use steadfast_types::NodeId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::Durability;
use super::known::Known;
use super::life::Life;
use super::peers::Peers;
use super::record::{Record, Recorded};
use super::registry::{Registry, Replicas};
use super::start::{End, Ended, Running, Settings, start};
use super::status::Status;
use super::strong::{self, Source};
use super::users::{self, Definitions, UsersSource};
use crate::identity::random;
use crate::peers::{LaneEvents, PeerTransport};
use crate::published::Published;
use crate::redis::Limits;
use crate::run::until;
use crate::tls::Tls;

/// Events of peers that wait for the loop.
const EVENTS: usize = 256;

/// What the loop has found about strong keys and is not in strong state yet.
const FOUND: usize = 64;

/// Changes of users that are under way, at most.
const CHANGES: usize = 64;

/// Between two attempts.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// How often the members are compared with the replicas.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(1);

/// What available state needs of its node.
pub(crate) struct Part<C> {
    pub(crate) node: NodeId,
    /// Whether its directory was never used before.
    pub(crate) is_first_life: bool,
    /// Where it keeps everything.
    pub(crate) directory: PathBuf,
    /// Bound already.
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Tls>,
    pub(crate) durability: Durability,
    /// See [`Settings::memory_bytes`].
    pub(crate) memory_bytes: usize,
    pub(crate) registry: Registry<C>,
    pub(crate) strong: Record<C, StrongKeys>,
    pub(crate) users: Record<C, Definitions>,
    pub(crate) transport: PeerTransport,
    pub(crate) published: Arc<Published>,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Serves until the node stops, or until it can't go on: why.
pub(crate) async fn serve<C: Coordination>(part: Part<C>, status: watch::Sender<Option<Status>>) -> Result<(), String> {
    let mut stopping = part.stopping.clone();
    let (events, lanes) = mpsc::channel(EVENTS);
    let wake = Arc::new(watch::Sender::new(None::<crate::redis::Handle>));
    let waker = wake.clone();
    part.transport.open_lanes(LaneEvents::new(events, move || {
        if let Some(handle) = &*waker.borrow() {
            handle.wake();
        }
    }));
    let replicas = watch::Sender::new(None);
    tokio::spawn(follow(part.registry.clone(), part.published.clone(), replicas.clone(), wake.clone(), part.stopping.clone()));
    let mut lanes = Some(lanes);
    loop {
        let mut life = Life::open(&part.directory).map_err(|error| error.to_string())?;
        let (actor, spare) = tokio::select! {
            chosen = choose(&part.registry, (part.node, part.is_first_life), &life) => chosen,
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
        };
        life.begin(actor, spare).map_err(|error| error.to_string())?;
        let mut known = replicas.subscribe();
        // Who they are may be known already.
        known.mark_changed();
        let peers = Peers { lanes: lanes.take().ok_or("the lanes were lost")?, replicas: known };
        let known = async { tokio::try_join!(know(&part.strong, &part.directory, random()), know(&part.users, &part.directory, ())) };
        let (strong, users) = tokio::select! {
            known = known => known?,
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
        };
        let (publish_keys, keys) = publisher(&strong);
        let (find, found) = mpsc::channel(FOUND);
        let strong_source = Source { node: part.node, holder: NodeId(strong.own), keys, found: find };
        let (publish_users, told_users) = publisher(&users);
        let (want, wanted) = mpsc::channel(CHANGES);
        let (tell_changed, changed) = mpsc::channel(CHANGES);
        let users_source = UsersSource { users: told_users, wanted: want, changed };
        let settings = Settings {
            strong: Some(strong_source),
            users: Some(users_source),
            directory: part.directory.clone(),
            listener: part.listener.try_clone().map_err(|error| error.to_string())?,
            tls: part.tls.clone(),
            durability: part.durability,
            memory_bytes: part.memory_bytes,
            actor,
            limits: Limits::default(),
            peers: Some(peers),
        };
        // It may have much to replay.
        let running = tokio::task::spawn_blocking(move || start(settings)).await.map_err(|error| error.to_string())?;
        let running = running.map_err(|error| error.to_string())?;
        tracing::info!(redis = %running.address(), actor = actor.place(), "available state is served");
        wake.send_replace(Some(running.handle()));
        running.handle().wake();
        let wake_up = || {
            let waker = wake.clone();
            move || {
                if let Some(handle) = &*waker.borrow() {
                    handle.wake();
                }
            }
        };
        let keys = strong::keep((part.strong.clone(), strong), part.node, part.published.clone(), publish_keys, found, wake_up());
        let users = users::keep((part.users.clone(), users), publish_users, wanted, tell_changed, wake_up());
        let mut keepers = JoinSet::new();
        keepers.spawn(async {
            if let Err(error) = keys.await {
                tracing::error!(%error, "this node learns of changes of strong keys no more");
            }
        });
        keepers.spawn(async {
            if let Err(error) = users.await {
                tracing::error!(%error, "this node learns of changes of users no more");
            }
        });
        let announced = tokio::spawn(announce(part.registry.clone(), part.node, actor, spare.is_none()));
        let (ended, left) = attend(running, &status, announced, &mut life, part.stopping.clone()).await;
        wake.send_replace(None);
        drop(keepers);
        life.end(ended.is_ok()).map_err(|error| error.to_string())?;
        match ended {
            Ok(()) => return Ok(()),
            Err(Ended::Fenced) => set_aside(life)?,
            Err(Ended::Failed(why)) => return Err(why),
        }
        lanes = left;
    }
}

/// What is known of a record: what this directory says; if that is new, what strong state says.
async fn know<C: Coordination, T: Recorded, O: Serialize + DeserializeOwned + Clone>(
    record: &Record<C, T>,
    directory: &Path,
    own: O,
) -> Result<Known<T, O>, String> {
    let mut known = Known::open(directory, own).map_err(|error| error.to_string())?;
    if known.record.is_none() {
        let (value, _) = record.await_read().await;
        known.learn(value).map_err(|error| error.to_string())?;
    }
    Ok(known)
}

/// Publishes what a keeper learns, from what is known at first.
fn publisher<T: Recorded, O>(known: &Known<T, O>) -> (watch::Sender<Arc<T>>, watch::Receiver<Arc<T>>) {
    let (publish, mut told) = watch::channel(Arc::new(known.record.clone().unwrap_or_default()));
    // It is news to whoever is started with it.
    told.mark_changed();
    (publish, told)
}

/// Tells how the replica is until it ends, and keeps the spare that was claimed meanwhile.
async fn attend(
    running: Running,
    status: &watch::Sender<Option<Status>>,
    announced: tokio::task::JoinHandle<Option<Actor>>,
    life: &mut Life,
    stopping: watch::Receiver<bool>,
) -> End {
    let mut views = running.status();
    status.send_replace(Some(views.borrow_and_update().clone()));
    let handle = running.handle();
    let end = tokio::task::spawn_blocking(move || running.wait());
    let mut announced = Some(announced);
    let stop = until(stopping);
    tokio::pin!(end, stop);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            ended = &mut end => {
                if let Some(announced) = announced {
                    announced.abort();
                }
                status.send_replace(None);
                return ended.unwrap_or_else(|error| (Err(Ended::Failed(error.to_string())), None));
            }
            () = &mut stop, if !is_stopping => {
                is_stopping = true;
                handle.stop();
            }
            Ok(()) = views.changed() => {
                status.send_replace(Some(views.borrow_and_update().clone()));
            }
            claimed = async { announced.as_mut().expect("it is looked at only while it is there").await }, if announced.is_some() => {
                announced = None;
                if let Ok(Some(spare)) = claimed
                    && let Err(error) = life.set_spare(spare)
                {
                    tracing::error!(%error, "the spare actor could not be written down");
                }
            }
        }
    }
}

/// As whom to write, and which actor is in reserve: as before if nothing can be lost, else as the one that was in reserve, else as a new one, which waits for strong state.
async fn choose<C: Coordination>(registry: &Registry<C>, (node, is_first_life): (NodeId, bool), life: &Life) -> (Actor, Option<Actor>) {
    if let Some(actor) = life.actor() {
        return (actor, life.spare());
    }
    if let Some(before) = life.last_actor() {
        tracing::info!(
            before = before.place(),
            "the machine began anew since, or writes were lost: this replica of available state writes as another one"
        );
    }
    if let Some(spare) = life.spare() {
        return (spare, None);
    }
    if is_first_life
        && life.last_actor().is_none()
        && let Some((actor, spare)) = registry.of_founder(node)
    {
        return (actor, Some(spare));
    }
    loop {
        match registry.enter(node).await {
            Ok((actor, spare)) => return (actor, Some(spare)),
            Err(error) => tracing::info!(%error, "no actor for available state yet; trying again"),
        }
        sleep(RETRY_WAIT).await;
    }
}

/// Says as whom this node writes, and takes an actor in reserve if it has none.
async fn announce<C: Coordination>(registry: Registry<C>, node: NodeId, actor: Actor, needs_spare: bool) -> Option<Actor> {
    loop {
        match registry.announce(node, actor, needs_spare).await {
            Ok(spare) => return spare,
            Err(error) => tracing::info!(%error, "the other replicas of available state can't be told of this one yet; trying again"),
        }
        sleep(RETRY_WAIT).await;
    }
}

/// Publishes as whom the members write.
async fn follow<C: Coordination>(
    registry: Registry<C>,
    published: Arc<Published>,
    replicas: watch::Sender<Option<BTreeSet<Actor>>>,
    wake: Arc<watch::Sender<Option<crate::redis::Handle>>>,
    stopping: watch::Receiver<bool>,
) {
    let (publish, mut records) = watch::channel(None::<Replicas>);
    let compare = async {
        let mut members = interval(MEMBERS_INTERVAL);
        loop {
            tokio::select! {
                _ = members.tick() => {}
                Ok(()) = records.changed() => {}
            }
            let Some(Ok(members)) = published.reader().map(|reader| reader.members()) else { continue };
            let Some(of_members) = records.borrow().as_ref().map(|record| record.of(&members.iter().map(|member| member.id).collect()))
            else {
                continue;
            };
            let has_changed = replicas.send_if_modified(|known| {
                let has_changed = known.as_ref() != Some(&of_members) && !of_members.is_empty();
                if has_changed {
                    *known = Some(of_members);
                }
                has_changed
            });
            if has_changed && let Some(handle) = &*wake.borrow() {
                handle.wake();
            }
        }
    };
    tokio::select! {
        () = registry.follow(publish) => {}
        () = compare => {}
        () = until(stopping) => {}
    }
}

/// Others have what this directory lacks: it is kept for people, and the replica begins without it.
fn set_aside(life: Life) -> Result<(), String> {
    let kept = life.set_aside().map_err(|error| error.to_string())?;
    tracing::error!(
        kept = %kept.display(),
        "other replicas have writes of this one that its directory has not: it was copied from an earlier state, or the disk lost something. \
         The replica begins anew as another one and takes everything from the others; what it alone was told since the start is in the directory that is kept"
    );
    Ok(())
}
