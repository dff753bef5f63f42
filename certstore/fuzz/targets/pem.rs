#![no_main]

#[path = "../bodies/pem.rs"]
mod pem;

libfuzzer_sys::fuzz_target!(|data: &[u8]| pem::run(data));
