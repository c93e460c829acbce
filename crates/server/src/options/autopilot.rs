//! What a cluster changes about its members by itself.

use std::time::Duration;

use steadfast_node::Autopilot;

use super::{OptionsError, wrong};

/// So many election timeouts a voter must have been silent at least: a restart takes as long as one or two.
const SHORTEST_SILENCE: u32 = 2;

/// Reads both times, like `30s` or `10m`; `0`: never.
pub(super) fn parse(promote_after: &str, replace_after: &str, election_timeout: Duration) -> Result<Autopilot, OptionsError> {
    const REPLACE: &str = "replace-dead-voters-after";
    let (promote_after, replace_after) = (time("promote-learners-after", promote_after)?, time(REPLACE, replace_after)?);
    let shortest = SHORTEST_SILENCE * election_timeout;
    match replace_after.filter(|after| *after < shortest) {
        Some(after) => Err(wrong(
            REPLACE,
            format!("{} is too short: a voter that restarts would be replaced", humantime::format_duration(after)),
            format!(
                "write {} (twice --election-timeout) or more, like 10m, or 0 to keep dead voters",
                humantime::format_duration(shortest)
            ),
        )),
        None => Ok(Autopilot { promote_after, replace_after }),
    }
}

pub(super) fn time(option: &'static str, text: &str) -> Result<Option<Duration>, OptionsError> {
    if text == "0" {
        return Ok(None);
    }
    let time = humantime::parse_duration(text).map(Some);
    time.map_err(|_| wrong(option, format!("`{text}` is not a time"), "write it like 30s or 10m, or 0 to leave it to people"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn times_are_read_and_wrong_ones_are_explained() {
        let read = |promote, replace| parse(promote, replace, SECOND).map_err(|error| error.to_string());
        assert_eq!(read("0", "0"), Ok(Autopilot::default()));
        assert_eq!(read("0s", "10m"), Ok(Autopilot { promote_after: Some(Duration::ZERO), replace_after: Some(600 * SECOND) }));
        assert_eq!(read("30s", "2s"), Ok(Autopilot { promote_after: Some(30 * SECOND), replace_after: Some(2 * SECOND) }));
        for (promote, replace, expected) in
            [("soon", "0", "`soon` is not a time"), ("0", "", "`` is not a time"), ("0", "1s", "1s is too short"), ("0", "-5s", "`-5s`")]
        {
            let error = read(promote, replace).expect_err(expected);
            assert!(error.contains(expected) && error.contains("or 0 to"), "{error}");
        }
    }
}
