//! Reads an input as choices of a test: numbers off its front, and zeros once it is used up.

/// An input on its way through a check.
#[derive(Clone, Debug)]
pub(super) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Script { rest: input }
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn short(&mut self) -> u16 {
        u16::from(self.byte()) | u16::from(self.byte()) << 8
    }

    /// At most `length` bytes, as many as are left.
    pub(super) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }
}

/// A change of bytes at a place: what a script says of damage.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit {
    /// Flips these bits.
    Flip(usize, u8),
    /// Writes these eight bytes.
    Overwrite(usize, [u8; 8]),
}

impl Edit {
    /// Damage of single bytes.
    pub(super) fn flip(script: &mut Script<'_>) -> Self {
        Edit::Flip(usize::from(script.short()), script.byte())
    }

    /// Eight new bytes: a number of any size in the place of another, in either order of its bytes.
    pub(super) fn overwrite(script: &mut Script<'_>) -> Self {
        let at = usize::from(script.short());
        let mut bytes = [0; 8];
        let given = script.take(8);
        bytes[..given.len()].copy_from_slice(given);
        Edit::Overwrite(at, bytes)
    }

    /// Changes `bytes`, with the place counted around their end.
    pub(super) fn apply(self, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Edit::Flip(at, bits) => bytes[at % bytes.len()] ^= bits,
            Edit::Overwrite(at, new) => {
                let at = at % bytes.len();
                bytes[at..].iter_mut().zip(new).for_each(|(byte, new)| *byte = new);
            }
        }
    }
}
