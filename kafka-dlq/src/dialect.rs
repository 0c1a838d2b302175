//! Header dialects: what frameworks write onto their dead letters.
//!
//! Pure: no I/O, no clock.

pub mod ours;
pub mod spring;
pub mod connect;
