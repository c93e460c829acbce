//! Files in bbolt's format: what an operator restores a cluster from.

use std::collections::BTreeMap;
use std::io::Cursor;

use steadfast_bbolt::{Error, Reader, Writer};

use super::script::{Edit, Script};

/// The keys of each bucket.
pub(super) type Content = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

/// The first byte says whether the rest is a whole file, or what is written to one and then damaged. An undamaged file holds what was
/// written; any other is refused, or read to an end with its keys in order.
pub fn check(input: &[u8]) {
    let mut script = Script::new(input);
    if script.byte() == 0 {
        let _ = read(script.rest());
        return;
    }
    let content = content_of(&mut script);
    let mut file = written(&content);
    assert_eq!(read(&file).expect("nothing is damaged"), content);
    damage(&mut file, &mut script);
    let _ = read(&file);
}

fn content_of(script: &mut Script<'_>) -> Content {
    let mut content = Content::new();
    for _ in 0..script.byte() % 6 {
        let name = [b'b', script.byte()].to_vec();
        let bucket = content.entry(name).or_default();
        let (keys, length) = (script.short() % 400, script.byte());
        for number in 0..keys {
            // One value in a bucket may be larger than a page.
            let longer = usize::from(number == 7) * usize::from(length) * 100;
            bucket.insert(number.to_be_bytes().to_vec(), vec![length; usize::from(length) + longer]);
        }
    }
    content
}

/// A file with this content.
pub(super) fn written(content: &Content) -> Vec<u8> {
    let mut writer = Writer::new(Cursor::new(Vec::new())).expect("memory takes it");
    for (name, keys) in content {
        writer.bucket(name).expect("memory takes it");
        keys.iter().for_each(|(key, value)| writer.put(key, value).expect("memory takes it"));
    }
    writer.finish().expect("memory takes it").into_inner()
}

/// Overwrites numbers, as many as the script says, and may cut the file.
pub(super) fn damage(file: &mut Vec<u8>, script: &mut Script<'_>) {
    while !script.is_over() {
        match script.byte() % 8 {
            // The first bytes of a page say what it is.
            0..=3 => {
                let (page, within) = (usize::from(script.byte()), usize::from(script.byte() % 64));
                Edit::Overwrite(page * 4096 + within, eight(script)).apply(file);
            }
            4 | 5 => Edit::overwrite(script).apply(file),
            6 => Edit::flip(script).apply(file),
            _ => file.truncate(file.len() - usize::from(script.short()).min(file.len())),
        }
    }
}

fn eight(script: &mut Script<'_>) -> [u8; 8] {
    let mut bytes = [0; 8];
    let given = script.take(8);
    bytes[..given.len()].copy_from_slice(given);
    bytes
}

/// Reads all there is.
fn read(file: &[u8]) -> Result<Content, Error> {
    let reader = Reader::open(file, file.len() as u64)?;
    assert!(reader.size_bytes() <= file.len() as u64, "no page in use is missing");
    let mut content = Content::new();
    for name in reader.buckets()? {
        let mut last: Option<Vec<u8>> = None;
        let keys = content.entry(name.to_vec()).or_default();
        for entry in reader.bucket(&name)?.expect("it was listed") {
            let (key, value) = entry?;
            assert!(last.is_none_or(|last| last[..] < key[..]), "keys ascend, so reading ends");
            last = Some(key.to_vec());
            keys.insert(key.to_vec(), value.to_vec());
        }
    }
    Ok(content)
}
