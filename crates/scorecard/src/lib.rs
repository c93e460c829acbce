//! The scorecard of failure detection: clusters of membership cores in a simulated network, seven scenarios, and what is counted.
//!
//! Each node is the membership core itself; each packet is encoded, counted, carried as bytes and decoded. Time is simulated, and one seed makes all choices, so
//! a run can be repeated. What a node is connected with is a [`network::Network`]; what goes wrong is a [`scenario::Scenario`]; what came of it is a
//! [`measure::Result`].

pub mod measure;
pub mod network;
pub mod peer;
pub mod plot;
pub mod run;
pub mod scenario;
pub mod table;

#[cfg(feature = "foca")]
mod foca_peer;
