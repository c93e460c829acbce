//! Tests of `disk`.
use super::*;

const SECTOR: u64 = SECTOR_BYTES as u64;

fn contents(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap() + 10];
    let read = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(read);
    bytes
}

/// A file `a`, synced, with `sectors` sectors of ones.
fn disk_with_file(seed: u64, sectors: usize) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    let file = disk.create("a").unwrap();
    file.write_at(0, &vec![1; sectors * SECTOR_BYTES]).unwrap();
    file.sync().unwrap();
    disk.sync_directory().unwrap();
    disk
}

#[test]
fn a_file_reads_as_written_across_sectors_holes_and_cuts() {
    let mut rng = Rng::with_seed(1);
    let disk = SimulatedDisk::new(1);
    let file = disk.create("a").unwrap();
    let mut model: Vec<u8> = Vec::new();
    for step in 0..2_000 {
        let offset = rng.usize(0..4_000);
        if rng.u8(0..8) == 0 {
            model.resize(offset, 0);
            file.set_length(offset as u64).unwrap();
        } else {
            let bytes = vec![rng.u8(..); rng.usize(0..1_500)];
            // Like a file system, a write of nothing does not extend the file.
            let end = if bytes.is_empty() { 0 } else { offset + bytes.len() };
            model.resize(model.len().max(end), 0);
            if !bytes.is_empty() {
                model[offset..end].copy_from_slice(&bytes);
            }
            file.write_at(offset as u64, &bytes).unwrap();
        }
        if step % 7 == 0 {
            file.sync().unwrap();
        }
        assert_eq!(contents(&disk, "a"), model, "step {step}");
    }
}

#[test]
fn synced_bytes_survive_every_crash() {
    for seed in 0..200 {
        let disk = disk_with_file(seed, 8);
        disk.open("a").unwrap().write_at(4 * SECTOR, &[2; 8 * SECTOR_BYTES]).unwrap();
        disk.power_failure();
        let after = contents(&disk.reopen(), "a");
        assert!(after.len() >= 8 * SECTOR_BYTES && after[..4 * SECTOR_BYTES].iter().all(|byte| *byte == 1), "seed {seed}");
    }
}

#[test]
fn unsynced_sectors_survive_each_by_itself_in_any_version() {
    let mut seen = [false; 3];
    let mut torn = false;
    for seed in 0..200 {
        let disk = disk_with_file(seed, 4);
        let file = disk.open("a").unwrap();
        file.write_at(0, &[2; 4 * SECTOR_BYTES]).unwrap();
        file.write_at(0, &[3; 4 * SECTOR_BYTES]).unwrap();
        disk.power_failure();
        let after = contents(&disk.reopen(), "a");
        let sectors: Vec<u8> = after.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
        assert!(after.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "a sector is whole");
        sectors.iter().for_each(|version| seen[usize::from(*version) - 1] = true);
        torn |= sectors.iter().any(|version| *version != sectors[0]);
    }
    assert_eq!((seen, torn), ([true; 3], true));
}

#[test]
fn unsynced_growth_may_be_lost_or_kept_or_full_of_zeros() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let disk = disk_with_file(seed, 1);
        let file = disk.open("a").unwrap();
        file.write_at(SECTOR, &[2; SECTOR_BYTES]).unwrap();
        file.write_at(2 * SECTOR, &[2; SECTOR_BYTES]).unwrap();
        disk.power_failure();
        let after = contents(&disk.reopen(), "a");
        assert!(after[SECTOR_BYTES..].iter().all(|byte| *byte == 0 || *byte == 2));
        lengths.insert(after.len() / SECTOR_BYTES);
    }
    assert_eq!(lengths, [1, 2, 3].into());
}

#[test]
fn names_without_a_directory_sync_may_be_lost_and_renames_are_atomic() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = disk_with_file(seed, 1);
        let file = disk.create("b").unwrap();
        file.write_at(0, b"new").unwrap();
        file.sync().unwrap();
        disk.rename("b", "a").unwrap();
        disk.power_failure();
        let disk = disk.reopen();
        let a = contents(&disk, "a");
        assert!(a == b"new" || a == [1; SECTOR_BYTES], "seed {seed}: the new file or the old one");
        outcomes.insert((a == b"new", disk.list().unwrap().len()));
    }
    assert_eq!(outcomes, [(false, 1), (false, 2), (true, 1)].into());
}

#[test]
fn a_synced_directory_survives() {
    for seed in 0..50 {
        let disk = disk_with_file(seed, 1);
        disk.create("b").unwrap();
        disk.create("c").unwrap();
        disk.rename("b", "d").unwrap();
        disk.remove("a").unwrap();
        disk.sync_directory().unwrap();
        disk.power_failure();
        assert_eq!(disk.reopen().list().unwrap(), ["c", "d"]);
    }
}

#[test]
fn a_kill_loses_nothing_and_ends_the_handles() {
    let disk = SimulatedDisk::new(1);
    let file = disk.create("a").unwrap();
    file.write_at(0, b"unsynced").unwrap();
    disk.kill();
    assert!(disk.is_dead() && file.sync().is_err() && disk.list().is_err() && disk.create("b").is_err());
    assert_eq!(contents(&disk.reopen(), "a"), b"unsynced");
}

#[test]
fn the_power_fails_between_two_changes() {
    let disk = disk_with_file(3, 1);
    disk.power_failure_after(1);
    let file = disk.open("a").unwrap();
    file.write_at(0, &[2; SECTOR_BYTES]).unwrap();
    assert!(file.sync().is_err() && disk.is_dead());
    assert!(matches!(contents(&disk.reopen(), "a")[0], 1 | 2));
}

#[test]
fn a_failed_sync_shows_lost_bytes_until_the_crash_and_never_writes_them_again() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = disk_with_file(seed, 1);
        disk.set_faults(DiskFaults { sync_failure: 1.0, full: false });
        let file = disk.open("a").unwrap();
        file.write_at(0, &[2; SECTOR_BYTES]).unwrap();
        assert!(file.sync().is_err());
        disk.set_faults(DiskFaults::default());
        assert_eq!(contents(&disk, "a")[0], 2);
        file.sync().unwrap();
        disk.power_failure();
        lost += u32::from(contents(&disk.reopen(), "a")[0] == 1);
    }
    assert!((1..50).contains(&lost), "lost {lost} of 50");
}

#[test]
fn a_full_disk_refuses_growth_and_keeps_what_is_there() {
    let disk = disk_with_file(1, 2);
    disk.set_faults(DiskFaults { full: true, sync_failure: 0.0 });
    let file = disk.open("a").unwrap();
    assert!(matches!(file.write_at(2 * SECTOR, b"more"), Err(DiskError::Full(name)) if name == "a"));
    assert!(matches!(file.set_length(5_000), Err(DiskError::Full(_))));
    assert!(matches!(disk.create("b"), Err(DiskError::Full(_))));
    file.write_at(SECTOR, &[2; SECTOR_BYTES]).unwrap();
    disk.remove("a").unwrap();
}

#[test]
fn corruption_damages_one_sector_for_good() {
    let disk = disk_with_file(1, 4);
    assert!(!disk.corrupt("a", 4) && !disk.corrupt("b", 0));
    let (name, sector) = disk.corrupt_any(|name| name == "a").unwrap();
    let before = contents(&disk, &name);
    let damaged: Vec<u64> = (0..4).filter(|i| before.chunks(SECTOR_BYTES).nth(*i as usize) != Some(&[1; SECTOR_BYTES])).collect();
    assert_eq!(damaged, [sector]);
    disk.power_failure();
    assert_eq!(contents(&disk.reopen(), "a"), before);
}

#[test]
fn a_removed_file_stays_readable_while_open() {
    let disk = disk_with_file(1, 1);
    let file = disk.open("a").unwrap();
    disk.remove("a").unwrap();
    disk.sync_directory().unwrap();
    let mut byte = [0];
    assert_eq!((file.read_at(0, &mut byte).unwrap(), byte), (1, [1]));
    assert!(matches!(disk.open("a"), Err(DiskError::NotFound(_))));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed| {
        let mut calls = Rng::with_seed(7);
        let mut disk = SimulatedDisk::new(seed);
        for _ in 0..300 {
            let name = ["a", "b", "c"][calls.usize(0..3)];
            match calls.u8(0..8) {
                0 => disk.sync_directory().unwrap(),
                1 => drop(disk.rename(name, "a")),
                2 => disk.remove(name).unwrap(),
                3 => {
                    disk.power_failure();
                    disk = disk.reopen();
                }
                _ => {
                    let file = disk.open(name).or_else(|_| disk.create(name)).unwrap();
                    file.write_at(calls.u64(0..9_000), &vec![calls.u8(..); 700]).unwrap();
                    if calls.bool() {
                        file.sync().unwrap();
                    }
                }
            }
        }
        disk.hash()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
