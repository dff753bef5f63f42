#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| certmgr::fuzz::caa::run(data));
