//! Snapshots in etcd's form: bbolt files whose buckets hold what etcd, or somebody who means harm, has written.

use std::fs::File;
use std::os::unix::fs::FileExt;

use steadfast_bbolt::Reader;
use steadfast_snapshots::{Cluster, Hashed, ImportOptions, Imported, export, import, summarize};
use steadfast_state::State;
use steadfast_types::Term;
use steadfast_types::tables::memory::MemoryTables;

use super::bbolt::{Content, damage, written};
use super::command;
use super::script::Script;

const BUCKETS: [&[u8]; 8] = [b"alarm", b"auth", b"authRoles", b"authUsers", b"cluster", b"key", b"lease", b"meta"];
const META: [&[u8]; 4] = [b"consistent_index", b"finishedCompactRev", b"scheduledCompactRev", b"term"];

/// A snapshot made from the script, perhaps damaged, is refused or taken over; twice alike, as a state that can be read; and what is exported from
/// that is taken over again, with nothing lost.
pub fn check(input: &[u8]) {
    let mut script = Script::new(input);
    let options = ImportOptions { bump: i64::from(script.byte()), without_users: script.byte() % 2 == 1 };
    let mut file = written(&content_of(&mut script));
    damage(&mut file, &mut script);
    let Some((state, imported)) = taken(&file, options) else { return };
    let (again, also) = taken(&file, options).expect("it was taken a moment ago");
    assert_eq!((imported, state.hash()), (also, again.hash()));
    command::read(&state);

    let plain = ImportOptions::default();
    let first = exported(&state);
    let (copy, _) = taken(&first, plain).expect("what is exported can be imported");
    assert_eq!((copy.revision(), copy.auth()), (state.revision(), state.auth()));
    assert_eq!(command::all_keys(&copy), command::all_keys(&state));
    assert!(exported(&copy) == first, "the same state gives the same file");
}

fn taken(file: &[u8], options: ImportOptions) -> Option<(State<MemoryTables>, Imported)> {
    let reader = Reader::open(file, file.len() as u64).ok()?;
    // Whoever looks at it first does no harm either.
    let _ = summarize(&reader, Hashed::Everything, &mut |_| ());
    let (tables, imported) = import(&reader, MemoryTables::default(), options, |_: &mut MemoryTables| Ok(()), &mut |_| ()).ok()?;
    let state = State::open(tables).expect("a seeded state can be opened");
    assert_eq!((state.revision(), state.hash()), (imported.seeded.revision, imported.seeded.hash));
    Some((state, imported))
}

fn exported(state: &State<MemoryTables>) -> Vec<u8> {
    let pinned = state.reader().pin().expect("the tables are intact");
    let file = || tempfile::tempfile().expect("the temporary directory takes files");
    let cluster = Cluster { term: Term(1), members: Vec::new() };
    let written: File = export(&pinned, &cluster, file(), &std::env::temp_dir(), &|| true).expect("the state is intact");
    let length = written.metadata().expect("it is open").len();
    let mut bytes = vec![0; usize::try_from(length).expect("it is small")];
    written.read_exact_at(&mut bytes, 0).expect("it was just written");
    bytes
}

/// What etcd would write, more or less, until the script says that it ends; damage comes after.
fn content_of(script: &mut Script<'_>) -> Content {
    let mut content: Content = BUCKETS.iter().map(|name| (name.to_vec(), Default::default())).collect();
    let (mut revision, mut sub) = (2u64, 0u64);
    let mut put = |bucket: &[u8], key: Vec<u8>, value: Vec<u8>| {
        // bbolt itself takes no empty key.
        if !key.is_empty() {
            content.entry(bucket.to_vec()).or_default().insert(key, value);
        }
    };
    loop {
        match script.byte() % 16 {
            0 => return content,
            1..=5 => {
                let key = [b'k', script.byte() % 8];
                let numbers = [revision - u64::from(script.byte() % 4).min(revision), revision, u64::from(script.byte() % 8)];
                let value = message(&[Field::Bytes(1, &key), Field::Number(2, numbers[0]), Field::Number(3, numbers[1])]);
                let rest =
                    message(&[Field::Number(4, numbers[2]), Field::Bytes(5, &numbers[2].to_be_bytes()), Field::Number(6, numbers[2] / 4)]);
                put(b"key", revision_key(revision, sub, false), [value, rest].concat());
                sub += 1;
            }
            6 => {
                put(b"key", revision_key(revision, sub, true), message(&[Field::Bytes(1, &[b'k', script.byte() % 8])]));
                sub += 1;
            }
            7 | 8 => (revision, sub) = (revision + u64::from(script.byte()), 0),
            9 => {
                let (id, ttl) = (u64::from(script.byte() % 4), u64::from(script.short()));
                put(b"lease", id.to_be_bytes().to_vec(), message(&[Field::Number(1, id), Field::Number(2, ttl)]));
            }
            10 => {
                let at = usize::from(script.byte());
                put(b"meta", META[at % META.len()].to_vec(), revision_key(u64::from(script.short()), 0, false));
            }
            11 => {
                let (name, password, role) = ([b'a' + script.byte() % 4], [script.byte(); 4], [b'r', script.byte() % 3]);
                put(b"authUsers", name.to_vec(), message(&[Field::Bytes(1, &name), Field::Bytes(2, &password), Field::Bytes(3, &role)]));
            }
            12 => {
                let (name, kind, key) = ([b'r', script.byte() % 3], u64::from(script.byte() % 4), [b'k', script.byte()]);
                let permission = message(&[Field::Number(1, kind), Field::Bytes(2, &key)]);
                put(b"authRoles", name.to_vec(), message(&[Field::Bytes(1, &name), Field::Bytes(2, &permission)]));
            }
            13 => put(b"auth", b"authEnabled".to_vec(), vec![script.byte() % 2]),
            14 => put(b"auth", b"authRevision".to_vec(), u64::from(script.short()).to_be_bytes().to_vec()),
            _ => {
                let bucket = BUCKETS[usize::from(script.byte()) % BUCKETS.len()];
                let (key, value) = (usize::from(script.byte() % 20), usize::from(script.byte() % 64));
                put(bucket, script.take(key).to_vec(), script.take(value).to_vec());
            }
        }
    }
}

fn revision_key(revision: u64, sub: u64, is_delete: bool) -> Vec<u8> {
    let key = [&revision.to_be_bytes()[..], b"_", &sub.to_be_bytes()].concat();
    if is_delete { [&key[..], b"t"].concat() } else { key }
}

/// A field of a protobuf message, with its tag.
enum Field<'a> {
    Number(u8, u64),
    Bytes(u8, &'a [u8]),
}

fn message(fields: &[Field<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        match field {
            Field::Number(tag, number) => {
                bytes.push(tag << 3);
                let mut left = *number;
                while left >= 128 {
                    bytes.push(left.to_le_bytes()[0] | 128);
                    left >>= 7;
                }
                bytes.push(left.to_le_bytes()[0]);
            }
            Field::Bytes(tag, given) => {
                bytes.extend([tag << 3 | 2, u8::try_from(given.len()).expect("it is short")]);
                bytes.extend_from_slice(given);
            }
        }
    }
    bytes
}
