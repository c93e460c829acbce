//! The file `IDENTITY` of a data directory.

use std::fs;
use std::path::Path;

use steadfast_server::identity::{Directory, Identity, IdentityError};
use tempfile::TempDir;

use super::script::Script;

thread_local! {
    /// One directory for all inputs of a thread: only the one file in it changes.
    static DIRECTORY: TempDir = tempfile::tempdir().expect("a temporary directory");
}

/// The first byte says whether the rest is the whole file, or its body, to be given a sound first line.
pub fn check(input: &[u8]) {
    DIRECTORY.with(|directory| check_in(directory.path(), &mut Script::new(input)));
}

fn check_in(directory: &Path, script: &mut Script<'_>) {
    let file = match script.byte() {
        0 => script.rest().to_vec(),
        _ => sealed(script.rest()),
    };
    fs::write(directory.join("IDENTITY"), file).expect("the temporary directory takes files");
    let Some(identity) = open(directory) else { return };
    assert_eq!(open(directory), Some(identity.clone()), "read twice");
    let mut opened = Directory::open(directory, &identity.name, &identity.address).expect("it was just opened");
    opened.move_to("elsewhere:1").expect("the temporary directory takes files");
    drop(opened);
    let moved = Identity { address: "elsewhere:1".into(), ..identity };
    assert_eq!(open(directory), Some(moved), "what is written is read back");
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let first = format!("steadfast identity 1 {:08x}\n", crc32c::crc32c(body));
    [first.as_bytes(), body].concat()
}

/// The identity in the directory, whatever its name and address; `None` if the file is refused.
fn open(directory: &Path) -> Option<Identity> {
    let (mut name, mut address) = ("a".to_owned(), "a:1".to_owned());
    // The first refusal may be for the name, the next for the address.
    for _ in 0..3 {
        match Directory::open(directory, &name, &address) {
            Ok(opened) => return Some(opened.identity().clone()),
            Err(IdentityError::OtherName { found, .. }) => name = found,
            Err(IdentityError::OtherAddress { found, .. }) => address = found,
            Err(IdentityError::Damaged { .. } | IdentityError::Newer { .. }) => return None,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("refused again with the name and address that it was refused for");
}
