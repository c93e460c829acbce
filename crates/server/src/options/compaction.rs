//! How much history a cluster keeps: etcd's two options, by etcd's names.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steadfast_node::AutoCompaction;

use super::{OptionsError, wrong};

/// What the retention counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompactionMode {
    /// Time.
    #[default]
    Periodic,
    /// Revisions.
    Revision,
}

impl FromStr for CompactionMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "periodic" => Ok(CompactionMode::Periodic),
            "revision" => Ok(CompactionMode::Revision),
            _ => Err("neither `periodic` nor `revision`".to_owned()),
        }
    }
}

/// Less is more often than anybody could want, and no watcher could be away.
const SHORTEST: Duration = Duration::from_secs(1);

/// Reads a retention: `1h` or `90m` (a bare number: hours, as in etcd), or a number of revisions; 0: everything is kept.
pub(super) fn parse(mode: CompactionMode, retention: &str) -> Result<AutoCompaction, OptionsError> {
    const OPTION: &str = "auto-compaction-retention";
    if retention == "0" {
        return Ok(AutoCompaction::Off);
    }
    match mode {
        CompactionMode::Revision => {
            let count = retention.parse().map(AutoCompaction::Revisions);
            count.map_err(|_| wrong(OPTION, format!("`{retention}` is not a number of revisions"), "write 10000, or 0 to keep everything"))
        }
        CompactionMode::Periodic => {
            let hours = retention.parse::<u32>().ok().map(|hours| Duration::from_secs(3600 * u64::from(hours)));
            let age = hours.or_else(|| humantime::parse_duration(retention).ok()).filter(|age| *age >= SHORTEST);
            age.map(AutoCompaction::Age).ok_or_else(|| {
                wrong(OPTION, format!("`{retention}` is not a time of a second or more"), "write 1h or 30m, or 0 to keep everything")
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retentions_read_as_in_etcd() {
        use CompactionMode::{Periodic, Revision};
        let age = |seconds| Ok(AutoCompaction::Age(Duration::from_secs(seconds)));
        assert_eq!(parse(Periodic, "1h"), age(3600));
        assert_eq!(parse(Periodic, "1h30m"), age(5400));
        assert_eq!(parse(Periodic, "2"), age(7200));
        assert_eq!(parse(Periodic, "0"), Ok(AutoCompaction::Off));
        assert_eq!(parse(Revision, "1000"), Ok(AutoCompaction::Revisions(1000)));
        assert_eq!(parse(Revision, "0"), Ok(AutoCompaction::Off));
        for (mode, bad) in [(Periodic, "soon"), (Periodic, "10ms"), (Periodic, ""), (Periodic, "-1h"), (Revision, "1h"), (Revision, "-5")] {
            let error = parse(mode, bad).expect_err(bad).to_string();
            assert!(error.contains(bad) && error.contains("0 to keep everything"), "{error}");
        }
    }
}
