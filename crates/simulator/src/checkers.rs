//! Checkers of what goes on inside the nodes, one file each: what must hold of any run, whatever was done to it. Those of what clients see are in
//! `steadfast-proof`.

pub mod beliefs;
pub mod bounds;
pub mod brakes;
pub mod leaders;
pub mod log_agreement;
pub mod members;
pub mod promises;
pub mod recovery;
pub mod state_agreement;
