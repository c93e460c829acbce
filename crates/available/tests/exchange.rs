//! What holds of replicas that speak with each other, whatever happens to them and to what is between them.

extern crate alloc;

#[path = "exchange/model.rs"]
mod model;
#[path = "exchange/net.rs"]
mod net;
#[path = "exchange/properties.rs"]
mod properties;
#[path = "exchange/scenes.rs"]
mod scenes;
