//! Compiles the `.proto` files without a `protoc`: protox parses, tonic generates.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const ROOT: &str = "proto";
const FILES: [&str; 2] = [
    "routeguide/route_guide.proto",
    "h2gate/certs/v1/certificates.proto",
];

#[expect(clippy::disallowed_methods, reason = "cargo passes the folder by a variable")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");

    let descriptors = protox::compile(FILES, [ROOT])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    // Reflection hands this out as it is, comments included.
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
