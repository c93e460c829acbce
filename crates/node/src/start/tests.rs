//! How a node comes up.
