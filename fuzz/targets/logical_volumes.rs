#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::logical_volumes(data));
