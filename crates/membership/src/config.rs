//! How a member behaves: one struct, and the presets that the scorecard compares.

use steadfast_types::ClusterId;
use steadfast_types::time::Duration;

/// All settings of one member. All members of a cluster should have the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// Packets of other clusters are refused.
    pub cluster: ClusterId,
    /// How often somebody is probed. In one interval each member is probed once on average.
    pub probe_interval: Duration,
    /// How long a ping may take before others are asked to ping too. They have as long, and the probe ends a little after them.
    pub probe_timeout: Duration,
    /// From its start: when a probe that nobody answered has failed.
    pub probe_end: Duration,
    /// How many others are asked to ping.
    pub relays: usize,
    /// Whether a stream is tried as well when a ping is not answered.
    pub stream_ping: bool,
    /// How often what is new is told on.
    pub gossip_interval: Duration,
    /// To how many at a time.
    pub gossip_fanout: usize,
    /// How many datagrams each gets at most, when there is much to tell.
    pub gossip_burst: usize,
    /// How often one thing is told: this many times the digits of the cluster's size.
    pub retransmit_multiplier: usize,
    /// And at least so often: with few members the logarithm leaves too much to chance.
    pub retransmit_least: usize,
    /// Whether what others are heard to tell counts as told by oneself.
    pub feedback: bool,
    /// What was told so often has no more datagrams of its own while there is little to tell: it waits for pings and answers to go with.
    pub gossip_times: usize,
    /// How a silent member is judged.
    pub judgement: Judgement,
    /// The worst score of one's own health (Lifeguard): at score s all own timeouts are s + 1 times as long. 0: no score is kept.
    pub own_health_worst: u8,
    /// A turn later than this is a pause of one's own. `None`: pauses go unnoticed.
    pub pause_limit: Option<Duration>,
    /// After a pause: how long no verdict is cast.
    pub quiet_after_pause: Duration,
    /// How tables are kept alike where gossip did not reach.
    pub anti_entropy: AntiEntropy,
    /// How often one of the failed is tried: both sides of a healed cut find each other.
    pub reconnect_interval: Option<Duration>,
    /// How long the dead are remembered.
    pub dead_age: Duration,
    /// How many dead are remembered.
    pub dead_count: usize,
    /// How often a join is tried again.
    pub join_retry: Duration,
    /// How long a member that leaves stays to tell it.
    pub leave_linger: Duration,
    /// Who was declared failed comes back when it is heard again, and later each time: after 2, 4, 8, … seconds; after this at most, heard or not. Zero: always
    /// at once.
    pub return_backoff_max: Duration,
}

/// How a silent member is judged.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// Suspicion is told to everybody, and ends in failure by time (SWIM, section 4.2).
    Suspicion {
        /// It lasts this many times the decimal logarithm of the size, in probe intervals.
        multiplier: u32,
        /// And up to this many times longer while others have not confirmed it (Lifeguard). 1: time does not shrink.
        stretch: u32,
    },
    /// Whoever gets no answer asks witnesses, each of which pings; only their word condemns.
    Inquiry {
        /// How many distinct members must have found it silent; fewer if fewer are left.
        words: usize,
        /// How many are asked each round.
        witnesses: usize,
        /// In how many rounds in a row nobody may have reached it.
        rounds: u8,
        /// From the end of a round to the next.
        pause: Duration,
    },
}

/// How tables are kept alike.
#[derive(Clone, Debug)]
pub enum AntiEntropy {
    /// Each ping and answer carries a digest; tables that stay different are compared by buckets.
    Digest {
        /// How long they must have differed: longer than gossip takes.
        after: Duration,
        /// When so much is going on that digests never agree: how often to compare nevertheless.
        at_least_every: Duration,
    },
    /// Whole tables are exchanged with somebody at random, by stream; less often in clusters of more than 32, as memberlist does.
    Full {
        /// How often.
        interval: Duration,
    },
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cluster: ClusterId(0),
            probe_interval: Duration::from_millis(500),
            probe_timeout: Duration::from_millis(300),
            probe_end: Duration::from_millis(800),
            relays: 3,
            stream_ping: true,
            gossip_interval: Duration::from_millis(200),
            gossip_fanout: 3,
            gossip_burst: 8,
            retransmit_multiplier: 2,
            retransmit_least: 8,
            feedback: true,
            gossip_times: 4,
            judgement: Judgement::Inquiry { words: 3, witnesses: 6, rounds: 2, pause: Duration::from_millis(600) },
            own_health_worst: 8,
            pause_limit: Some(Duration::from_millis(250)),
            quiet_after_pause: Duration::from_secs(3),
            anti_entropy: AntiEntropy::Digest { after: Duration::from_secs(3), at_least_every: Duration::from_secs(15) },
            reconnect_interval: Some(Duration::from_secs(10)),
            dead_age: Duration::from_secs(24 * 3600),
            dead_count: 16_384,
            join_retry: Duration::from_secs(1),
            leave_linger: Duration::from_secs(2),
            return_backoff_max: Duration::from_secs(32),
        }
    }
}

impl Config {
    /// SWIM as memberlist ships it for local networks, without Lifeguard: what the scorecard compares with.
    #[must_use]
    pub fn plain_swim() -> Self {
        Config {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            probe_end: Duration::from_secs(1),
            gossip_burst: 1,
            retransmit_multiplier: 4,
            retransmit_least: 1,
            feedback: false,
            gossip_times: usize::MAX,
            judgement: Judgement::Suspicion { multiplier: 4, stretch: 1 },
            own_health_worst: 0,
            pause_limit: None,
            anti_entropy: AntiEntropy::Full { interval: Duration::from_secs(30) },
            reconnect_interval: None,
            return_backoff_max: Duration::ZERO,
            ..Config::default()
        }
    }

    /// SWIM with Lifeguard, as memberlist ships it for local networks.
    #[must_use]
    pub fn lifeguard() -> Self {
        let judgement = Judgement::Suspicion { multiplier: 4, stretch: 6 };
        Config { judgement, own_health_worst: 8, ..Config::plain_swim() }
    }
}
