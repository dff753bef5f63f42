#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| certmgr::fuzz::pkcs12::run(data));
