//! Access control: users, what each may do, and the log of what was denied. Rules, rights and texts are those of Redis 7.0.15, but for selectors, which
//! there are not; lists show the rules of commands in the order in which they were given. A rule of its own is `consistency=level`: what the user's
//! connections rely on at first.
//!
//! Pure: the users are a value that the [`Host`](crate::engine::host::Host) holds, keeps and hands on: [`Users::definitions`](users::Users::definitions) is its
//! text form, [`Users::define`](users::Users::define) takes it, and a [`Change`](change::Change) is what an administrator wants of it.

pub mod attempts;
pub mod change;
pub mod commands;
pub mod log;
pub mod patterns;
pub mod rules;
pub mod user;
pub mod users;
