//! The opaque tokens of lists: pages and blocks.
//!
//! A token is its fields and a keyed digest of them, in the base64 alphabet of the real ones, so that
//! a client which forgets to encode `+`, `/` or `=` in a query is found out.

use crate::sigv4::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Block tokens have at most 256 characters in the model.
pub(crate) const MAX_TOKEN: usize = 256;

/// What tokens are made with; it differs from run to run only by the seed.
#[derive(Debug)]
pub(crate) struct Tokens {
    key: [u8; 32],
}

impl Tokens {
    pub(crate) fn new(seed: u64) -> Self {
        Tokens {
            key: hmac(&seed.to_le_bytes(), "tokens"),
        }
    }

    /// Makes a token of `fields`, about the request that `about` names.
    pub(crate) fn make(&self, about: &str, fields: &[u64]) -> String {
        let mut bytes: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect();
        let mac = self.mac(about, &bytes);
        bytes.extend(mac.iter().take(16));
        // The fields are hidden, so that nobody comes to rely on them.
        let mask = mac.iter().take(16).cycle();
        let fields = bytes.len() - 16;
        for (byte, mask) in bytes.iter_mut().take(fields).zip(mask) {
            *byte ^= mask;
        }
        STANDARD.encode(bytes)
    }

    /// The fields of a token that [`Tokens::make`] made about the same.
    pub(crate) fn read<const N: usize>(&self, about: &str, token: &str) -> Option<[u64; N]> {
        let mut bytes = STANDARD.decode(token).ok()?;
        if bytes.len() != N * 8 + 16 {
            return None;
        }
        let mac = bytes.split_off(N * 8);
        for (byte, mask) in bytes.iter_mut().zip(mac.iter().cycle()) {
            *byte ^= mask;
        }
        if self.mac(about, &bytes).get(..16) != Some(mac.as_slice()) {
            return None;
        }
        let mut fields = [0; N];
        for (field, bytes) in fields.iter_mut().zip(bytes.chunks_exact(8)) {
            *field = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(fields)
    }

    fn mac(&self, about: &str, bytes: &[u8]) -> [u8; 32] {
        let message = format!("{about}\n{}", STANDARD.encode(bytes));
        hmac(&self.key, &message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_what_it_was_made_for_only() {
        let tokens = Tokens::new(1);
        let token = tokens.make("page snap-1", &[1, 2, 3]);
        assert_eq!(tokens.read("page snap-1", &token), Some([1, 2, 3]));
        assert_eq!(tokens.read::<3>("page snap-2", &token), None);
        assert_eq!(tokens.read::<2>("page snap-1", &token), None);
        assert_eq!(Tokens::new(2).read::<3>("page snap-1", &token), None);
        for position in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[position] = if other[position] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("ASCII");
            assert_eq!(
                tokens.read::<3>("page snap-1", &other),
                None,
                "byte {position}"
            );
        }
    }
}
