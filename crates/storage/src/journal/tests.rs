//! Journals that no version of this program wrote, with checksums that are right.

use proptest::prelude::*;
use steadfast_types::disk::{Disk, DiskFile};

use super::format::{FIRST_RECORD, FileHeader, FileNumber, Place, RECORD_HEADER_BYTES, RecordHeader, SECTOR};
use super::*;
use crate::disk::MemoryDisk;

/// Numbers where arithmetic goes wrong, and others.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..6, 1 => Just(u64::MAX), 1 => Just(1 << 62), 1 => Just((1 << 62) - 1), 1 => any::<u64>()]
}

fn file(number: u32) -> impl Strategy<Value = (FileHeader, Vec<(RecordHeader, u64)>)> {
    let header = (number_of(), number_of(), prop_oneof![Just(0), any::<u32>()]).prop_map(move |(first, durable, previous)| FileHeader {
        number: FileNumber(number),
        salt: 7,
        first,
        durable,
        previous,
    });
    let record = (any::<bool>(), prop_oneof![0u32..600, any::<u32>()], number_of(), number_of(), any::<u32>(), any::<bool>(), 0u64..1500)
        .prop_map(|(is_last, content_bytes, sequence, durable, content_checksum, right, gap)| {
            let content_checksum = if right { crc32c::crc32c(&vec![0; content_bytes.min(4096) as usize]) } else { content_checksum };
            (RecordHeader { is_last, content_bytes, sequence, durable, previous: 0, content_checksum }, gap)
        });
    (header, prop::collection::vec(record, 0..6))
}

fn number_of() -> impl Strategy<Value = Sequence> {
    number().prop_map(Sequence)
}

/// Writes the file with the right checksums: a chain, as far as the sequences allow it.
fn write(disk: &MemoryDisk, header: &FileHeader, records: &[(RecordHeader, u64)]) {
    let file = disk.create(&header.number.file_name()).unwrap();
    file.write_at(0, &header.to_sectors()).unwrap();
    let (mut at, mut previous) = (FIRST_RECORD, header.previous);
    for &(mut record, gap) in records {
        record.previous = previous;
        let mut bytes = vec![0; RECORD_HEADER_BYTES + record.content_bytes.min(4096) as usize];
        previous = record.put(Place { salt: header.salt, file: header.number, offset: at }, &mut bytes);
        file.write_at(at, &bytes).unwrap();
        at += bytes.len() as u64;
        at = if record.is_last { at.next_multiple_of(SECTOR) } else { at + if gap > 1000 { gap } else { 0 } };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the files say, opening them ends, and what is told is in order.
    #[test]
    fn untrue_files_do_no_harm(first in file(1), second in file(2), third in file(9), after in prop_oneof![0u64..8, 0u64..1 << 61]) {
        let disk = MemoryDisk::new();
        for (header, records) in [&first, &second, &third] {
            write(&disk, header, records);
        }
        let mut next = Sequence(after).next();
        let opened = open(&disk, JournalOptions { file_bytes: 4096, salt: 1 }, Sequence(after), |sequence, _| {
            assert_eq!(sequence, next);
            next = sequence.next();
        });
        if let Ok(mut opened) = opened {
            prop_assert_eq!(opened.last.next(), next);
            prop_assume!(opened.last.0 < 1 << 61, "no journal comes so far");
            opened.journal.append(b"goes on");
            opened.journal.sync().unwrap();
            let mut found = Vec::new();
            open(&disk, JournalOptions { file_bytes: 4096, salt: 2 }, opened.last, |_, record| found.push(record.to_vec())).unwrap();
            prop_assert_eq!(found, vec![b"goes on".to_vec()]);
        }
    }
}

/// The bytes of format 1 never change: whoever changes the format raises its number and keeps reading this one.
#[test]
fn the_bytes_of_format_1_stay_what_they_are() {
    let disk = MemoryDisk::new();
    let opened = open(&disk, JournalOptions { file_bytes: 4096, salt: 7 }, Sequence(0), |_, _| ());
    let mut journal = opened.unwrap().journal;
    journal.append(b"one");
    journal.append(&[2; 600]);
    journal.sync().unwrap();
    journal.append(b"three");
    journal.sync().unwrap();
    assert_eq!(crc32c::crc32c(&disk.bytes("journal-00000001")), 3_686_342_198);
}
