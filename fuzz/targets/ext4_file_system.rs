#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::ext4_file_system(data));
