//! A watch as one more stream of the node's watch hub, whose deliveries are whole revisions, each once, in order.
//!
//! What waits for it is bounded by the stream's queue; a watch that is not read is caught up from history later, as any client's.

use std::future::poll_fn;
use std::sync::Arc;

use steadfast_coordination::space::SPACE;
use steadfast_coordination::{Change, Changes, Key, Keys, Watch, WatchError};
use steadfast_etcd_api::backend::{
    Asker, Event, EventKind, WatchCommand, WatchCommands as _, WatchCreate, WatchDeliveries as _, WatchDelivery,
};
use steadfast_state::auth::ROOT;
use steadfast_types::Revision;

use super::convert::{record, span};
use crate::backend::NodeBackend;
use crate::watches::{OwnWatcher, StreamCommands, StreamDeliveries, Watching};

/// A watch of this node's own cluster.
pub(crate) struct OwnWatch {
    node: NodeBackend,
    keys: Keys,
    from: Revision,
    /// Both halves, once it has begun: it ends with them.
    stream: Option<(StreamCommands, StreamDeliveries)>,
    _counted: OwnWatcher,
    /// The delivery that is being told, and how many of its events have been.
    events: Arc<[Event]>,
    told: usize,
    over: Option<WatchError>,
}

impl OwnWatch {
    pub(super) fn new(node: NodeBackend, keys: Keys, from: Revision) -> Self {
        let counted = node.watches().own_watcher();
        OwnWatch { node, keys, from: from.max(Revision(1)), stream: None, _counted: counted, events: Arc::new([]), told: 0, over: None }
    }

    /// The next revision of the delivery.
    fn tell(&mut self) -> Option<Changes> {
        let rest = &self.events[self.told..];
        let revision = rest.first()?.kv.mod_revision;
        let changes: Vec<Change> = rest.iter().take_while(|event| event.kv.mod_revision == revision).map(change).collect();
        self.told += changes.len();
        Some(Changes { revision, changes })
    }

    /// The deliveries, asked for if they were not yet.
    async fn deliveries(&mut self) -> Result<&mut StreamDeliveries, WatchError> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let (mut commands, deliveries) = self.node.watches().open(watching(&self.keys));
                let create = WatchCreate {
                    keys: span(self.keys.bounds()),
                    start_revision: self.from,
                    progress_notify: true,
                    asker: Asker::User(ROOT.into()),
                    ..WatchCreate::default()
                };
                commands.send(WatchCommand::Create(create)).await.map_err(|refusal| WatchError::Ended(refusal.to_string()))?;
                (commands, deliveries)
            }
        };
        Ok(&mut self.stream.insert(stream).1)
    }

    async fn receive(&mut self) -> Result<WatchDelivery, WatchError> {
        let deliveries = self.deliveries().await?;
        let delivery = poll_fn(|context| deliveries.poll_next(context)).await;
        delivery.ok_or_else(|| WatchError::Ended("the node stops".into()))
    }
}

/// Steadfast's records, or some others, as a client.
fn watching(keys: &Keys) -> Watching {
    let (first, _) = keys.bounds();
    if first.starts_with(SPACE.as_bytes()) { Watching::Own } else { Watching::Client }
}

impl Watch for OwnWatch {
    async fn next(&mut self) -> Result<Changes, WatchError> {
        loop {
            if let Some(changes) = self.tell() {
                return Ok(changes);
            }
            if let Some(error) = &self.over {
                return Err(error.clone());
            }
            match self.receive().await.and_then(judged) {
                Ok(delivery) if !delivery.events.is_empty() => (self.events, self.told) = (delivery.events.list(), 0),
                // A watch that has begun at a revision to come is told of earlier ones, too.
                Ok(delivery) if !delivery.created && delivery.revision >= self.from => {
                    return Ok(Changes { revision: delivery.revision, changes: Vec::new() });
                }
                Ok(_) => {}
                Err(error) => self.over = Some(error),
            }
        }
    }
}

fn judged(delivery: WatchDelivery) -> Result<WatchDelivery, WatchError> {
    match delivery.canceled {
        Some(_) if delivery.compact_revision.0 > 0 => Err(WatchError::Compacted { oldest: delivery.compact_revision }),
        Some(reason) => Err(WatchError::Ended(reason)),
        None => Ok(delivery),
    }
}

fn change(event: &Event) -> Change {
    match event.kind {
        EventKind::Put => Change::Put(record(event.kv.clone())),
        EventKind::Delete => Change::Delete(Key::found(event.kv.key.clone())),
    }
}
