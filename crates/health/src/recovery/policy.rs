//! What recovery may do by itself, how soon, and how much of it at once.

use core::time::Duration;

use super::observed::Role;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The plan runs by itself.
    Automatic,
    /// The plan waits before its fence until a person agrees.
    AfterApproval,
}

/// The policy for one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Who decides.
    pub mode: Mode,
    /// For how long the subject must have been failed: what comes back soon is not worth a plan.
    pub delay: Duration,
}

/// The policy of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For voters: replaced by a spare.
    pub voters: Rule,
    /// For learners and spares: removed.
    pub others: Rule,
    /// For agents: removed.
    pub agents: Rule,
    /// For services: started anew where they run.
    pub services: Rule,
    /// The brake: how many plans may be at work at the same time.
    pub concurrent: usize,
    /// The brake against mass eviction: no new plan while more than this share of all nodes is failed. Then the network, or the one who judges,
    /// is likelier at fault than they. Kubernetes has 55.
    pub halt_above_percent: usize,
    /// How often a step is begun before its plan is given up.
    pub attempts: u32,
    /// How many plans of a subject may fail in a row before a person must look.
    pub failed_plans: usize,
}

impl Default for Policy {
    fn default() -> Self {
        let rule = |delay_s| Rule { mode: Mode::Automatic, delay: Duration::from_secs(delay_s) };
        Policy {
            voters: rule(60),
            others: rule(300),
            agents: rule(300),
            services: rule(5),
            concurrent: 2,
            halt_above_percent: 55,
            attempts: 20,
            failed_plans: 3,
        }
    }
}

impl Policy {
    /// The rule for a role.
    #[must_use]
    pub fn rule(&self, role: Role) -> Rule {
        match role {
            Role::Voter => self.voters,
            Role::Learner | Role::Spare => self.others,
            Role::Agent => self.agents,
            Role::Service => self.services,
        }
    }
}
