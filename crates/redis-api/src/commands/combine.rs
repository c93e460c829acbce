//! Unions, intersections and differences of sets.

use std::collections::BTreeSet;

use crate::engine::call::Call;
use crate::engine::store::{Kind, Store};
use crate::protocol::errors::Failure;

/// How sets are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Combine {
    /// What any has.
    Union,
    /// What all have.
    Inter,
    /// What the first has and no other.
    Diff,
}

/// Which of `keys` are there.
///
/// # Errors
/// If one is no set.
pub(super) fn operands<'a>(call: &Call<'_>, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<(&'a [u8], bool)>, Failure> {
    keys.map(|key| Ok((key, call.has(key, Kind::Set)?))).collect()
}

/// The members of the sets together; at most `limit`, if they are what all have.
pub(super) fn combine(store: &dyn Store, how: Combine, operands: &[(&[u8], bool)], limit: usize) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    match how {
        Combine::Union => {
            for (key, _) in operands.iter().filter(|(_, is_there)| *is_there) {
                store.set_each(key, &mut |member| {
                    found.insert(member.to_vec());
                });
            }
        }
        Combine::Inter if operands.iter().any(|(_, is_there)| !is_there) => {}
        Combine::Inter => {
            let Some((smallest, _)) = operands.iter().min_by_key(|(key, _)| store.set_len(key)) else { return found };
            store.set_each(smallest, &mut |member| {
                if found.len() < limit && operands.iter().all(|(key, _)| key == smallest || store.set_has(key, member)) {
                    found.insert(member.to_vec());
                }
            });
        }
        Combine::Diff => {
            let Some(((first, true), others)) = operands.split_first() else { return found };
            store.set_each(first, &mut |member| {
                if !others.iter().any(|(key, is_there)| *is_there && store.set_has(key, member)) {
                    found.insert(member.to_vec());
                }
            });
        }
    }
    found
}
