//! The seven scenarios: what goes wrong, with whom, when.

use steadfast_types::{Instant, Rng};

use crate::network::Network;
use crate::peer::{Number, SERVERS};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// Ten nodes die at once.
    Crashes,
    /// One node in a hundred hears nothing for 20 seconds, hears again for 20, and so on.
    OneWay,
    /// One node in a hundred loses four of five packets, both ways.
    Loss,
    /// This many nodes in a hundred stand still for up to four seconds, again and again.
    Slow(u32),
    /// 2,000 nodes join through one within five seconds.
    StartUp,
    /// Half of the nodes die at once.
    Half,
    /// One node in a hundred stands still for 15 seconds.
    Pause,
}

/// What runs undisturbed before anything goes wrong.
pub const BEFORE_S: u64 = 10;

/// How long one direction of a flipping fault lasts.
const FLIP_S: u64 = 20;

impl Scenario {
    /// All of them, in the order of the table.
    pub const ALL: [Scenario; 9] = [
        Scenario::Crashes,
        Scenario::OneWay,
        Scenario::Loss,
        Scenario::Slow(1),
        Scenario::Slow(8),
        Scenario::Slow(32),
        Scenario::StartUp,
        Scenario::Half,
        Scenario::Pause,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Crashes => "crashes",
            Scenario::OneWay => "one-way",
            Scenario::Loss => "loss",
            Scenario::Slow(0..=1) => "slow-1",
            Scenario::Slow(2..=8) => "slow-8",
            Scenario::Slow(_) => "slow-32",
            Scenario::StartUp => "start-up",
            Scenario::Half => "half",
            Scenario::Pause => "pause",
        }
    }

    /// What happens, in words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Scenario::Crashes => "ten crash at once",
            Scenario::OneWay => "one-way loss on 1 %, 20 s on, 20 s off",
            Scenario::Loss => "80 % loss on 1 %",
            Scenario::Slow(0..=1) => "1 % slow",
            Scenario::Slow(2..=8) => "8 % slow",
            Scenario::Slow(_) => "32 % slow",
            Scenario::StartUp => "start-up of 2,000",
            Scenario::Half => "half crash at once",
            Scenario::Pause => "1 % pause for 15 s",
        }
    }

    /// How long it is watched after it has begun, seconds.
    #[must_use]
    pub fn lasts_s(self, size: Number) -> u64 {
        match self {
            // Some hundred million verdicts are told: it takes minutes.
            Scenario::Half if size > 2_000 => 25,
            Scenario::Crashes | Scenario::Half | Scenario::Pause | Scenario::StartUp => 60,
            Scenario::OneWay | Scenario::Loss | Scenario::Slow(_) if size > 2_000 => 60,
            Scenario::OneWay | Scenario::Loss | Scenario::Slow(_) => 120,
        }
    }

    /// Whom it strikes: never a server, as those decide about removals.
    pub(crate) fn victims(self, size: Number, rng: &mut Rng) -> Vec<Number> {
        let count = match self {
            Scenario::Crashes => 10,
            Scenario::OneWay | Scenario::Loss | Scenario::Pause => (size / 100).max(1),
            Scenario::Slow(percent) => (size * percent / 100).max(1),
            Scenario::StartUp => 0,
            Scenario::Half => size / 2,
        };
        let mut all: Vec<Number> = (SERVERS..size).collect();
        rng.shuffle(&mut all);
        all.truncate(count as usize);
        all
    }

    /// Whether its victims are dead, and are to be noticed.
    #[must_use]
    pub fn kills(self) -> bool {
        match self {
            Scenario::Crashes | Scenario::Half => true,
            Scenario::OneWay | Scenario::Loss | Scenario::Slow(_) | Scenario::StartUp | Scenario::Pause => false,
        }
    }

    /// Does what is due at second `second` of it.
    pub(crate) fn strike(self, second: u64, victims: &[Number], network: &mut Network) {
        for (at, victim) in (0_u64..).zip(victims) {
            let now = network.now;
            let condition = &mut network.conditions[*victim as usize];
            match self {
                Scenario::Crashes | Scenario::Half if second == 0 => condition.is_up = false,
                Scenario::Loss if second == 0 => (condition.loss_in, condition.loss_out) = (0.8, 0.8),
                // Not all of them in step.
                Scenario::OneWay => condition.loss_in = if ((second + at % FLIP_S) / FLIP_S).is_multiple_of(2) { 1.0 } else { 0.0 },
                Scenario::Slow(_) if second == 0 => network.slow_down(*victim),
                Scenario::Pause if second == 0 => condition.stands_until = Instant(now.0 + 15_000_000),
                Scenario::Crashes | Scenario::Half | Scenario::Loss | Scenario::Slow(_) | Scenario::StartUp | Scenario::Pause => {}
            }
        }
    }
}
