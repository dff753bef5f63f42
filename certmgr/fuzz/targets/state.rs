#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| certmgr::fuzz::state::run(data));
