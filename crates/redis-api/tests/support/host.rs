//! A process for tests: its clock stands where it is set.

use steadfast_redis_api::engine::host::{ClientInfo, Facts, Host, KillFilter, SettingError, User};

/// See the module.
#[derive(Debug, Default)]
pub struct TestHost {
    pub now_us: u64,
    pub random: u64,
    pub password: Option<String>,
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

    fn wants_password(&self) -> bool {
        self.password.is_some()
    }

    fn authenticate(&mut self, user: &str, password: &[u8]) -> Option<User> {
        let is_right = user == "default" && self.password.as_ref().is_none_or(|right| right.as_bytes() == password);
        is_right.then(|| User { name: user.to_owned() })
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

    fn acknowledged(&self, _client: u64) -> usize {
        0
    }
}
