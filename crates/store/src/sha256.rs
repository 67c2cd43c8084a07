//! SHA-256 of several blocks at a time.
//!
//! Each round of SHA-256 needs the one before, so a CPU waits for most of the time it takes over one
//! message, even with instructions made for it. Rounds of different messages do not need each
//! other: [`eight`] works on eight messages in the lanes of vector registers.

#[cfg(target_arch = "x86_64")]
mod eight;

use crate::index::Digest;
use multiversion::multiversion;
use multiversion::target::match_target;
use sha2::{Digest as _, Sha256};

/// Messages that are hashed together.
const LANES: usize = 8;

/// For fewer, lanes that do nothing would cost more than one message after the other: a CPU that
/// has the lanes has instructions for SHA-256, too.
const FEWEST: usize = 6;

/// How many messages are best hashed together: one where the CPU hashes each by itself.
pub(crate) fn together() -> u32 {
    let lanes = of_lanes([&[]; LANES]);
    lanes.map_or(1, |lanes| u32::try_from(lanes.len()).unwrap_or(1))
}

/// The digests of messages, in their order.
///
/// Messages of one length, in whole blocks of 64 bytes, are hashed [`LANES`] at a time where the CPU
/// has AVX-512 as of Ice Lake and Zen 4.
pub(crate) fn digests(messages: &[&[u8]]) -> Vec<Digest> {
    let mut digests = Vec::with_capacity(messages.len());
    for group in messages.chunks(LANES) {
        match in_lanes(group).and_then(of_lanes) {
            Some(all) => digests.extend(all.iter().take(group.len())),
            None => digests.extend(group.iter().map(|one| Digest::from(Sha256::digest(one)))),
        }
    }
    digests
}

/// A message for each lane, if that is worth while; lanes that are left over repeat the last.
fn in_lanes<'a>(messages: &[&'a [u8]]) -> Option<[&'a [u8]; LANES]> {
    let (first, last) = (messages.first()?, messages.last()?);
    let alike = |message: &&[u8]| message.len() == first.len();
    if messages.len() < FEWEST || !first.len().is_multiple_of(64) || !messages.iter().all(alike) {
        return None;
    }
    let lane = |lane| *messages.get(lane).unwrap_or(last);
    Some(std::array::from_fn(lane))
}

/// The digests of messages of one length in whole blocks; none where the CPU has no lanes.
///
/// `multiversion` asks for more of AVX-512 than is named here: what CPUs lack on which its use slows
/// the clock (Skylake to Cooper Lake).
#[multiversion(targets("x86_64+avx512f+avx512vl"))]
fn of_lanes(messages: [&[u8]; LANES]) -> Option<[Digest; LANES]> {
    match_target! {
        "x86_64+avx512f+avx512vl" => Some(eight::digests(messages)),
        _ => {
            let _ = messages;
            None
        }
    }
}

#[cfg(test)]
mod tests;
