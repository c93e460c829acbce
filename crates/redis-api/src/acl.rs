//! Access control: users, what each may do, and the log of what was denied. Redis 7.0.15's rules, texts and lists, but for selectors.
//!
//! Pure: the users are a value that the [`Host`](crate::engine::host::Host) holds, keeps and hands on; [`Users::lines`](users::Users::lines) and
//! [`Users::set`](users::Users::set) are its text form, and [`Users::generation`](users::Users::generation) tells when it changed.

pub mod attempts;
pub mod commands;
pub mod log;
pub mod patterns;
pub mod rules;
pub mod user;
pub mod users;
