//! Who asks: clients without a name, with a certificate, or with a signed token, and what the server in front of a node makes of that.
//!
//! As in the server, a command carries its caller into the log and is judged there; if rights changed while it was under way, the caller is
//! looked up again and the command proposed once more. A read is judged by the rights that are published, and once more if they have changed
//! by the time it has been read.

use std::collections::BTreeMap;
use std::sync::Arc;

use steadfast_node::{Answer as NodeAnswer, RequestBody};
use steadfast_proof::auth::{Attempt, Caller, Denial, ROOT};
use steadfast_proof::history::{Answer, Request};
use steadfast_state::Response;
use steadfast_state::auth::{Auth, AuthError, Authorized, Caller as StateCaller};
use steadfast_state::command::{Command, CommandError};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::time::Duration;
use steadfast_types::{NodeId, Rng};

use super::Cluster;
use super::administrator::{KEEPER, USERS};
use super::event::Step;
use super::lockers;
use crate::network::between;
use crate::workload::OperationNumber;

/// How often a request is tried again because rights changed meanwhile, as in the server.
const ATTEMPTS: u32 = 16;

/// All clients' names, and the requests that are under way in their names.
#[derive(Default)]
pub(super) struct Callers {
    identities: Vec<Identity>,
    asked: BTreeMap<OperationNumber, Asked>,
    /// What was answered, to whom.
    pub(super) attempts: Vec<Attempt>,
}

/// Who a client is.
enum Identity {
    Nobody,
    Certified(&'static str),
    /// The auth revision that its token is good for, if it has one.
    Bearer(&'static str, Option<u64>),
}

/// A request under way.
struct Asked {
    caller: Caller,
    /// To be proposed again, if its caller must be looked up again.
    command: Option<Command>,
    stage: Stage,
    attempts: u32,
    patience: Duration,
    denied: Option<AuthError>,
}

enum Stage {
    /// The node has not answered yet.
    Asked,
    /// The node brings itself up to date; then the command is proposed again.
    Renewing,
    /// A read is allowed by these rights, and is being done.
    Allowed(Arc<Auth>),
}

impl Callers {
    /// Draws who the clients are.
    pub(super) fn draw(clients: usize, rng: &mut Rng) -> Self {
        let mut name = || USERS[rng.usize(0..USERS.len())];
        let names: Vec<&'static str> = (0..clients).map(|_| name()).collect();
        let mut identity = |name| match rng.u8(0..16) {
            0 => Identity::Nobody,
            1 => Identity::Certified(ROOT),
            2..9 => Identity::Certified(name),
            _ => Identity::Bearer(name, None),
        };
        Callers { identities: names.into_iter().map(&mut identity).collect(), ..Callers::default() }
    }

    /// Whether a client is to ask for a token now.
    pub(super) fn wants_token(&self, client: usize, rng: &mut Rng) -> bool {
        match self.identities.get(client) {
            Some(Identity::Bearer(_, None)) => rng.bool(),
            Some(Identity::Bearer(_, Some(_))) => rng.u8(0..20) == 0,
            Some(Identity::Nobody | Identity::Certified(_)) | None => false,
        }
    }

    /// In whose name a client asks. Clients beyond those of the load are operators.
    fn caller(&self, client: usize, request: &Request) -> Caller {
        match self.identities.get(client) {
            Some(Identity::Nobody) => Caller::Nobody,
            Some(Identity::Certified(name)) => Caller::Named((*name).to_owned()),
            Some(Identity::Bearer(name, _)) if *request == Request::Authenticate => Caller::Named((*name).to_owned()),
            Some(Identity::Bearer(name, Some(revision))) => Caller::Token { user: (*name).to_owned(), revision: *revision },
            Some(Identity::Bearer(_, None)) => Caller::Nobody,
            None if lockers::locker(client).is_some() => Caller::Named(KEEPER.to_owned()),
            None => Caller::Named(ROOT.to_owned()),
        }
    }

    /// A client waits for its request no longer. Gives why it was refused, if it was for want of rights or for what users and roles are.
    pub(super) fn answered(&mut self, number: OperationNumber, client: usize, answer: Option<&Answer>) -> Option<AuthError> {
        let Asked { caller, denied, .. } = self.asked.remove(&number)?;
        let denied = denied.filter(|_| answer == Some(&Answer::Refused));
        if let Some(Identity::Bearer(_, token)) = self.identities.get_mut(client) {
            match (answer, denied) {
                (Some(Answer::Token { revision }), _) => *token = Some(*revision),
                (_, Some(AuthError::OldRevision)) => *token = None,
                _ => {}
            }
        }
        if answer.is_some() {
            self.attempts.push(Attempt { operation: number.0, caller, denied: denied.and_then(denial) });
        }
        denied
    }
}

/// A refusal for want of rights; the others say what users and roles are.
fn denial(error: AuthError) -> Option<Denial> {
    match error {
        AuthError::PermissionDenied => Some(Denial::PermissionDenied),
        AuthError::OldRevision => Some(Denial::OldRevision),
        AuthError::UserEmpty => Some(Denial::Nobody),
        AuthError::NotEnabled => Some(Denial::NotEnabled),
        AuthError::Failed => Some(Denial::NoUser),
        AuthError::RootUserMissing
        | AuthError::RootRoleMissing
        | AuthError::UserExists
        | AuthError::UserNotFound
        | AuthError::RoleExists
        | AuthError::RoleNotFound
        | AuthError::RoleEmpty
        | AuthError::NoPasswordUser
        | AuthError::PermissionNotGiven
        | AuthError::RoleNotGranted
        | AuthError::PermissionNotGranted
        | AuthError::InvalidManagement => None,
    }
}

/// A caller as the state knows it, by the rights of now.
fn known(caller: &Caller, auth: &Auth) -> Option<StateCaller> {
    match caller {
        Caller::Nobody => None,
        Caller::Named(name) => auth.is_enabled().then(|| auth.caller(name)),
        Caller::Token { user, revision } => Some(StateCaller { user: user.clone(), auth_revision: *revision }),
    }
}

impl Cluster {
    /// A client has sent a request, in its name.
    pub(super) fn note_caller(&mut self, number: OperationNumber) {
        if self.swarm.auth {
            let operation = self.workload.operation(number);
            let caller = self.callers.caller(operation.client, &operation.request);
            let asked = Asked { caller, command: None, stage: Stage::Asked, attempts: ATTEMPTS, patience: Duration::ZERO, denied: None };
            self.callers.asked.insert(number, asked);
        }
    }

    /// A request comes in at a node that runs.
    pub(super) fn ask_as(&mut self, node: NodeId, number: OperationNumber, body: RequestBody, patience: Duration) {
        let RequestBody::Propose(command) = body else { return self.ask(node, number, body, patience) };
        let Some(asked) = self.callers.asked.get_mut(&number) else {
            return self.ask(node, number, RequestBody::Propose(command), patience);
        };
        (asked.patience, asked.command) = (patience, Some(command));
        self.propose_as(node, number);
    }

    /// Proposes a command in the name of its caller, as the node knows it now.
    fn propose_as(&mut self, node: NodeId, number: OperationNumber) {
        let Some(asked) = self.callers.asked.get_mut(&number) else { return };
        let Some(command) = asked.command.clone() else { return };
        asked.stage = Stage::Asked;
        let auth = self.machines.get(&node).and_then(|machine| machine.node()).map(|node| node.reader().auth());
        let caller = auth.as_ref().and_then(|auth| known(&asked.caller, auth));
        let patience = asked.patience;
        let command = match caller {
            Some(caller) => {
                if is_planted(Bug::RightsCheckedOnArrival)
                    && let (Some(auth), Command::Put(put)) = (&auth, &command)
                    && let Err(error) = auth.permit_write(Some(&caller), &steadfast_state::command::KeySpan::single(put.key.clone()))
                {
                    return self.deny(number, error);
                }
                Authorized::command(caller, command)
            }
            None => command,
        };
        self.ask(node, number, RequestBody::Propose(command), patience);
    }

    /// Takes an answer that says that the caller may not, or must be looked up again. Gives it back if it is another.
    pub(super) fn refused_as(&mut self, node: NodeId, number: OperationNumber, answer: NodeAnswer) -> Option<NodeAnswer> {
        if !self.swarm.auth {
            return Some(answer);
        }
        let is_renewing = self.callers.asked.get(&number).is_some_and(|asked| matches!(asked.stage, Stage::Renewing));
        match answer {
            NodeAnswer::Readable if is_renewing => self.propose_as(node, number),
            NodeAnswer::Applied(Response { result: Err(CommandError::Auth(error)), .. }) => {
                let asked = self.callers.asked.get_mut(&number)?;
                let is_old = matches!(error, AuthError::OldRevision | AuthError::UserEmpty);
                if is_old && matches!(asked.caller, Caller::Named(_)) && asked.attempts > 0 {
                    (asked.stage, asked.attempts) = (Stage::Renewing, asked.attempts - 1);
                    let patience = asked.patience;
                    self.ask(node, number, RequestBody::Linearize, patience);
                } else {
                    self.deny(number, error);
                }
            }
            answer => return Some(answer),
        }
        None
    }

    /// A request is refused; nothing was done.
    fn deny(&mut self, number: OperationNumber, error: AuthError) {
        if let Some(asked) = self.callers.asked.get_mut(&number) {
            asked.denied = Some(error);
            self.counts.denied += 1;
            self.reply(number, Some(Answer::Refused));
        }
    }

    /// What a node's reader says of users and roles comes first. Whether the read may be answered now, with what it has read in between.
    pub(super) fn may_answer_read(&mut self, node: NodeId, number: OperationNumber, auth: &Arc<Auth>) -> bool {
        if !self.swarm.auth {
            return true;
        }
        let Some(asked) = self.callers.asked.get_mut(&number) else { return false };
        let caller = known(&asked.caller, auth);
        match (std::mem::replace(&mut asked.stage, Stage::Asked), &self.workload.operation(number).request) {
            (_, Request::Authenticate) => {
                self.authenticate(number, auth);
                return false;
            }
            (Stage::Allowed(before), _) if Arc::ptr_eq(&before, auth) => return true,
            _ => {}
        }
        match auth.permit_read(caller.as_ref(), &self.workload.range(number).keys) {
            Ok(()) => {
                asked.stage = Stage::Allowed(auth.clone());
                let delay = between(Duration::ZERO, Duration::from_micros(100), &mut self.machine(node).rng);
                self.step_after(node, delay, Step::Read(number));
            }
            Err(error) => self.deny(number, error),
        }
        false
    }

    /// Passwords are compared elsewhere.
    fn authenticate(&mut self, number: OperationNumber, auth: &Auth) {
        let user = match self.callers.asked.get(&number).map(|asked| &asked.caller) {
            Some(Caller::Named(user)) => auth.user(user),
            Some(Caller::Nobody | Caller::Token { .. }) | None => None,
        };
        match user {
            _ if !auth.is_enabled() => self.deny(number, AuthError::NotEnabled),
            None => self.deny(number, AuthError::Failed),
            Some(_) => self.reply(number, Some(Answer::Token { revision: auth.revision() })),
        }
    }
}
