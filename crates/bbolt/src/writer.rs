//! Writing a file in one go: leaves as their keys come, branches as they fill, the first pages last.
//!
//! 1. A page is written once, behind all others; what is not written yet is at most one page for each level of the tree at hand.
//! 2. Until [`Writer::finish`] the file has no valid meta page, so that nobody takes a part of it for the whole.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use crate::format::{BRANCH, BUCKET_BYTES, ELEMENT_BYTES, FREE_LIST, HEADER_BYTES, IS_BUCKET, LEAF, META, Meta};
use crate::page::Header;
use crate::{KEY_BYTES, PAGE_BYTES};

/// Both metas and the free list, which is empty.
const FIRST_PAGES: u64 = 3;
const FREE_LIST_PAGE: u64 = 2;

/// Bytes gathered for one write to the file.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A key that is not above the one before it, is empty or too long, or a bucket that comes twice: a mistake of the caller.
    #[error("{0}")]
    Order(String),
}

/// Writes a file.
pub struct Writer<W: Write + Seek> {
    pages: Pages<W>,
    /// The finished buckets' root pages.
    buckets: BTreeMap<Vec<u8>, u64>,
    open: Option<(Vec<u8>, Tree)>,
}

/// Where pages go.
struct Pages<W: Write + Seek> {
    file: BufWriter<W>,
    next: u64,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a file, which must be empty.
    ///
    /// # Errors
    /// It can't be written.
    pub fn new(file: W) -> Result<Self, WriteError> {
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        for _ in 0..FIRST_PAGES {
            file.write_all(&[0; PAGE_BYTES])?;
        }
        Ok(Writer { pages: Pages { file, next: FIRST_PAGES }, buckets: BTreeMap::new(), open: None })
    }

    /// Begins a bucket, and ends the one before. Buckets come in any order, each once.
    ///
    /// # Errors
    /// The file can't be written, or there was such a bucket.
    pub fn bucket(&mut self, name: &[u8]) -> Result<(), WriteError> {
        self.end_bucket()?;
        if self.buckets.contains_key(name) || name.is_empty() || name.len() > KEY_BYTES {
            return Err(WriteError::Order(format!("the bucket {name:02x?} comes twice, or its name is none")));
        }
        self.open = Some((name.to_vec(), Tree::default()));
        Ok(())
    }

    /// Adds a key to the bucket that was begun last.
    ///
    /// # Errors
    /// The file can't be written, or the key is not above the one before it.
    ///
    /// # Panics
    /// If no bucket was begun.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        let (_, tree) = self.open.as_mut().expect("a bucket is begun before its keys");
        tree.add(&mut self.pages, 0, key, value)
    }

    /// Ends the file; its length is a multiple of [`PAGE_BYTES`]. Nothing is synced.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.end_bucket()?;
        let mut root = Tree::default();
        for (name, page) in &self.buckets {
            let mut bucket = [0; BUCKET_BYTES];
            bucket[..8].copy_from_slice(&page.to_le_bytes());
            root.add(&mut self.pages, IS_BUCKET, name, &bucket)?;
        }
        let root = root.end(&mut self.pages)?;
        let Pages { mut file, next } = self.pages;
        file.seek(SeekFrom::Start(0))?;
        let page_bytes = PAGE_BYTES as u32;
        for id in 0..FREE_LIST_PAGE {
            let meta = Meta { page_bytes, root, free_list: FREE_LIST_PAGE, pages: next, transaction: id };
            let mut page = Header { id, flags: META, count: 0, overflow: 0 }.encode().to_vec();
            page.extend_from_slice(&meta.encode());
            page.resize(PAGE_BYTES, 0);
            file.write_all(&page)?;
        }
        file.write_all(&Header { id: FREE_LIST_PAGE, flags: FREE_LIST, count: 0, overflow: 0 }.encode())?;
        file.seek(SeekFrom::End(0))?;
        file.into_inner().map_err(|error| WriteError::Io(error.into_error()))
    }

    fn end_bucket(&mut self) -> Result<(), WriteError> {
        if let Some((name, tree)) = self.open.take() {
            let root = tree.end(&mut self.pages)?;
            self.buckets.insert(name, root);
        }
        Ok(())
    }
}

impl<W: Write + Seek> Pages<W> {
    fn write(&mut self, flags: u16, page: &Filling) -> Result<u64, WriteError> {
        let (id, bytes) = (self.next, page.bytes());
        let pages = bytes.div_ceil(PAGE_BYTES);
        let overflow = u32::try_from(pages - 1).map_err(|_| WriteError::Order("a key and its value fill more than 16 TiB".into()))?;
        let count = u16::try_from(page.heads.len()).expect("a page is full with fewer elements");
        self.file.write_all(&Header { id, flags, count, overflow }.encode())?;
        let mut position = page.heads.len() * ELEMENT_BYTES;
        for (number, head) in page.heads.iter().enumerate() {
            let from_here = u32::try_from(position - number * ELEMENT_BYTES).expect("a page is full before");
            self.file.write_all(&head.encode(flags, from_here))?;
            position += head.key + head.value;
        }
        self.file.write_all(&page.data)?;
        let padding = pages * PAGE_BYTES - bytes;
        self.file.write_all(&[0; PAGE_BYTES][..padding])?;
        self.next += pages as u64;
        Ok(id)
    }
}

/// The tree of one bucket: of each level the page that is being filled.
#[derive(Default)]
struct Tree {
    leaf: Filling,
    /// From the level above the leaves up.
    branches: Vec<Filling>,
    last_key: Vec<u8>,
}

/// A page that is being filled.
#[derive(Default)]
struct Filling {
    heads: Vec<Head>,
    /// Keys, and values behind them.
    data: Vec<u8>,
    first_key: Vec<u8>,
}

struct Head {
    /// Lengths.
    key: usize,
    value: usize,
    /// In a leaf its flags, in a branch the page below.
    number: u64,
}

impl Head {
    fn encode(&self, flags: u16, position: u32) -> [u8; ELEMENT_BYTES] {
        let length = |bytes: usize| u32::try_from(bytes).expect("lengths were checked").to_le_bytes();
        let mut element = [0; ELEMENT_BYTES];
        if flags == LEAF {
            element[..4].copy_from_slice(&(self.number as u32).to_le_bytes());
            element[4..8].copy_from_slice(&position.to_le_bytes());
            element[8..12].copy_from_slice(&length(self.key));
            element[12..].copy_from_slice(&length(self.value));
        } else {
            element[..4].copy_from_slice(&position.to_le_bytes());
            element[4..8].copy_from_slice(&length(self.key));
            element[8..].copy_from_slice(&self.number.to_le_bytes());
        }
        element
    }
}

impl Filling {
    fn bytes(&self) -> usize {
        HEADER_BYTES + self.heads.len() * ELEMENT_BYTES + self.data.len()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.heads.is_empty() || self.bytes() + ELEMENT_BYTES + bytes <= PAGE_BYTES
    }

    fn push(&mut self, number: u64, key: &[u8], value: &[u8]) {
        if self.heads.is_empty() {
            self.first_key = key.to_vec();
        }
        self.heads.push(Head { key: key.len(), value: value.len(), number });
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }
}

impl Tree {
    fn add<W: Write + Seek>(&mut self, pages: &mut Pages<W>, flags: u32, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        if key <= &self.last_key[..] || key.len() > KEY_BYTES || u32::try_from(value.len()).is_err() {
            return Err(WriteError::Order(format!("the key {key:02x?} is too long, or not above the one before it")));
        }
        if !self.leaf.has_room(key.len() + value.len()) {
            let full = std::mem::take(&mut self.leaf);
            let page = pages.write(LEAF, &full)?;
            self.link(pages, 0, full.first_key, page)?;
        }
        self.leaf.push(u64::from(flags), key, value);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    /// Hangs a written page below the page that is being filled at `level`; if that is full, it is written first, and hung up itself.
    fn link<W: Write + Seek>(&mut self, pages: &mut Pages<W>, level: usize, key: Vec<u8>, page: u64) -> Result<(), WriteError> {
        if level == self.branches.len() {
            self.branches.push(Filling::default());
        }
        if !self.branches[level].has_room(key.len()) {
            let full = std::mem::take(&mut self.branches[level]);
            let written = pages.write(BRANCH, &full)?;
            self.link(pages, level + 1, full.first_key, written)?;
        }
        self.branches[level].push(page, &key, &[]);
        Ok(())
    }

    /// Writes what is left; the root's page. A bucket without keys has an empty leaf.
    fn end<W: Write + Seek>(mut self, pages: &mut Pages<W>) -> Result<u64, WriteError> {
        let leaf = std::mem::take(&mut self.leaf);
        let mut page = pages.write(LEAF, &leaf)?;
        let mut first_key = leaf.first_key;
        let mut level = 0;
        // Linking may add a level, never more than one above those there are.
        while level < self.branches.len() {
            self.link(pages, level, first_key, page)?;
            let branch = std::mem::take(&mut self.branches[level]);
            page = pages.write(BRANCH, &branch)?;
            first_key = branch.first_key;
            level += 1;
        }
        Ok(page)
    }
}
