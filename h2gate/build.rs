//! Tells the program which target it is built for; cargo gives that to build scripts only.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    let profile = std::env::var("PROFILE").unwrap_or_default();
    println!("cargo::rustc-env=H2GATE_TARGET={target}");
    println!("cargo::rustc-env=H2GATE_PROFILE={profile}");
    println!("cargo::rerun-if-changed=build.rs");
}
