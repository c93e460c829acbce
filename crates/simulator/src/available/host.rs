//! The process that commands run in: its wall clock, and chance.

use std::net::IpAddr;

use steadfast_crdt::Version;
use steadfast_redis_api::acl::users::Users;
use steadfast_redis_api::engine::host::{ClientInfo, Facts, Host, KillFilter, SettingError};
use steadfast_types::Rng;

/// See the module.
#[derive(Debug)]
pub(super) struct WorldHost<'a> {
    pub(super) now_us: u64,
    pub(super) rng: &'a mut Rng,
    pub(super) users: &'a mut Users,
}

impl Host for WorldHost<'_> {
    fn now_us(&self) -> u64 {
        self.now_us
    }

    fn random(&mut self) -> u64 {
        self.rng.u64(..)
    }

    fn secret(&mut self, bytes: &mut [u8]) {
        self.rng.fill(bytes);
    }

    fn users(&self) -> &Users {
        self.users
    }

    fn users_mut(&mut self) -> &mut Users {
        self.users
    }

    fn address(&self, _client: u64) -> Option<IpAddr> {
        None
    }

    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn change_settings(&mut self, _changes: &[(String, String)]) -> Result<(), (String, SettingError)> {
        Ok(())
    }

    fn reset_counts(&mut self) {}

    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn clients(&self) -> Vec<ClientInfo> {
        Vec::new()
    }

    fn kill(&mut self, _filter: &KillFilter) -> usize {
        0
    }

    fn acknowledged(&self, _write: Version) -> usize {
        0
    }

    fn replicas(&self) -> usize {
        0
    }
}
