//! The Redis protocol: frames, commands, answers and errors as Redis 7.0.15 gives them, over available state.
#![warn(missing_docs)]
