//! The form of the file `IDENTITY`: one line `steadfast identity FORMAT CHECKSUM`, then JSON, so that a person can read it. The checksum
//! (CRC32C, hexadecimal) is of all that comes after the line.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use steadfast_types::{ClusterId, Level, NodeId};

use super::{FORMAT, Identity, IdentityError, Membership, Restored, unusable};
use crate::genesis::{Founder, Genesis};

pub(super) const FILE: &str = "IDENTITY";
pub(super) const TEMPORARY: &str = "IDENTITY.tmp";
const TITLE: &str = "steadfast identity";

/// Makes this the directory's identity.
pub(super) fn write(directory: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let body = serde_json::to_string_pretty(&Body::from(identity)).expect("an identity is plain data");
    let text = format!("{TITLE} {FORMAT} {:08x}\n{body}\n", crc32c::crc32c(format!("{body}\n").as_bytes()));
    replace(directory, (FILE, TEMPORARY), &text)
}

/// Writes `text` beside the file of this name, makes it durable, and puts it in that one's place.
pub(crate) fn replace(directory: &Path, (name, temporary): (&str, &str), text: &str) -> Result<(), IdentityError> {
    let (path, temporary) = (directory.join(name), directory.join(temporary));
    let replace = || {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    };
    replace().map_err(|reason| unusable("write", &path, reason))
}

pub(super) fn read(directory: &Path) -> Result<Option<Identity>, IdentityError> {
    let path = directory.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(unusable("read", &path, reason)),
    };
    parse(&bytes).map(Some).map_err(|unreadable| match unreadable {
        Unreadable::Damaged(what) => IdentityError::Damaged { path: path.display().to_string(), what },
        Unreadable::Newer(found) => IdentityError::Newer { path: path.display().to_string(), found },
    })
}

enum Unreadable {
    Damaged(String),
    Newer(u32),
}

fn parse(bytes: &[u8]) -> Result<Identity, Unreadable> {
    let damaged = |what: &str| Unreadable::Damaged(what.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
    let (first, body) = text.split_once('\n').ok_or_else(|| damaged("cut short"))?;
    let (format, checksum) = first
        .strip_prefix(TITLE)
        .and_then(|rest| rest.trim_start().split_once(' '))
        .and_then(|(format, checksum)| Some((format.parse::<u32>().ok().filter(|format| *format > 0)?, checksum)))
        .ok_or_else(|| damaged("its first line is not one of an identity"))?;
    if format > FORMAT {
        return Err(Unreadable::Newer(format));
    }
    if u32::from_str_radix(checksum, 16) != Ok(crc32c::crc32c(body.as_bytes())) {
        return Err(damaged("its checksum does not fit"));
    }
    let body: Body = serde_json::from_str(body).map_err(|error| Unreadable::Damaged(error.to_string()))?;
    Identity::try_from(body).map_err(damaged)
}

/// The file's form. Ids are hexadecimal text, since readers of JSON round large numbers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Body {
    node: String,
    nonce: String,
    name: String,
    address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restored: Option<RestoredBody>,
    /// Of agents alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    agent: bool,
    membership: Option<MembershipBody>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RestoredBody {
    hash: String,
    token: String,
    members: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct MembershipBody {
    cluster: String,
    token: String,
    founders: Vec<PlaceBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<String>,
    /// Absent: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<u8>,
    contacts: Vec<PlaceBody>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PlaceBody {
    node: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    address: String,
}

impl From<&Identity> for Body {
    fn from(identity: &Identity) -> Self {
        Body {
            node: identity.node.to_string(),
            nonce: format!("{:x}", identity.nonce),
            name: identity.name.clone(),
            address: identity.address.clone(),
            restored: identity.restored.as_ref().map(|restored| RestoredBody {
                hash: format!("{:x}", restored.hash),
                token: restored.token.clone(),
                members: restored.members.clone(),
            }),
            agent: identity.is_agent,
            membership: identity.membership.as_ref().map(MembershipBody::from),
        }
    }
}

impl From<&Membership> for MembershipBody {
    fn from(membership: &Membership) -> Self {
        let place = |node: &NodeId, name: &str, address: &str| PlaceBody {
            node: node.to_string(),
            name: name.to_owned(),
            address: address.to_owned(),
        };
        MembershipBody {
            cluster: membership.cluster.to_string(),
            token: membership.genesis.token().to_owned(),
            founders: membership.genesis.founders().iter().map(|f| place(&f.node, &f.name, &f.address)).collect(),
            seed: membership.genesis.seed().map(|seed| format!("{seed:x}")),
            level: Some(membership.genesis.level()).filter(|level| *level > Level::FIRST).map(|level| level.0),
            contacts: membership.contacts.iter().map(|(node, address)| place(node, "", address)).collect(),
        }
    }
}

fn number(text: &str) -> Result<u64, &'static str> {
    u64::from_str_radix(text, 16).map_err(|_| "an id is not hexadecimal")
}

impl TryFrom<Body> for Identity {
    type Error = &'static str;

    fn try_from(body: Body) -> Result<Self, &'static str> {
        Ok(Identity {
            node: NodeId(number(&body.node)?),
            nonce: number(&body.nonce)?,
            name: body.name,
            address: body.address,
            restored: body.restored.map(Restored::try_from).transpose()?,
            is_agent: body.agent,
            membership: body.membership.map(Membership::try_from).transpose()?,
        })
    }
}

impl TryFrom<RestoredBody> for Restored {
    type Error = &'static str;

    fn try_from(body: RestoredBody) -> Result<Self, &'static str> {
        Ok(Restored { hash: number(&body.hash)?, token: body.token, members: body.members })
    }
}

impl TryFrom<MembershipBody> for Membership {
    type Error = &'static str;

    fn try_from(body: MembershipBody) -> Result<Self, &'static str> {
        let founder = |place: PlaceBody| Ok(Founder { name: place.name, address: place.address, node: NodeId(number(&place.node)?) });
        let founders = body.founders.into_iter().map(founder).collect::<Result<Vec<_>, &'static str>>()?;
        let contact = |place: PlaceBody| Ok((NodeId(number(&place.node)?), place.address));
        let contacts = body.contacts.into_iter().map(contact).collect::<Result<_, &'static str>>()?;
        let seed = body.seed.as_deref().map(number).transpose()?;
        let level = body.level.map_or(Level::FIRST, Level);
        let genesis = Genesis::new(&body.token, founders, level).with_seed(seed);
        match ClusterId(number(&body.cluster)?) {
            cluster if cluster == genesis.cluster() => Ok(Membership { cluster, genesis, contacts }),
            _ => Err("its cluster id is not that of its founders"),
        }
    }
}
