//! The policy as the host meets it: the real bundle, through the real engine, by the public way in.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "all/house.rs"]
mod house;
#[path = "all/speed.rs"]
mod speed;
