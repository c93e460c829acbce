//! Files written and read back, of any shape; and files that were damaged in any way.

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use steadfast_bbolt::{Error, PAGE_BYTES, Reader, Writer};

type Content = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

fn written(content: &Content) -> Vec<u8> {
    let mut writer = Writer::new(Cursor::new(Vec::new())).expect("in memory");
    for (name, keys) in content {
        writer.bucket(name).expect("in memory");
        keys.iter().for_each(|(key, value)| writer.put(key, value).expect("in order"));
    }
    writer.finish().expect("in memory").into_inner()
}

fn read(file: &[u8]) -> Result<Content, Error> {
    let reader = Reader::open(file, file.len() as u64)?;
    let mut content = Content::new();
    for name in reader.buckets()? {
        let bucket = reader.bucket(&name)?.expect("it was listed");
        let keys = bucket.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect::<Result<_, _>>()?;
        content.insert(name.to_vec(), keys);
    }
    Ok(content)
}

fn keys(most: usize, value: usize) -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    btree_map(vec(any::<u8>(), 1..40), vec(any::<u8>(), 0..value), 0..most)
}

fn contents() -> impl Strategy<Value = Content> {
    let bucket = prop_oneof![keys(3, 10), keys(400, 60), keys(6, 20_000)];
    btree_map(vec(any::<u8>(), 1..20), bucket, 0..6)
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(content in contents()) {
        let file = written(&content);
        prop_assert_eq!(file.len() % PAGE_BYTES, 0);
        prop_assert_eq!(read(&file).expect("intact"), content);
    }

    /// Every truncation is noticed: no page in use may be missing.
    #[test]
    fn a_file_cut_short_is_refused(content in contents(), at in any::<prop::sample::Index>()) {
        let file = written(&content);
        let cut = &file[..at.index(file.len())];
        prop_assert!(read(cut).is_err());
    }

    /// Changed bytes give other content or an error; neither a panic nor an endless loop.
    #[test]
    fn a_damaged_file_does_no_harm(content in contents(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut file = written(&content);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let _ = read(&file);
    }

    /// The same, where it hurts: in the headers and elements of pages.
    #[test]
    fn damaged_numbers_do_no_harm(content in contents(), changes in vec((any::<prop::sample::Index>(), 0usize..96, any::<u8>()), 1..30)) {
        let mut file = written(&content);
        let pages = file.len() / PAGE_BYTES;
        for (page, at, byte) in changes {
            // The metas have a checksum, which another test is about.
            file[(2 + page.index(pages - 2)) * PAGE_BYTES + at] = byte;
        }
        let _ = read(&file);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..20_000)) {
        prop_assert!(read(&bytes).is_err());
    }
}

fn numbered(count: u32, value: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    (0..count).map(|n| (n.to_be_bytes().to_vec(), value.to_vec())).collect()
}

#[test]
fn a_tree_of_several_levels_is_read_back() {
    let content = Content::from([(b"key".to_vec(), numbered(200_000, b"value")), (b"other".to_vec(), numbered(1, b""))]);
    assert_eq!(read(&written(&content)).expect("intact"), content);
}

#[test]
fn a_value_of_many_pages_is_read_back() {
    let content = Content::from([(b"key".to_vec(), numbered(3, &vec![7; 3 << 20]))]);
    assert_eq!(read(&written(&content)).expect("intact"), content);
}

/// Pages whose branches all lead to the same page: without the order of keys a reader would take longer than the world lasts.
#[test]
fn a_maze_of_pages_comes_to_an_end() {
    let mut file = written(&Content::from([(b"key".to_vec(), numbered(40_000, b"value"))]));
    let pages = file.len() / PAGE_BYTES;
    let branches: Vec<usize> = (3..pages).filter(|page| file[page * PAGE_BYTES + 8] == 1).collect();
    assert!(branches.len() > 1, "the tree has branches");
    for (level, branch) in branches.iter().enumerate() {
        let below = branches.get(level + 1).copied().unwrap_or(branches[0]) as u64;
        let count = u16::from_le_bytes([file[branch * PAGE_BYTES + 10], file[branch * PAGE_BYTES + 11]]);
        for number in 0..usize::from(count) {
            let at = branch * PAGE_BYTES + 16 + number * 16 + 8;
            file[at..at + 8].copy_from_slice(&below.to_le_bytes());
        }
    }
    assert!(matches!(read(&file), Err(Error::Damaged { .. })));
}

/// A damaged meta page is made up for by the other one.
#[test]
fn one_meta_page_is_enough() {
    let content = Content::from([(b"key".to_vec(), numbered(10, b"value"))]);
    let file = written(&content);
    for damaged in [[0].as_slice(), &[1], &[0, 1]] {
        let mut file = file.clone();
        damaged.iter().for_each(|page| file[page * PAGE_BYTES + 40] ^= 1);
        match damaged {
            [_] => assert_eq!(read(&file).expect("one is intact"), content),
            _ => assert!(matches!(read(&file), Err(Error::NotBbolt))),
        }
    }
}

#[test]
fn keys_out_of_order_are_refused() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).expect("in memory");
    writer.bucket(b"b").expect("in memory");
    writer.put(b"2", b"").expect("the first");
    assert!(writer.put(b"2", b"").is_err());
    assert!(writer.put(b"1", b"").is_err());
    writer.bucket(b"a").expect("in any order");
    assert!(writer.bucket(b"b").is_err(), "each once");
}
