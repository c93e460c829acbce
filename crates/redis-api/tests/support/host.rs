//! A process for tests: its clock stands where it is set.

use std::net::IpAddr;

use steadfast_crdt::Version;
use steadfast_redis_api::acl::users::Users;
use steadfast_redis_api::engine::host::{ClientInfo, Facts, Host, KillFilter, SettingError};

/// See the module.
#[derive(Debug, Default)]
pub struct TestHost {
    pub now_us: u64,
    pub random: u64,
    pub users: Users,
    pub address: Option<IpAddr>,
    /// Keys that begin so are registers.
    pub registers: Option<Vec<u8>>,
    /// Keys that begin so are about to become registers.
    pub closed: Option<Vec<u8>>,
    pub replicas: usize,
    pub acknowledged: usize,
    pub settings: Vec<(String, String)>,
    pub clients: Vec<ClientInfo>,
    pub killed: Vec<KillFilter>,
}

impl Host for TestHost {
    fn now_us(&self) -> u64 {
        self.now_us
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random ^ (self.random >> 29)
    }

    fn secret(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.random() as u8);
    }

    fn users(&self) -> &Users {
        &self.users
    }

    fn users_mut(&mut self) -> &mut Users {
        &mut self.users
    }

    fn address(&self, _client: u64) -> Option<IpAddr> {
        self.address
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }

    fn change_settings(&mut self, changes: &[(String, String)]) -> Result<(), (String, SettingError)> {
        for (name, value) in changes {
            let setting = self.settings.iter_mut().find(|(known, _)| known == name).ok_or((name.clone(), SettingError::Unknown))?;
            setting.1.clone_from(value);
        }
        Ok(())
    }

    fn reset_counts(&mut self) {}

    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn clients(&self) -> Vec<ClientInfo> {
        self.clients.clone()
    }

    fn kill(&mut self, filter: &KillFilter) -> usize {
        self.killed.push(filter.clone());
        0
    }

    fn acknowledged(&self, _write: Version) -> usize {
        self.acknowledged
    }

    fn replicas(&self) -> usize {
        self.replicas
    }

    fn has_registers(&self) -> bool {
        self.registers.is_some() || self.closed.is_some()
    }

    fn is_register(&self, key: &[u8]) -> bool {
        self.registers.as_ref().is_some_and(|prefix| key.starts_with(prefix))
    }

    fn is_closed(&self, key: &[u8]) -> bool {
        self.closed.as_ref().is_some_and(|prefix| key.starts_with(prefix))
    }
}
