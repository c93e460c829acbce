//! HyperLogLog as Redis has it: how many different elements there were, within 0.81 %, in at most 12 KiB.
//!
//! Merge rule: of each register the greater rank. (Flajolet et al., HyperLogLog, 2007; 16,384 registers of 6 bits, the hash of Redis, and its estimator,
//! so that the estimates are those that Redis gives.)

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use crate::total::Total;

mod estimate;
mod murmur;
mod redis;

/// Bits of an element's hash that choose its register.
const INDEX_BITS: u32 = 14;

/// How many registers there are.
const REGISTERS: usize = 1 << INDEX_BITS;

/// Bits of a register.
const RANK_BITS: usize = 6;

/// The greatest rank: all the other bits of the hash are zero.
const RANK_MAX: u8 = (u64::BITS - INDEX_BITS + 1) as u8;

/// All registers, packed.
const DENSE_BYTES: usize = REGISTERS * RANK_BITS / 8;

/// The most registers that are kept one by one, in four bytes each: half of what all of them take, and it is still quick to put one in between.
const SPARSE_MAX: usize = DENSE_BYTES / 8;

/// How many registers are at each rank.
type Histogram = [u16; 1 << RANK_BITS];

/// A register and the rank that an element gives it: 14 bits and 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register(u32);

impl Register {
    fn new(index: usize, rank: u8) -> Option<Self> {
        (index < REGISTERS && (1..=RANK_MAX).contains(&rank)).then_some(Self((index as u32) << RANK_BITS | u32::from(rank)))
    }

    /// Those of an element.
    pub fn of(element: &[u8]) -> Self {
        let hash = murmur::hash(element);
        let rank = ((hash >> INDEX_BITS).trailing_zeros() + 1).min(RANK_MAX.into());
        Self(((hash as u32) & (REGISTERS as u32 - 1)) << RANK_BITS | rank)
    }

    fn index(self) -> usize {
        (self.0 >> RANK_BITS) as usize
    }

    fn rank(self) -> u8 {
        (self.0 & ((1 << RANK_BITS) - 1)) as u8
    }
}

/// The registers of a HyperLogLog. Few that were hit take four bytes each, many 12 KiB in all.
#[derive(Clone, PartialEq)]
pub struct Sketch(Form);

/// Which one it is says the number of registers that were hit.
#[derive(Clone, PartialEq)]
enum Form {
    /// Those that were hit, in their order.
    Sparse(Vec<Register>),
    /// All.
    Dense(Box<Dense>),
}

#[derive(Clone, PartialEq)]
struct Dense {
    /// 6 bits each, the lowest first.
    packed: [u8; DENSE_BYTES],
    histogram: Histogram,
}

/// The rank of a register among packed ones.
fn rank_in(packed: &[u8], index: usize) -> u8 {
    let (byte, shift) = (index * RANK_BITS / 8, index * RANK_BITS % 8);
    let next = packed.get(byte + 1).copied().unwrap_or_default();
    (u16::from_le_bytes([packed[byte], next]) >> shift) as u8 & ((1 << RANK_BITS) - 1)
}

impl Dense {
    fn new() -> Box<Self> {
        let mut histogram = [0; 1 << RANK_BITS];
        histogram[0] = REGISTERS as u16;
        Box::new(Self { packed: [0; DENSE_BYTES], histogram })
    }

    fn rank(&self, index: usize) -> u8 {
        rank_in(&self.packed, index)
    }

    fn put(&mut self, index: usize, rank: u8) {
        self.histogram[usize::from(self.rank(index))] -= 1;
        self.histogram[usize::from(rank)] += 1;
        let (byte, shift) = (index * RANK_BITS / 8, index * RANK_BITS % 8);
        let (mask, bits) = (0x3f_u16 << shift, u16::from(rank) << shift);
        let mask = mask.to_le_bytes();
        let bits = bits.to_le_bytes();
        self.packed[byte] = self.packed[byte] & !mask[0] | bits[0];
        if mask[1] != 0 {
            self.packed[byte + 1] = self.packed[byte + 1] & !mask[1] | bits[1];
        }
    }

    fn registers(&self) -> impl Iterator<Item = Register> {
        (0..REGISTERS).filter_map(|index| Register::new(index, self.rank(index)))
    }

    fn hits(&self) -> usize {
        REGISTERS - usize::from(self.histogram[0])
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self(Form::Sparse(Vec::new()))
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.registers().map(|register| (register.index(), register.rank()))).finish()
    }
}

impl FromIterator<Register> for Sketch {
    fn from_iter<I: IntoIterator<Item = Register>>(registers: I) -> Self {
        let mut sketch = Self::default();
        registers.into_iter().for_each(|register| {
            sketch.raise(register);
        });
        sketch
    }
}

impl Sketch {
    /// The registers that were hit, in their order.
    pub fn registers(&self) -> impl Iterator<Item = Register> {
        let (sparse, dense) = match &self.0 {
            Form::Sparse(registers) => (&registers[..], None),
            Form::Dense(dense) => (&[][..], Some(dense)),
        };
        sparse.iter().copied().chain(dense.into_iter().flat_map(|dense| dense.registers()))
    }

    /// Whether no register was hit.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Sparse(registers) if registers.is_empty())
    }

    fn rank(&self, index: usize) -> u8 {
        match &self.0 {
            Form::Sparse(registers) => {
                registers.binary_search_by_key(&index, |register| register.index()).map_or(0, |at| registers[at].rank())
            }
            Form::Dense(dense) => dense.rank(index),
        }
    }

    /// Whether its register is at this rank or above.
    pub fn has(&self, register: Register) -> bool {
        self.rank(register.index()) >= register.rank()
    }

    /// Raises a register to a rank; whether it was below.
    pub fn raise(&mut self, register: Register) -> bool {
        match &mut self.0 {
            Form::Sparse(registers) => match registers.binary_search_by_key(&register.index(), |held| held.index()) {
                Ok(at) if registers[at] >= register => return false,
                Ok(at) => registers[at] = register,
                Err(at) => {
                    registers.insert(at, register);
                    self.spread();
                }
            },
            Form::Dense(dense) if dense.rank(register.index()) >= register.rank() => return false,
            Form::Dense(dense) => dense.put(register.index(), register.rank()),
        }
        true
    }

    /// Makes many registers dense.
    fn spread(&mut self) {
        let Form::Sparse(registers) = &self.0 else { return };
        if registers.len() > SPARSE_MAX {
            let mut dense = Dense::new();
            registers.iter().for_each(|register| dense.put(register.index(), register.rank()));
            self.0 = Form::Dense(dense);
        }
    }

    /// Raises each register to its rank in another.
    pub fn merge(&mut self, other: &Self) {
        other.registers().for_each(|register| {
            self.raise(register);
        });
    }

    /// About how many different elements there were.
    pub fn count(&self) -> u64 {
        match &self.0 {
            Form::Dense(dense) => estimate::estimate(&dense.histogram),
            Form::Sparse(registers) => {
                let mut histogram = [0; 1 << RANK_BITS];
                histogram[0] = (REGISTERS - registers.len()) as u16;
                registers.iter().for_each(|register| histogram[usize::from(register.rank())] += 1);
                estimate::estimate(&histogram)
            }
        }
    }

    /// All registers, 6 bits each.
    fn packed(&self) -> Vec<u8> {
        match &self.0 {
            Form::Dense(dense) => dense.packed.to_vec(),
            Form::Sparse(registers) => {
                let mut dense = Dense::new();
                registers.iter().for_each(|register| dense.put(register.index(), register.rank()));
                dense.packed.to_vec()
            }
        }
    }

    /// Keeps of each register what `keep` says: it, a lower rank, or nothing.
    fn lower(&mut self, keep: impl Fn(Register) -> Option<Register>) {
        let kept: Self = self.registers().filter_map(keep).collect();
        *self = kept;
    }
}

/// Totals of sketches join: a delta says what is new, and of what a write had observed only higher ranks are left.
impl Total for Sketch {
    type Small = core::convert::Infallible;

    fn advance(&mut self, later: &Self) {
        self.merge(later);
    }

    fn reduce(&mut self, observed: &Self) {
        if self.registers().any(|register| observed.has(register)) {
            self.lower(|register| (!observed.has(register)).then_some(register));
        }
    }

    fn meet(&mut self, other: &Self) {
        if self != other {
            self.lower(|register| Register::new(register.index(), register.rank().min(other.rank(register.index()))));
        }
    }

    fn small(&self) -> Option<Self::Small> {
        None
    }

    fn from_small(small: Self::Small) -> Self {
        match small {}
    }

    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Sparse(registers) => registers.capacity() * size_of::<Register>(),
            Form::Dense(_) => size_of::<Dense>(),
        }
    }
}

const SPARSE: u8 = 1;
const DENSE: u8 = 2;

impl Wire for Sketch {
    fn encode(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Sparse(registers) => {
                out.push(SPARSE);
                put_varint(out, registers.len() as u64);
                let mut next = 0;
                for register in registers {
                    let gap = (register.index() - next) as u64;
                    put_varint(out, gap << RANK_BITS | u64::from(register.rank()));
                    next = register.index() + 1;
                }
            }
            Form::Dense(dense) => {
                out.push(DENSE);
                out.extend_from_slice(&dense.packed);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        match u8::decode(reader)? {
            SPARSE => decode_sparse(reader),
            DENSE => {
                let packed = reader.take(DENSE_BYTES)?;
                let mut dense = Dense::new();
                for index in 0..REGISTERS {
                    match rank_in(&packed, index) {
                        0 => {}
                        rank @ 1..=RANK_MAX => dense.put(index, rank),
                        _ => return Err(WireError::Invalid("sketch: rank")),
                    }
                }
                if dense.hits() > SPARSE_MAX { Ok(Self(Form::Dense(dense))) } else { Err(WireError::Invalid("sketch: dense")) }
            }
            _ => Err(WireError::Invalid("sketch")),
        }
    }
}

fn decode_sparse(reader: &mut Reader) -> Result<Sketch, WireError> {
    let count = reader.varint()?;
    if count > SPARSE_MAX as u64 || count > reader.remaining() as u64 {
        return Err(WireError::Invalid("sketch: count"));
    }
    let (mut registers, mut next) = (Vec::with_capacity(count as usize), 0);
    for _ in 0..count {
        let code = reader.varint()?;
        let (gap, rank) = (code >> RANK_BITS, code & ((1 << RANK_BITS) - 1));
        let index = next + usize::try_from(gap).ok().filter(|gap| *gap < REGISTERS).ok_or(WireError::Invalid("sketch: index"))?;
        registers.push(Register::new(index, rank as u8).ok_or(WireError::Invalid("sketch: register"))?);
        next = index + 1;
    }
    Ok(Sketch(Form::Sparse(registers)))
}
