use super::*;
use ondisk::width::u64_of;

/// Bytes that look random, others for each seed.
fn message(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(&mut byte).take(len).collect()
}

fn one_by_one(messages: &[&[u8]]) -> Vec<Digest> {
    let digest = |message: &&[u8]| Digest::from(Sha256::digest(message));
    messages.iter().map(digest).collect()
}

#[track_caller]
fn agree(messages: &[Vec<u8>]) {
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    assert_eq!(digests(&messages), one_by_one(&messages));
}

#[test]
fn any_number_of_messages_of_any_length_is_hashed_as_by_sha2() {
    for count in 0..=3 * LANES {
        for len in [0, 1, 55, 56, 63, 64, 65, 128, 192, 1000, 4096] {
            let seed = |number: usize| u64_of(number * 10_000 + len);
            let messages: Vec<_> = (0..count)
                .map(|number| message(seed(number), len))
                .collect();
            agree(&messages);
        }
    }
}

#[test]
fn messages_of_different_lengths_are_hashed_as_by_sha2() {
    let messages: Vec<_> = (0..20_usize)
        .map(|number| message(u64_of(number), 64 * (number % 3)))
        .collect();
    agree(&messages);
}

#[test]
fn lanes_do_not_meet() {
    // One byte differs, in one lane, at each place of a block in turn.
    for place in 0..128 {
        let mut messages = vec![vec![0xff; 128]; LANES];
        messages[place % LANES][place] = 0;
        agree(&messages);
    }
}

#[test]
fn whole_blocks_of_a_disk_are_hashed_as_by_sha2() {
    let messages: Vec<_> = (0..9).map(|number| message(number, 512 << 10)).collect();
    agree(&messages);
}

#[test]
fn the_lanes_are_used_where_the_cpu_has_them() {
    #[cfg(target_arch = "x86_64")]
    let has_lanes = std::is_x86_feature_detected!("avx512vl")
        // What multiversion asks for besides, which came with Ice Lake.
        && std::is_x86_feature_detected!("avx512vbmi2")
        && std::is_x86_feature_detected!("avx512bitalg")
        && std::is_x86_feature_detected!("avx512vpopcntdq")
        && std::is_x86_feature_detected!("gfni")
        && std::is_x86_feature_detected!("vaes");
    #[cfg(not(target_arch = "x86_64"))]
    let has_lanes = false;
    let together = usize::try_from(together()).unwrap();
    assert_eq!(together, if has_lanes { LANES } else { 1 });
}
