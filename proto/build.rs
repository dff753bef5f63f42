//! Compiles the `.proto` files without a `protoc`: protox parses, tonic generates.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const ROOT: &str = "proto";
const FILES: [&str; 2] = [
    "routeguide/route_guide.proto",
    "h2gate/certs/v1/certificates.proto",
];

/// Fields of the certificate service whose values are texts in JSON: instants and durations.
const TEXTS: [&str; 12] = [
    "time",
    "not_before_time",
    "not_after_time",
    "promoted_time",
    "last_success_time",
    "since_time",
    "asked_time",
    "next_time",
    "peak_time",
    "expected_life",
    "window",
    "horizon",
];

#[expect(clippy::disallowed_methods, reason = "cargo passes the folder by a variable")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");

    let descriptors = protox::compile(FILES, [ROOT])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    // Reflection hands this out as it is, comments included.
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut types = tonic_prost_build::configure()
        .type_attribute(".h2gate.certs.v1", "#[derive(serde::Serialize)]")
        .field_attribute("NextStep.action", serialized_by("action"))
        .field_attribute("Revocation.progress", serialized_by("progress"));
    for field in TEXTS {
        types = types.field_attribute(field, serialized_by("text"));
    }
    types.compile_fds(descriptors)?;
    Ok(())
}

fn serialized_by(function: &str) -> String {
    format!("#[serde(serialize_with = \"crate::json::{function}\")]")
}
