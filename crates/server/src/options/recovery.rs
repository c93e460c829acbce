//! Which recovery plans are made, how soon, and who decides.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steadfast_health::recovery::policy::{Mode, Policy, Rule};

use super::autopilot::time;
use super::{OptionsError, ServerOptions, wrong};

/// Who decides about recovery plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Nobody: they are carried out by themselves.
    #[default]
    Automatic,
    /// A person: each waits for `steadfast recovery approve` before its first step that can't be taken back.
    Manual,
}

impl FromStr for Approval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "automatic" => Ok(Approval::Automatic),
            "manual" => Ok(Approval::Manual),
            _ => Err("neither `automatic` nor `manual`".to_owned()),
        }
    }
}

/// Who decides about the plans of each role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Approvals {
    /// Voters are replaced.
    pub voters: Approval,
    /// Learners and spares are removed.
    pub others: Approval,
    /// Agents are removed.
    pub agents: Approval,
    /// Services are started anew.
    pub services: Approval,
}

impl Approvals {
    /// The same for all.
    #[must_use]
    pub fn all(approval: Approval) -> Self {
        Approvals { voters: approval, others: approval, agents: approval, services: approval }
    }
}

impl FromStr for Approvals {
    type Err = String;

    /// One word for all, or `ROLE=WORD,…`; a role that is not named is automatic.
    fn from_str(text: &str) -> Result<Self, String> {
        const REMEDY: &str =
            "write `automatic`, `manual`, or a list like `voters=manual,services=automatic` of voters, others, agents and services";
        if !text.contains('=') {
            return text.parse().map(Approvals::all).map_err(|error| format!("{error}: {REMEDY}"));
        }
        let (mut approvals, mut named) = (Approvals::default(), Vec::new());
        for part in text.split(',') {
            let (role, word) = part.split_once('=').ok_or_else(|| format!("`{part}` names no role: {REMEDY}"))?;
            let approval = word.parse().map_err(|error| format!("{role} is {error}: {REMEDY}"))?;
            let place = match role {
                "voters" => &mut approvals.voters,
                "others" => &mut approvals.others,
                "agents" => &mut approvals.agents,
                "services" => &mut approvals.services,
                _ => return Err(format!("`{role}` is no role: {REMEDY}")),
            };
            if named.contains(&role) {
                return Err(format!("`{role}` is named twice: {REMEDY}"));
            }
            (*place, _) = (approval, named.push(role));
        }
        Ok(approvals)
    }
}

impl TryFrom<String> for Approvals {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Approvals> for String {
    fn from(approvals: Approvals) -> String {
        let word = |approval| match approval {
            Approval::Automatic => "automatic",
            Approval::Manual => "manual",
        };
        let Approvals { voters, others, agents, services } = approvals;
        match approvals == Approvals::all(voters) {
            true => word(voters).to_owned(),
            false => {
                format!("voters={},others={},agents={},services={}", word(voters), word(others), word(agents), word(services))
            }
        }
    }
}

pub(super) fn voters_after() -> String {
    humantime::format_duration(Policy::default().voters.delay).to_string()
}

pub(super) fn others_after() -> String {
    humantime::format_duration(Policy::default().others.delay).to_string()
}

pub(super) fn agents_after() -> String {
    humantime::format_duration(Policy::default().agents.delay).to_string()
}

pub(super) fn services_after() -> String {
    humantime::format_duration(Policy::default().services.delay).to_string()
}

impl ServerOptions {
    /// What recovery may do by itself. What is never to be done has a delay without end.
    ///
    /// # Errors
    /// If a time is not of its form, or a dead voter is to be replaced in two ways.
    pub fn recovery(&self) -> Result<Policy, OptionsError> {
        const VOTERS: &str = "recover-voters-after";
        let Approvals { voters: of_voters, others: of_others, agents: of_agents, services: of_services } = self.recovery_approval;
        let voters = time(VOTERS, &self.recover_voters_after)?;
        let others = time("recover-others-after", &self.recover_others_after)?;
        let agents = time("recover-agents-after", &self.recover_agents_after)?;
        let services = time("recover-services-after", &self.recover_services_after)?;
        if voters.is_some() && self.autopilot()?.replace_after.is_some() {
            return Err(wrong(
                VOTERS,
                "--replace-dead-voters-after is given too, and both replace dead voters",
                "leave that one out, or give --recover-voters-after 0",
            ));
        }
        let mode = |approval| match approval {
            Approval::Automatic => Mode::Automatic,
            Approval::Manual => Mode::AfterApproval,
        };
        let rule = |delay: Option<Duration>, approval| Rule { mode: mode(approval), delay: delay.unwrap_or(Duration::MAX) };
        Ok(Policy {
            voters: rule(voters, of_voters),
            others: rule(others, of_others),
            agents: rule(agents, of_agents),
            services: rule(services, of_services),
            ..Policy::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hand_replaces_dead_voters() {
        let options = ServerOptions::local("n1", "/data");
        let policy = options.recovery().expect("the defaults fit together");
        assert_eq!(policy, Policy::default());
        let both = ServerOptions { replace_dead_voters_after: "10m".to_owned(), ..options.clone() };
        assert!(both.recovery().expect_err("two ways").to_string().contains("leave that one out"));
        let one = ServerOptions { recover_voters_after: "0".to_owned(), ..both };
        assert_eq!(one.recovery().expect("one way").voters.delay, Duration::MAX);
        let manual =
            ServerOptions { recovery_approval: Approvals::all(Approval::Manual), recover_others_after: "7s".to_owned(), ..options.clone() };
        let policy = manual.recovery().expect("fine");
        assert_eq!(
            (policy.voters.mode, policy.others),
            (Mode::AfterApproval, Rule { mode: Mode::AfterApproval, delay: Duration::from_secs(7) })
        );
        let some = "voters=manual,agents=automatic".parse().expect("a list");
        let policy =
            ServerOptions { recovery_approval: some, recover_agents_after: "9s".to_owned(), ..options.clone() }.recovery().expect("fine");
        assert_eq!((policy.voters.mode, policy.agents.mode, policy.services.mode), (Mode::AfterApproval, Mode::Automatic, Mode::Automatic));
        assert_eq!(policy.agents.delay, Duration::from_secs(9));
        assert_eq!(String::from(some).parse(), Ok(some), "as it is written it is read");
        for (text, said) in [
            ("never", "neither `automatic` nor `manual`: write"),
            ("voters=manual,spares=manual", "`spares` is no role: write"),
            ("voters=perhaps", "voters is neither `automatic` nor `manual`"),
            ("voters=manual,voters=automatic", "`voters` is named twice"),
            ("voters=manual,agents", "`agents` names no role"),
        ] {
            let error = text.parse::<Approvals>().expect_err(text);
            assert!(error.contains(said) && error.contains("voters=manual,services=automatic"), "{text}: {error}");
        }
        let wrong = ServerOptions { recover_voters_after: "soon".to_owned(), ..options };
        assert!(wrong.validate().expect_err("not a time").to_string().starts_with("recover-voters-after: `soon` is not a time"));
    }
}
