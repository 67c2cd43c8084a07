//! The text of descriptors that are not in UTF-8.

use super::error::{Damage, Feature};
use crate::Error;
use crate::error::Feature as AnyFeature;
use std::borrow::Cow;
use std::path::Path;

/// The names that VMware gives to the encoding of Western Europe, of which the standard ones are
/// a part.
const WESTERN: [&str; 4] = ["windows-1252", "iso-8859-1", "latin1", "us-ascii"];

/// What the bytes 0x80 to 0x9f are in windows-1252; five of them are nothing.
const HIGH: [Option<char>; 32] = [
    Some('€'),
    None,
    Some('‚'),
    Some('ƒ'),
    Some('„'),
    Some('…'),
    Some('†'),
    Some('‡'),
    Some('ˆ'),
    Some('‰'),
    Some('Š'),
    Some('‹'),
    Some('Œ'),
    None,
    Some('Ž'),
    None,
    None,
    Some('‘'),
    Some('’'),
    Some('“'),
    Some('”'),
    Some('•'),
    Some('–'),
    Some('—'),
    Some('˜'),
    Some('™'),
    Some('š'),
    Some('›'),
    Some('œ'),
    None,
    Some('ž'),
    Some('Ÿ'),
];

/// The descriptor at `path` as text.
///
/// What is valid UTF-8 is taken for it, whatever the descriptor says: most say nothing, tools that
/// edit them don't keep what they say true, and text of another encoding passes for UTF-8 only if
/// it is ASCII.
pub(super) fn decode<'t>(path: &Path, text: &'t [u8]) -> Result<Cow<'t, str>, Error> {
    let not_text = |at| Error::corrupt(path, Damage::DescriptorNotText(at));
    let first = match str::from_utf8(text) {
        Ok(text) => return Ok(text.into()),
        Err(error) => error.valid_up_to(),
    };
    let Some(encoding) = declared(text) else {
        return Err(not_text(first));
    };
    if encoding == "utf-8" {
        return Err(not_text(first));
    }
    if !WESTERN.contains(&encoding.as_str()) {
        let feature = AnyFeature::Vmdk(Feature::Encoding(encoding));
        return Err(Error::unsupported(path, feature));
    }
    let mut decoded = String::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        let high = byte
            .checked_sub(0x80)
            .and_then(|n| HIGH.get(usize::from(n)));
        match high {
            None => decoded.push(char::from(*byte)),
            Some(Some(char)) => decoded.push(*char),
            Some(None) => return Err(not_text(at)),
        }
    }
    Ok(decoded.into())
}

/// The encoding that a line of the descriptor names, in lower case.
fn declared(text: &[u8]) -> Option<String> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let line = str::from_utf8(line).ok()?;
        let (key, value) = line.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case("encoding")
            .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &[u8]) -> Result<String, String> {
        decode(Path::new("d.vmdk"), text)
            .map(Cow::into_owned)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_of_western_europe_are_understood_and_others_refused() {
        let western = b"encoding=\"windows-1252\"\nRW 1 FLAT \"caf\xe9 \x80\x99.vmdk\"";
        let text = decoded(western).unwrap();
        assert!(text.contains("café €™.vmdk"), "{text}");
        let utf8 = "encoding=\"windows-1252\"\n\"café.vmdk\"";
        assert_eq!(decoded(utf8.as_bytes()).unwrap(), utf8);
        for (text, expected) in [
            (&b"x\n\xe9"[..], "not text at byte 2"),
            (b"encoding=UTF-8\n\xe9", "not text at byte 15"),
            (b"encoding=\"latin1\"\n\x81", "not text at byte 18"),
            (b"Encoding = \"GBK\"\n\xb4\xc5\xff", "gbk"),
        ] {
            let error = decoded(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(HIGH.iter().flatten().count(), 27);
    }
}
