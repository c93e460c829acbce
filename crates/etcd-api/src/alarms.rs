//! Maintenance's Alarm call, and alarms as clients are shown them.

use steadfast_state::alarm::{Alarm, AlarmChange, AlarmKind};
use steadfast_state::auth::{Auth, Caller};
use steadfast_state::command::{Command, Outcome};
use steadfast_types::{NodeId, Revision};
use tonic::Status;

use crate::api::Api;
use crate::auth::Credentials;
use crate::backend::Backend;
use crate::errors;
use crate::proto::etcdserverpb as pb;
use pb::alarm_request::AlarmAction;

/// The name that etcd has for it.
pub(crate) fn name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}

/// As etcd's Status says it, with the space at its end.
pub(crate) fn text(alarm: Alarm) -> String {
    format!("memberID:{} alarm:{} ", alarm.member.0, name(alarm.kind))
}

fn message(alarm: Alarm) -> pb::AlarmMember {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    };
    pb::AlarmMember { member_id: alarm.member.0, alarm: kind.into() }
}

/// The kind asked for; `None`: none in particular. etcd 3.5.1 dies of kinds and actions that do not exist.
fn kind(request: &pb::AlarmRequest) -> Result<Option<AlarmKind>, Status> {
    match pb::AlarmType::try_from(request.alarm) {
        Ok(pb::AlarmType::None) => Ok(None),
        Ok(pb::AlarmType::Nospace) => Ok(Some(AlarmKind::NoSpace)),
        Ok(pb::AlarmType::Corrupt) => Ok(Some(AlarmKind::Corrupt)),
        Err(_) => Err(Status::invalid_argument(format!("steadfast: there is no alarm {}; 1 is NOSPACE, 2 is CORRUPT", request.alarm))),
    }
}

impl<B: Backend> Api<B> {
    /// Lists, raises or clears alarms. etcd 3.5.1 lets anybody do all of it, later ones ask as here.
    pub(crate) async fn alarms(&self, who: &Credentials, request: pb::AlarmRequest) -> Result<pb::AlarmResponse, Status> {
        let kind = kind(&request)?;
        let alarm = kind.map(|kind| Alarm { kind, member: NodeId(request.member_id) });
        let (revision, alarms) = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => {
                self.backend().linearize().await?;
                // Anybody may look, but not by a token that is none.
                self.permit(who, |_: &Auth, _: Option<&Caller>| Ok(())).await?;
                let all = self.backend().alarms().map_err(errors::command)?.all;
                (self.backend().revision(), all.into_iter().filter(|alarm| kind.is_none_or(|kind| kind == alarm.kind)).collect())
            }
            Ok(AlarmAction::Activate) => self.change_alarm(who, alarm.map(|alarm| AlarmChange::Raise { alarm, by_hand: true })).await?,
            Ok(AlarmAction::Deactivate) => self.change_alarm(who, alarm.map(|alarm| AlarmChange::Clear { alarm, raised_at: None })).await?,
            Err(_) => {
                let problem = format!("steadfast: there is no action {}; 0 is GET, 1 is ACTIVATE, 2 is DEACTIVATE", request.action);
                return Err(Status::invalid_argument(problem));
            }
        };
        Ok(pb::AlarmResponse { header: Some(self.header(revision)), alarms: alarms.into_iter().map(message).collect() })
    }

    /// To change an alarm of no kind changes nothing.
    async fn change_alarm(&self, who: &Credentials, change: Option<AlarmChange>) -> Result<(Revision, Vec<Alarm>), Status> {
        let Some(change) = change else {
            self.permit(who, |auth: &Auth, caller: Option<&Caller>| auth.permit_admin(caller)).await?;
            return Ok((self.backend().revision(), Vec::new()));
        };
        let (revision, Outcome::Alarms(alarms)) = self.propose(who, Command::Alarm(change), 0).await? else {
            return Err(errors::unexpected_outcome());
        };
        Ok((revision, alarms))
    }
}
