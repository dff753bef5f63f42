#![no_main]

#[path = "../bodies/hpack.rs"]
mod hpack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hpack::run(data));
