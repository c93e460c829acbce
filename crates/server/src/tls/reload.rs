//! The TLS of one port as its files say it now: they are read again every second, and what changed is used from the next handshake on.
//!
//! Why not at the handshake, as etcd does: a broken file is noticed when it is put there, not when the next client is turned away; and
//! handshakes wait for no disk. Contents are compared, not times: that finds a change however it was made, also by the exchanged symbolic
//! links of Kubernetes' secrets. Of two files that are replaced one after the other a reading may catch the first alone; so only what two
//! readings in a row found is used, or complained of.

use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use parking_lot::RwLock;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::certificate::expiry_unix_s;
use super::files::{Contents, TlsError, TlsFiles};
use super::trust::{Configs, Trust};

/// How often the files are read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// What a port speaks. Clones are handles on the same.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    files: TlsFiles,
    trust: Trust,
    gauges: Gauges,
    current: RwLock<Configs>,
    in_use: RwLock<Contents>,
}

/// Where the state of a port's certificate is shown.
#[derive(Clone)]
pub(crate) struct Gauges {
    /// When its time is over, seconds since 1970.
    pub(crate) expiry: Gauge,
    /// 1 while the files can't be used and an older certificate is in use.
    pub(crate) stale: Gauge,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.shared.files).field("trust", &self.shared.trust).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// They can't be read, or used.
    pub fn new(files: TlsFiles, trust: Trust) -> Result<Self, TlsError> {
        Tls::shown(files, trust, Gauges { expiry: Gauge::noop(), stale: Gauge::noop() })
    }

    /// The same, with its state shown.
    pub(crate) fn shown(files: TlsFiles, trust: Trust, gauges: Gauges) -> Result<Self, TlsError> {
        let contents = files.read()?;
        let (configs, expiry) = configure(&files, &trust, &contents)?;
        gauges.expiry.set(expiry);
        let (current, in_use) = (RwLock::new(configs), RwLock::new(contents));
        Ok(Tls { shared: Arc::new(Shared { files, trust, gauges, current, in_use }) })
    }

    /// Whom the port trusts.
    pub(crate) fn trust(&self) -> &Trust {
        &self.shared.trust
    }

    /// For the next connection that comes.
    pub(crate) fn accepting(&self) -> Arc<ServerConfig> {
        self.shared.current.read().accepting.clone()
    }

    /// For the next connection that is dialled.
    ///
    /// # Panics
    /// On a port that dials nobody.
    pub(crate) fn dialling(&self) -> Arc<ClientConfig> {
        self.shared.current.read().dialling.clone().expect("clients are not dialled")
    }

    /// Keeps it what the files say, until `stopping`.
    pub(crate) async fn follow(self, mut stopping: watch::Receiver<bool>) {
        let mut ticks = interval(READ_AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follower = Follower { tls: self, before: None, said: None };
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            let Ok(next) = tokio::task::spawn_blocking(move || {
                follower.look();
                follower
            })
            .await
            else {
                return tracing::error!("certificates are followed no longer: restart the node after the next change of them");
            };
            follower = next;
        }
    }
}

fn configure(files: &TlsFiles, trust: &Trust, contents: &Contents) -> Result<(Configs, f64), TlsError> {
    let material = files.understand(contents)?;
    let expiry = expiry_unix_s(&material.chain[0]).unwrap_or_default() as f64;
    Ok((trust.configure(files, material)?, expiry))
}

/// Notices changes.
pub(super) struct Follower {
    tls: Tls,
    /// What the reading before this one found.
    before: Option<Contents>,
    /// What was said of the files that can't be used.
    said: Option<String>,
}

impl Follower {
    #[cfg(test)]
    pub(super) fn new(tls: Tls) -> Self {
        Follower { tls, before: None, said: None }
    }

    /// Reads the files once, and uses what changed if the reading before found the same.
    pub(super) fn look(&mut self) {
        let shared = self.tls.shared.clone();
        let contents = match shared.files.read() {
            Ok(contents) => contents,
            Err(error) => return self.complain(&error),
        };
        let changed = *shared.in_use.read() != contents;
        if !changed {
            self.well();
        } else if self.before.as_ref() == Some(&contents) {
            self.take(contents.clone());
        }
        self.before = Some(contents);
    }

    fn take(&mut self, contents: Contents) {
        let shared = &self.tls.shared;
        match configure(&shared.files, &shared.trust, &contents) {
            Ok((configs, expiry)) => {
                *shared.current.write() = configs;
                *shared.in_use.write() = contents;
                shared.gauges.expiry.set(expiry);
                tracing::info!(cert = %shared.files.cert.display(), "a changed certificate, key or list of CAs is in use from now on");
                self.well();
            }
            Err(error) => self.complain(&error),
        }
    }

    fn well(&mut self) {
        self.said = None;
        self.tls.shared.gauges.stale.set(0.0);
    }

    /// Says once what is wrong, however often it is found.
    fn complain(&mut self, error: &TlsError) {
        self.tls.shared.gauges.stale.set(1.0);
        let text = error.to_string();
        if self.said.as_ref() != Some(&text) {
            tracing::error!("changed files can't be used, the certificate in use stays in use: {text}");
            self.said = Some(text);
        }
    }
}
