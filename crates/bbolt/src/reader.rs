//! Reading a file bucket by bucket, in the order of keys.
//!
//! 1. Nothing is used before it was checked: page ids against the file's length, elements against their page, keys against their order.
//! 2. Keys ascend over a whole bucket, and only a root may be empty. So every step of a cursor comes to a leaf that it has not read before, and
//!    it ends, whatever pages point at each other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use crate::KEY_BYTES;
use crate::format::{BUCKET_BYTES, HEADER_BYTES, IS_BUCKET, META_BYTES, Meta, u64_at};
use crate::page::{Header, Kind, Page};

/// The most levels of a tree: with two keys to a page that is already more than any file has pages.
pub const DEPTH_LIMIT: usize = 48;

/// The largest page with all that it overflows into, bytes. etcd puts at least two keys on a page, each at most as large as a request may be.
pub const PAGE_BYTES_LIMIT: usize = 64 << 20;

/// The largest branch, bytes: its keys are short, as the buckets of etcd go.
const BRANCH_BYTES_LIMIT: usize = 1 << 20;

/// Page sizes that a machine may have.
const PAGE_SIZES: [u32; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No page at its beginning is a meta page.
    #[error("it is not a bbolt file, or its first pages are damaged")]
    NotBbolt,
    /// It is shorter than its meta page says.
    #[error("it is cut short: {found} bytes of {wanted}")]
    CutShort {
        /// Bytes there are.
        found: u64,
        /// Bytes there must be.
        wanted: u64,
    },
    /// A page is not what a page there must be.
    #[error("page {page} is damaged: {what}")]
    Damaged {
        /// Its id.
        page: u64,
        /// In what way.
        what: &'static str,
    },
}

/// Bytes at any place.
pub trait ReadAt {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// They can't be read, or there are fewer.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = start.checked_add(buffer.len()).and_then(|end| self.get(start..end)).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// A file that is read.
pub struct Reader<'a, F: ReadAt + ?Sized> {
    file: &'a F,
    meta: Meta,
}

impl<'a, F: ReadAt + ?Sized> Reader<'a, F> {
    /// Reads the meta pages of a file of `length` bytes. What follows the pages in use does not matter.
    ///
    /// # Errors
    /// It is not a bbolt file, or shorter than it says.
    pub fn open(file: &'a F, length: u64) -> Result<Self, Error> {
        let places = PAGE_SIZES.iter().map(|size| (u64::from(*size), Some(*size)));
        let mut newest: Option<Meta> = None;
        for (offset, size) in [(0, None)].into_iter().chain(places) {
            let mut bytes = [0; HEADER_BYTES + META_BYTES];
            if offset + bytes.len() as u64 > length {
                break;
            }
            file.read_at(offset, &mut bytes)?;
            let (_, meta) = bytes.split_last_chunk::<META_BYTES>().expect("it has so many bytes");
            let fits = |meta: &Meta| PAGE_SIZES.contains(&meta.page_bytes) && size.is_none_or(|size| size == meta.page_bytes);
            let Some(meta) = Meta::decode(meta).filter(fits) else { continue };
            if newest.is_none_or(|newest| newest.transaction < meta.transaction) {
                newest = Some(meta);
            }
        }
        let reader = Reader { file, meta: newest.ok_or(Error::NotBbolt)? };
        let wanted = reader.used_bytes().ok_or(Error::NotBbolt)?;
        if wanted > length { Err(Error::CutShort { found: length, wanted }) } else { Ok(reader) }
    }

    /// The length of all pages in use, bytes: the least that the file must have.
    pub fn size_bytes(&self) -> u64 {
        self.used_bytes().expect("it was checked when the file was opened")
    }

    fn used_bytes(&self) -> Option<u64> {
        self.meta.pages.checked_mul(u64::from(self.meta.page_bytes))
    }

    /// The buckets' names, in order.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn buckets(&self) -> Result<Vec<Bytes>, Error> {
        self.entries(self.meta.root, None, IS_BUCKET)?.map(|entry| Ok(entry?.0)).collect()
    }

    /// Goes through a bucket; `None` if there is no such bucket.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Cursor<'a, F>>, Error> {
        for entry in self.entries(self.meta.root, None, IS_BUCKET)? {
            let (key, value) = entry?;
            if key == name {
                let damaged = || Error::Damaged { page: self.meta.root, what: "a bucket in it is cut short" };
                let root = u64_at(&value, 0).filter(|_| value.len() >= BUCKET_BYTES).ok_or_else(damaged)?;
                let inline = (root == 0).then(|| value.slice(BUCKET_BYTES..));
                return Ok(Some(self.entries(root, inline, 0)?));
            }
        }
        Ok(None)
    }

    /// Goes through the tree with this root, all of whose elements must have these flags.
    fn entries(&self, root: u64, inline: Option<Bytes>, flags: u32) -> Result<Cursor<'a, F>, Error> {
        let damaged = |what| Error::Damaged { page: root, what };
        let page = match inline {
            Some(bytes) => Page::new(bytes).map_err(damaged)?,
            None => self.page(root)?,
        };
        if inline_branch(root, &page) {
            return Err(damaged("a bucket in its parent's page is not a leaf"));
        }
        let reader = Reader { file: self.file, meta: self.meta };
        Ok(Cursor { reader, flags, stack: vec![Place { id: root, page, next: 0 }], last_key: Bytes::new(), ended: false })
    }

    fn page(&self, id: u64) -> Result<Page, Error> {
        let damaged = |what| Error::Damaged { page: id, what };
        if id < 2 || id >= self.meta.pages {
            return Err(damaged("there is no such page"));
        }
        let offset = id * u64::from(self.meta.page_bytes);
        let mut header = [0; HEADER_BYTES];
        self.file.read_at(offset, &mut header)?;
        let header = Header::decode(&header).expect("it has so many bytes");
        if header.id != id {
            return Err(damaged("it says that it is another page"));
        }
        let pages = u64::from(header.overflow) + 1;
        let bytes = usize::try_from(pages * u64::from(self.meta.page_bytes)).unwrap_or(usize::MAX);
        let limit = if header.flags == crate::format::BRANCH { BRANCH_BYTES_LIMIT } else { PAGE_BYTES_LIMIT };
        if pages > self.meta.pages - id || bytes > limit {
            return Err(damaged("it is longer than can be"));
        }
        let mut bytes = vec![0; bytes];
        self.file.read_at(offset, &mut bytes)?;
        Page::new(bytes.into()).map_err(damaged)
    }
}

fn inline_branch(root: u64, page: &Page) -> bool {
    root == 0 && page.kind == Kind::Branch
}

/// Goes through the keys and values of a bucket, ascending. After an error it has ended.
pub struct Cursor<'a, F: ReadAt + ?Sized> {
    reader: Reader<'a, F>,
    flags: u32,
    stack: Vec<Place>,
    last_key: Bytes,
    ended: bool,
}

struct Place {
    id: u64,
    page: Page,
    /// The next element.
    next: usize,
}

impl<F: ReadAt + ?Sized> Cursor<'_, F> {
    fn find(&mut self) -> Result<Option<(Bytes, Bytes)>, Error> {
        loop {
            let Some(place) = self.stack.last_mut() else { return Ok(None) };
            if place.next == place.page.count {
                self.stack.pop();
                continue;
            }
            let number = place.next;
            place.next += 1;
            match place.page.kind {
                Kind::Leaf => return self.leaf(number).map(Some),
                Kind::Branch => self.descend(number)?,
            }
        }
    }

    fn leaf(&mut self, number: usize) -> Result<(Bytes, Bytes), Error> {
        let place = self.stack.last().expect("a leaf is looked at");
        let damaged = |what| Error::Damaged { page: place.id, what };
        let element = place.page.leaf(number).ok_or_else(|| damaged("an element reaches beyond it"))?;
        if element.flags != self.flags {
            return Err(damaged("a bucket stands where a key must, or a key where a bucket must"));
        }
        if element.key.is_empty() || element.key.len() > KEY_BYTES || element.key <= self.last_key {
            return Err(damaged("its keys are not in order"));
        }
        self.last_key = Bytes::copy_from_slice(&element.key);
        Ok((element.key, element.value))
    }

    fn descend(&mut self, number: usize) -> Result<(), Error> {
        let place = self.stack.last().expect("a branch is looked at");
        let (_, below) = place.page.branch(number).ok_or(Error::Damaged { page: place.id, what: "an element reaches beyond it" })?;
        if self.stack.len() == DEPTH_LIMIT {
            return Err(Error::Damaged { page: below, what: "the tree has too many levels" });
        }
        let page = self.reader.page(below)?;
        if page.count == 0 {
            return Err(Error::Damaged { page: below, what: "it is empty" });
        }
        self.stack.push(Place { id: below, page, next: 0 });
        Ok(())
    }
}

impl<F: ReadAt + ?Sized> Iterator for Cursor<'_, F> {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let found = self.find().transpose();
        self.ended = !matches!(found, Some(Ok(_)));
        found
    }
}
