//! What an observer may hold against a subject: which way it noticed, how strong that is, since when, and the figures.
//!
//! Times are spans, in milliseconds of the observer's own monotonic clock. No reading of a clock crosses from one node to another, so a wall
//! clock that is an hour off has no place here to do harm in.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use steadfast_types::{wire_enum, wire_struct};

/// A way to notice a failure. The accrual detector is none of its own: it is laid over one of these and counts as it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Requests that are not answered.
    Timeout,
    /// Signs of life at an expected interval.
    Heartbeat,
    /// A number that the subject's work reports, and that should advance.
    Checkpoint,
    /// A probe that must come back through the log and the store.
    Probe,
    /// What the kernel says about connections.
    Transport,
    /// A check that a user declared for a service.
    Check,
    /// What a node says about itself: its soft errors.
    SelfReport,
}
wire_enum!(Way {
    1 => Timeout {}, 2 => Heartbeat {}, 3 => Checkpoint {}, 4 => Probe {}, 5 => Transport {}, 6 => Check {}, 7 => SelfReport {},
});

impl Way {
    /// Every way.
    pub const ALL: [Way; 7] = [Way::Timeout, Way::Heartbeat, Way::Checkpoint, Way::Probe, Way::Transport, Way::Check, Way::SelfReport];

    /// What this way can't see, in the words of a verdict.
    #[must_use]
    pub fn blind_to(self) -> &'static str {
        match self {
            Way::Timeout => "the difference between slow and dead",
            Way::Heartbeat => "one-way network faults, if only one observer has it",
            Way::Checkpoint => "what happens between checkpoints",
            Way::Probe => "the node behind the log and the store",
            Way::Transport => "a hung process behind a live socket",
            Way::Check => "all that its user did not think of",
            Way::SelfReport => "whatever keeps the node from reporting",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Timeout => "timeout",
            Way::Heartbeat => "heartbeat",
            Way::Checkpoint => "checkpoint",
            Way::Probe => "probe",
            Way::Transport => "transport",
            Way::Check => "check",
            Way::SelfReport => "its own report",
        })
    }
}

/// How much a way has against a subject, from nothing known to all that it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suspicion {
    /// The way has nothing to say, for or against.
    Unknown,
    /// The subject was noticed to be well, lately enough.
    Clear,
    /// It is well enough to be tolerated.
    Soft,
    /// Later than it should be, and not late enough to condemn.
    Suspect,
    /// As much as this way can have. Whether that condemns is for the verdict.
    Hard,
}
wire_enum!(Suspicion { 1 => Unknown {}, 2 => Clear {}, 3 => Soft {}, 4 => Suspect {}, 5 => Hard {} });

/// Where a probe stands on its way through the log and the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The log has taken it into its queue.
    Proposed,
    /// It is durable where it was proposed.
    Durable,
    /// A quorum has it.
    Committed,
    /// The store has it.
    Applied,
    /// It was read back.
    Returned,
}
wire_enum!(Stage { 1 => Proposed {}, 2 => Durable {}, 3 => Committed {}, 4 => Applied {}, 5 => Returned {} });

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; 5] = [Stage::Proposed, Stage::Durable, Stage::Committed, Stage::Applied, Stage::Returned];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Proposed => "proposal",
            Stage::Durable => "sync",
            Stage::Committed => "commit",
            Stage::Applied => "apply",
            Stage::Returned => "read back",
        })
    }
}

/// The figures of one piece of evidence, with the bound that they are held against.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figures {
    /// Requests unanswered beyond their timeout, none answered since.
    Unanswered {
        /// How many.
        requests: u32,
        /// How long an answer may take, ms.
        timeout_ms: u64,
    },
    /// The last answer came, but after its timeout.
    LateAnswer {
        /// How long it took, ms.
        took_ms: u64,
        /// How long an answer may take, ms.
        timeout_ms: u64,
    },
    /// No sign of life for a time in which several were expected.
    Silent {
        /// How long nothing came, ms.
        silent_ms: u64,
        /// How often something should come, ms.
        interval_ms: u64,
    },
    /// The silence is improbable: phi is minus the decimal logarithm of the chance that a sign of life still comes.
    Improbable {
        /// Phi, in hundredths.
        phi_hundredths: u32,
        /// How long nothing came, ms.
        silent_ms: u64,
        /// The mean time between two signs of life, ms.
        usual_ms: u64,
    },
    /// The process lives, its work stands still at this number.
    NoProgress {
        /// The number.
        at: u64,
        /// For how long, ms.
        stalled_ms: u64,
        /// How long is allowed, ms.
        bound_ms: u64,
    },
    /// A probe has not passed this stage.
    ProbeStuck {
        /// Which.
        stage: Stage,
        /// How long it has waited, ms.
        waited_ms: u64,
        /// How long is allowed, ms.
        bound_ms: u64,
    },
    /// The last probe came back, but slowly.
    ProbeSlow {
        /// How long it took, ms.
        took_ms: u64,
        /// How long is allowed, ms.
        bound_ms: u64,
    },
    /// Connections reset or refused, and nothing came since.
    Broken {
        /// Connections torn down.
        resets: u32,
        /// Connections refused.
        refusals: u32,
    },
    /// Segments sent again, of a thousand.
    Retransmitted {
        /// How many of a thousand.
        per_mille: u32,
        /// How many of a thousand are tolerated silently.
        bound_per_mille: u32,
    },
    /// Segments seen out of order, of a thousand.
    Reordered {
        /// How many of a thousand.
        per_mille: u32,
        /// How many of a thousand are tolerated silently.
        bound_per_mille: u32,
    },
    /// A check that a user declared failed this often in a row.
    ChecksFailed {
        /// How often.
        failures: u32,
        /// How often it takes.
        needed: u32,
        /// What the last one said.
        last: String,
    },
    /// A tolerated error of a node; see `soft_errors`.
    SoftError {
        /// Which rule.
        rule: String,
        /// Its figure.
        value: u64,
        /// What the figure is held against.
        bound: u64,
    },
}
wire_enum!(Figures {
    1 => Unanswered { requests, timeout_ms },
    2 => LateAnswer { took_ms, timeout_ms },
    3 => Silent { silent_ms, interval_ms },
    4 => Improbable { phi_hundredths, silent_ms, usual_ms },
    5 => NoProgress { at, stalled_ms, bound_ms },
    6 => ProbeStuck { stage, waited_ms, bound_ms },
    7 => ProbeSlow { took_ms, bound_ms },
    8 => Broken { resets, refusals },
    9 => Retransmitted { per_mille, bound_per_mille },
    10 => Reordered { per_mille, bound_per_mille },
    11 => ChecksFailed { failures, needed, last },
    12 => SoftError { rule, value, bound },
});

/// A span in the words of evidence.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000, self.0 % 1_000)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Figures::Unanswered { requests, timeout_ms } => {
                write!(f, "{requests} requests unanswered for more than {}", Seconds(*timeout_ms))
            }
            Figures::LateAnswer { took_ms, timeout_ms } => {
                write!(f, "the last answer took {}, its timeout is {}", Seconds(*took_ms), Seconds(*timeout_ms))
            }
            Figures::Silent { silent_ms, interval_ms } => {
                write!(f, "silent for {}, expected each {}", Seconds(*silent_ms), Seconds(*interval_ms))
            }
            Figures::Improbable { phi_hundredths, silent_ms, usual_ms } => {
                let (whole, part) = (phi_hundredths / 100, phi_hundredths % 100);
                write!(f, "silent for {}, usually {}: phi {whole}.{part:02}", Seconds(*silent_ms), Seconds(*usual_ms))
            }
            Figures::NoProgress { at, stalled_ms, bound_ms } => {
                write!(f, "work stands still at {at} for {}, at most {} is expected", Seconds(*stalled_ms), Seconds(*bound_ms))
            }
            Figures::ProbeStuck { stage, waited_ms, bound_ms } => {
                write!(f, "a probe waits {} for its {stage}, at most {} is expected", Seconds(*waited_ms), Seconds(*bound_ms))
            }
            Figures::ProbeSlow { took_ms, bound_ms } => {
                write!(f, "a probe took {}, at most {} is expected", Seconds(*took_ms), Seconds(*bound_ms))
            }
            Figures::Broken { resets, refusals } => write!(f, "{resets} resets and {refusals} refused connections, nothing came since"),
            Figures::Retransmitted { per_mille, bound_per_mille } => {
                write!(f, "{per_mille} of 1000 segments were sent again, at most {bound_per_mille} are expected")
            }
            Figures::Reordered { per_mille, bound_per_mille } => {
                write!(f, "{per_mille} of 1000 segments came out of order, at most {bound_per_mille} are expected")
            }
            Figures::ChecksFailed { failures, needed, last } => write!(f, "{failures} of {needed} checks failed in a row: {last}"),
            Figures::SoftError { rule, value, bound } => write!(f, "{rule}: {value}, bound {bound}"),
        }
    }
}

/// One thing held against a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Which way noticed it.
    pub way: Way,
    /// How strong it is: soft, suspect or hard.
    pub strength: Suspicion,
    /// How long it has been so, ms.
    pub lasting_ms: u64,
    /// With which figures.
    pub figures: Figures,
}
wire_struct!(Evidence { way, strength, lasting_ms, figures });

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.way, self.figures)
    }
}

/// What one detector says at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// Which way it speaks for.
    pub way: Way,
    /// How much it has against the subject.
    pub suspicion: Suspicion,
    /// What that rests on; empty if there is nothing against it.
    pub evidence: Vec<Evidence>,
}
wire_struct!(Assessment { way, suspicion, evidence });

impl Assessment {
    /// Nothing is held against the subject.
    #[must_use]
    pub fn clear(way: Way) -> Self {
        Assessment { way, suspicion: Suspicion::Clear, evidence: Vec::new() }
    }

    /// The way has nothing to say.
    #[must_use]
    pub fn unknown(way: Way) -> Self {
        Assessment { way, suspicion: Suspicion::Unknown, evidence: Vec::new() }
    }

    /// One thing is held against the subject.
    #[must_use]
    pub fn held(way: Way, strength: Suspicion, lasting: Duration, figures: Figures) -> Self {
        let evidence = Evidence { way, strength, lasting_ms: milliseconds(lasting), figures };
        Assessment { way, suspicion: strength, evidence: alloc::vec![evidence] }
    }

    /// The worse of two assessments by the same way, with what both rest on.
    #[must_use]
    pub fn with(mut self, other: Assessment) -> Assessment {
        self.suspicion = self.suspicion.max(other.suspicion);
        self.evidence.extend(other.evidence);
        self
    }
}

/// A span in whole milliseconds, as evidence gives it.
#[must_use]
pub fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
