#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::fuzz::grpc_timeout::run(data));
