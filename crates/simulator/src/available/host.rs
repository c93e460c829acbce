//! The process that commands run in: its wall clock, and chance.

use steadfast_redis_api::engine::host::{ClientInfo, Facts, Host, KillFilter, SettingError, User};
use steadfast_types::Rng;

/// See the module.
#[derive(Debug)]
pub(super) struct WorldHost<'a> {
    pub(super) now_us: u64,
    pub(super) rng: &'a mut Rng,
}

impl Host for WorldHost<'_> {
    fn now_us(&self) -> u64 {
        self.now_us
    }

    fn random(&mut self) -> u64 {
        self.rng.u64(..)
    }

    fn wants_password(&self) -> bool {
        false
    }

    fn authenticate(&mut self, _user: &str, _password: &[u8]) -> Option<User> {
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

    fn acknowledged(&self, _client: u64) -> usize {
        0
    }
}
