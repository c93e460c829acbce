//! A directory keeps its identity, and one that is not ours is refused in words that help.

use steadfast_types::Level;

use super::*;
use crate::genesis::Founder;

fn settled(path: &Path) -> Identity {
    let mut directory = Directory::open(path, "n1", "h:1").unwrap();
    let node = directory.identity().node;
    let genesis = Genesis::new("token", [Founder { name: "n1".into(), address: "h:1".into(), node }], Level::NEWEST);
    directory.settle(node, Membership::of_founder(genesis)).unwrap();
    directory.identity().clone()
}

#[test]
fn an_identity_lasts_and_an_emptied_directory_gets_another() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a").join("data");
    let first = Directory::open(&path, "n1", "h:1").unwrap().identity().clone();
    assert_eq!(*Directory::open(&path, "n1", "h:1").unwrap().identity(), first);
    let formed = settled(&path);
    assert_eq!((formed.node, formed.nonce), (first.node, first.nonce));
    assert_eq!(*Directory::open(&path, "n1", "h:1").unwrap().identity(), formed);
    fs::remove_dir_all(&path).unwrap();
    assert_ne!(Directory::open(&path, "n1", "h:1").unwrap().identity().node, first.node);
}

#[test]
fn another_nodes_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    settled(home.path());
    let error = |name, address| Directory::open(home.path(), name, address).unwrap_err().to_string();
    assert!(error("n2", "h:1").contains("belongs to node `n1`, not to `n2`; start with --name n1"), "{}", error("n2", "h:1"));
    assert!(error("n1", "h:2").contains("start with --advertise-peer h:1"), "{}", error("n1", "h:2"));
    let mut directory = Directory::open(home.path(), "n1", "h:1").unwrap();
    directory.expect_token("token").unwrap();
    assert!(directory.expect_token("other").unwrap_err().to_string().contains("--cluster-token token"));
    assert!(error("n1", "h:1").contains("is in use by another process"), "{}", error("n1", "h:1"));
    directory.move_to("h:2").unwrap();
    drop(directory);
    Directory::open(home.path(), "n1", "h:2").unwrap();
}

#[test]
fn every_damaged_byte_is_noticed() {
    let home = tempfile::tempdir().unwrap();
    let whole = settled(home.path());
    let file = home.path().join(FILE);
    let good = fs::read(&file).unwrap();
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 1;
        fs::write(&file, &bad).unwrap();
        if let Ok(directory) = Directory::open(home.path(), "n1", "h:1") {
            // A hexadecimal digit of the checksum may change its case; nothing else may pass.
            assert_eq!(*directory.identity(), whole, "byte {position}");
        }
        fs::write(&file, &good[..position]).unwrap();
        assert!(Directory::open(home.path(), "n1", "h:1").is_err(), "cut at {position}");
    }
}

#[test]
fn a_newer_format_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    settled(home.path());
    let file = home.path().join(FILE);
    let text = fs::read_to_string(&file).unwrap().replacen("identity 1 ", "identity 2 ", 1);
    fs::write(&file, &text).unwrap();
    let error = Directory::open(home.path(), "n1", "h:1").unwrap_err().to_string();
    assert!(error.ends_with("was written by a newer Steadfast (format 2, this one knows 1): start it with that version"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn data_without_an_identity_is_not_adopted() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("LOCK"), "").unwrap();
    fs::write(home.path().join("MANIFEST"), "").unwrap();
    let error = Directory::open(home.path(), "n1", "h:1").unwrap_err();
    assert!(matches!(&error, IdentityError::Missing { example, .. } if example == "MANIFEST"), "{error}");
    fs::remove_file(home.path().join("MANIFEST")).unwrap();
    Directory::open(home.path(), "n1", "h:1").unwrap();
}

#[test]
fn an_unusable_directory_is_named() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    fs::write(&path, "").unwrap();
    let error = Directory::open(&path.join("data"), "n1", "h:1").unwrap_err().to_string();
    assert!(error.contains("cannot create") && error.contains("readable and writable"), "{error}");
}

#[test]
fn what_was_restored_is_remembered_and_part_of_what_the_cluster_is() {
    let home = tempfile::tempdir().unwrap();
    let mut directory = Directory::open(home.path(), "n1", "h:1").unwrap();
    directory.restore(Restored { hash: 0xab, token: "token".into(), members: vec![("n1".into(), "h:1".into())] }).unwrap();
    let identity = directory.identity().clone();
    drop(directory);
    let mut directory = Directory::open(home.path(), "n1", "h:1").unwrap();
    assert_eq!(*directory.identity(), identity);
    let founder = Founder { name: "n1".into(), address: "h:1".into(), node: identity.node };
    let empty = Genesis::new("token", [founder.clone()], Level::NEWEST);
    let seeded = empty.clone().with_seed(Some(0xab));
    assert_ne!(empty.cluster(), seeded.cluster());
    assert_ne!(empty.cluster(), Genesis::new("token", [founder], Level::FIRST).cluster());
    assert_ne!(seeded.cluster(), empty.with_seed(Some(0xac)).cluster());
    directory.settle(identity.node, Membership::of_founder(seeded.clone())).unwrap();
    drop(directory);
    let read = Directory::open(home.path(), "n1", "h:1").unwrap().identity().clone();
    assert_eq!(read.membership.unwrap().genesis, seeded);
}
