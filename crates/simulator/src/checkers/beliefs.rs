//! A leader believes of no follower more than is true: what it counts as matched is in the follower's log, the same entry (Raft paper, figure 3,
//! "Log Matching", and the ground of every commit).
//!
//! Left out: followers of a later term, to whom this leader is past; those that may have lost something, which say so; entries that one of
//! the two has compacted.

use steadfast_consensus::Raft;

use steadfast_proof::Violation;

/// Compares what `leader` believes with what its followers have.
///
/// # Errors
/// It counts on an entry that a follower does not have.
pub fn check<'a>(leader: &Raft, follower: impl Fn(steadfast_types::NodeId) -> Option<&'a Raft>) -> Result<(), Violation> {
    for believed in leader.followers() {
        let Some(follower) = follower(believed.id) else { continue };
        if follower.term() > leader.term() || follower.is_suspect() {
            continue;
        }
        let (own, its) = (leader.term_at(believed.matched), follower.term_at(believed.matched));
        let is_missing = follower.last().index < believed.matched;
        if is_missing || own.zip(its).is_some_and(|(own, its)| own != its) {
            let what = format!(
                "{} of {} counts {} as having entry {} of {own:?}, and its log ends with {} and has there {its:?}",
                leader.id(),
                leader.term(),
                believed.id,
                believed.matched,
                follower.last()
            );
            return Err(Violation::new("beliefs", what));
        }
    }
    Ok(())
}
