//! Places of a list's elements: byte strings between any two of which there is always another, and which no two writes make alike.
//!
//! A place is a part of a neighbour's, and then the write's version and the element's number among those that the write inserted, which make it unique.
//! The version goes up or down: a write that had seen the neighbour has the greater version, so written as it is, it sorts after the neighbour's, and
//! inverted before it. So everything that is pushed to an end of a list, or inserted one after the other at one spot, shares one short beginning
//! instead of growing from place to place; elements pushed to an end by two sides at the same time lie in the order of their versions, and
//! those of one command together. (Byte strings between others as in Logoot, Weiss, Urso and Molli 2009; upwards and downwards as LSEQ's
//! alternating strategies, Nédelec et al. 2013.)
//!
//! Pushed ones take ten bytes, those inserted at one spot a few more. Between the last two inserted, on alternating sides without end, places grow by
//! about three bytes each time: no places that are unique and never change can do better than grow each time.

use crate::name::Name;
use crate::version::Version;

/// Begins a version that goes up. Most bytes are below.
const UP: u8 = 0xc0;

/// Begins a version that goes down.
const DOWN: u8 = 0x40;

/// Of a number's last byte: it goes down.
const IS_DOWN: u8 = 0x40;

/// Of a number's first and last byte: it has six of them.
const IS_LONG: u8 = 0x80;

/// The end of a place: which way it goes, the version, and the number (less than 2^45). It can be read from behind, so places that end in different ones differ.
fn ending(marker: u8, version: Version, number: u64) -> Name {
    let is_down = marker == DOWN;
    let written = if is_down { !version.number() } else { version.number() };
    let mut ending = Name::from(&[marker][..]);
    ending.extend(&written.to_be_bytes());
    let direction = if is_down { IS_DOWN } else { 0 };
    match number {
        0..64 => ending.extend(&[direction | number as u8]),
        _ => {
            let [.., high, a, b, c, d, _] = (number << 2).to_be_bytes();
            ending.extend(&[IS_LONG | high, a, b, c, d, IS_LONG | direction | (number as u8 & 0x3f)]);
        }
    }
    ending
}

/// A place after one and before another, for the element of a number among those that a write inserts.
///
/// It is so if both were made here, and the write had seen them. For places that nobody makes it may be that there is none in between: then it is after
/// the one before.
pub(crate) fn between(before: &[u8], after: Option<&[u8]>, version: Version, number: u64) -> Name {
    let (up, down) = (ending(UP, version, number), ending(DOWN, version, number));
    let common = after.map_or(0, |after| before.iter().zip(after).take_while(|(one, other)| one == other).count());
    let is_below = |at: usize, ending: &[u8]| after.is_none_or(|after| at > common || *ending < after[at..]);
    let above = (0..=before.len()).find(|at| *up > before[*at..] && is_below(*at, &up));
    let after = after.unwrap_or(&[]);
    let is_above = |at: usize, ending: &[u8]| at > common || *ending > before[at..];
    let below = (0..=after.len()).find(|at| *down < after[*at..] && is_above(*at, &down));
    match (above, below) {
        (Some(at), below) if below.is_none_or(|below| at <= below) => join(&before[..at], &up),
        (_, Some(at)) => join(&after[..at], &down),
        _ => step_below(before, after, common, &up),
    }
}

fn join(beginning: &[u8], ending: &[u8]) -> Name {
    let mut place = Name::from(beginning);
    place.extend(ending);
    place
}

/// Between one and another whose beginning it is, and which goes on too low for either way: with one of the bytes that follow less by one.
fn step_below(before: &[u8], after: &[u8], common: usize, up: &[u8]) -> Name {
    let lowered = (common..after.len()).find(|at| after[*at] > 0).filter(|_| common == before.len());
    let Some(at) = lowered else { return join(before, up) };
    let mut place = Name::from(&after[..at]);
    place.extend(&[after[at] - 1]);
    place.extend(up);
    place
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::ranked::Ranked;
    use crate::version::{Actor, Time};

    fn version(ms: u64) -> Version {
        Version::new(Time::at_unix_ms(Time::EPOCH_MS + ms), Actor::default())
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0_u8), Just(DOWN), Just(UP), Just(0xff), any::<u8>()];
        proptest::collection::vec(byte, 0..20)
    }

    /// Whether a place goes up, its version and its number.
    fn writer(place: &[u8]) -> (bool, Version, u64) {
        let last = place[place.len() - 1];
        let digits = if last & IS_LONG == 0 { 1 } else { 6 };
        let (rest, digits) = place.split_at(place.len() - digits);
        let high = digits[..digits.len() - 1].iter().fold(0, |number, digit| number << 8 | u64::from(*digit));
        let high = if digits.len() > 1 { high ^ u64::from(IS_LONG) << 32 } else { 0 };
        let written = rest[rest.len() - 8..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let is_up = last & IS_DOWN == 0;
        (is_up, Version::from_number(if is_up { written } else { !written }), high << 6 | u64::from(last & 0x3f))
    }

    /// Inserts so many, each where it is said by the number and the rank of the last one; returns the longest place.
    fn longest(count: u64, start: u64, mut at: impl FnMut(u64, usize, usize) -> usize) -> usize {
        let (mut places, mut last) = (Ranked::<Name>::default(), 0);
        for number in 0..count {
            last = at(number, last, places.len());
            let before = last.checked_sub(1).and_then(|before| places.get(before)).map_or(&[][..], |before| before);
            let place = between(before, places.get(last).map(|place| &**place), version(start + 7 * number), 0);
            places.insert(last, place);
        }
        assert!(places.range(1..places.len()).zip(places.range(0..places.len())).all(|(after, before)| after > before));
        places.range(0..places.len()).map(|place| place.len()).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn there_is_always_a_place_between(start in prop_oneof![Just(1_u64), 1..1_u64 << 40], spots in proptest::collection::vec((0..100_usize, 1..9_u64, 0..3_usize), 1..60)) {
            let mut places = Vec::<Name>::new();
            for (command, (spot, count, near)) in (0..).zip(spots) {
                let at = if near == 0 { spot * places.len() / 100 } else { (places.len() / 2 + spot % 3).min(places.len()) };
                for number in 0..count {
                    // Some commands insert very many.
                    let (at, number) = (at + number as usize, if near == 2 { number * 60 } else { number });
                    let before = at.checked_sub(1).map_or(&[][..], |before| &places[before]);
                    let after = places.get(at).map(|place| &**place);
                    let place = between(before, after, version(start + command), number);
                    prop_assert!(*place > *before && after.is_none_or(|after| *place < *after), "{:?} {:?} {:?}", before, place, after);
                    places.insert(at, place);
                }
            }
        }

        #[test]
        fn strange_places_make_no_trouble(before in bytes(), after in bytes(), start in any::<u64>(), number in 0..1_u64 << 45) {
            let place = between(&before, Some(&after), Version::from_number(start), number);
            let lowest = [&before[..], &[0; 20]].concat();
            prop_assert!(before > after || lowest >= after || (*before < *place && *place < *after), "{:?}", place);
        }

        #[test]
        fn who_wrote_a_place_can_be_read_from_behind(up in any::<bool>(), start in any::<u64>(), few in 0..200_u64, many in 0..1_u64 << 45, beginning in bytes()) {
            for number in [few, many] {
                let place = join(&beginning, &ending(if up { UP } else { DOWN }, Version::from_number(start), number));
                prop_assert_eq!(writer(&place), (up, Version::from_number(start), number));
            }
        }
    }

    #[test]
    fn places_stay_short() {
        let start = 1 << 36;
        // Pushed to one end, to the other, to both in turns.
        assert_eq!(longest(100_000, start, |_, _, len| len), 10);
        assert_eq!(longest(100_000, start, |_, _, _| 0), 10);
        assert_eq!(longest(100_000, start, |number, _, len| len * (number as usize % 2)), 10);
        // Inserted before the same element always, and after the same.
        assert!(longest(10_000, start, |_, _, len| if len < 2 { len } else { len - 1 }) <= 24);
        assert!(longest(10_000, start, |_, _, len| len.min(1)) <= 24);
        // All over the place.
        assert!(longest(10_000, start, |number, _, len| (number.wrapping_mul(0x9e37_79b9_9e37_79b9) >> 13) as usize % (len + 1)) <= 80);
        // The worst that can be, in which any places grow by a bit at least each time: between the last two, on alternating sides.
        assert!(longest(1000, start, |number, last, _| last + (number as usize % 2)) <= 3 * 1000);
    }
}
