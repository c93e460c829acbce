//! The end of a saved snapshot: 32 bytes, the SHA-256 of all before them.
//!
//! A bbolt file's length is a multiple of 512, so the length tells whether a file has a seal.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// The length of a seal, bytes.
pub const SEAL_BYTES: usize = 32;

/// Every bbolt file is a multiple of this long: the smallest page.
const UNIT_BYTES: u64 = 512;

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// What a file's length says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// It has a seal.
    Yes,
    /// It has none: it was copied from a data directory, or is cut short.
    No,
}

/// A hash of what has been seen of a snapshot.
#[derive(Clone, Default)]
pub struct Seal(Sha256);

impl Seal {
    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The seal.
    pub fn finish(self) -> [u8; SEAL_BYTES] {
        self.0.finalize().into()
    }
}

/// Whether a file of this length has a seal; `None`: it is no snapshot, or cut short.
pub fn is_sealed(length: u64) -> Option<Sealed> {
    match length % UNIT_BYTES {
        _ if length < UNIT_BYTES => None,
        0 => Some(Sealed::No),
        seal if seal == SEAL_BYTES as u64 => Some(Sealed::Yes),
        _ => None,
    }
}

/// Whether the seal at the end of `file`, which is `length` bytes long, is right. `progress` hears how many bytes were read.
///
/// # Errors
/// The file can't be read.
pub fn check(file: &mut impl Read, length: u64, progress: &mut dyn FnMut(u64)) -> io::Result<bool> {
    let mut seal = Seal::default();
    let mut left = length - SEAL_BYTES as u64;
    let mut buffer = vec![0; READ_BYTES];
    while left > 0 {
        let most = usize::try_from(left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
        file.read_exact(&mut buffer[..most])?;
        seal.update(&buffer[..most]);
        left -= most as u64;
        progress(length - left);
    }
    let mut found = [0; SEAL_BYTES];
    file.read_exact(&mut found)?;
    Ok(found == seal.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_the_sha_256_of_what_is_before_it() {
        let content = vec![7; 4096];
        let mut seal = Seal::default();
        content.chunks(100).for_each(|chunk| seal.update(chunk));
        let mut file = [&content[..], &seal.finish()].concat();
        let length = file.len() as u64;
        assert_eq!(is_sealed(length), Some(Sealed::Yes));
        assert!(check(&mut &file[..], length, &mut |_| ()).expect("in memory"));
        file[9] ^= 1;
        assert!(!check(&mut &file[..], length, &mut |_| ()).expect("in memory"));
    }

    #[test]
    fn the_length_says_whether_there_is_one() {
        let cases = [(0, None), (32, None), (4096, Some(Sealed::No)), (4096 + 32, Some(Sealed::Yes)), (4096 + 33, None)];
        cases.iter().for_each(|(length, expected)| assert_eq!(is_sealed(*length), *expected, "{length}"));
    }
}
