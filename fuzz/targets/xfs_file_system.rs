#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::xfs_file_system(data));
