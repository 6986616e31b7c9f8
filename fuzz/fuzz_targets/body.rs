#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tare_fuzz::body(bytes);
});
