//! Listeners, TLS, routing and the relay of RPCs: the data path of h2gate.
pub mod settings;
pub mod telemetry;
