//! The demonstration.

pub mod route_guide;
