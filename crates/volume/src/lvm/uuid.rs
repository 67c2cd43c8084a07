//! LVM2's own identifiers.

use std::fmt;

/// An identifier of LVM2: 32 characters of 62, which its tools print in seven groups.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uuid([u8; 32]);

/// Characters of each printed group.
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

impl Uuid {
    /// An identifier as labels hold it; none if it holds other characters than LVM2 gives out.
    pub fn parse_bytes(bytes: &[u8; 32]) -> Option<Self> {
        // `_c` of lib/uuid/uuid.c in LVM2; the last two are from before it.
        let known = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'!' | b'#');
        bytes.iter().all(known).then_some(Self(*bytes))
    }

    /// An identifier as it is printed and as metadata holds it, with or without its hyphens.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = text.bytes().filter(|byte| *byte != b'-');
        let mut id = [0; 32];
        for byte in &mut id {
            *byte = bytes.next()?;
        }
        bytes.next().is_none().then(|| Self::parse_bytes(&id))?
    }

    /// The characters without hyphens, as device-mapper's names have them.
    pub fn plain(&self) -> String {
        self.0.iter().copied().map(char::from).collect()
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().map(char::from);
        for (index, len) in GROUPS.into_iter().enumerate() {
            if index > 0 {
                f.write_str("-")?;
            }
            for character in rest.by_ref().take(len) {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one() {
        let text = "MqIH1Z-twy8-UKJz-KtgT-zUaS-CJ57-WJGlT4";
        let uuid = Uuid::parse(text).unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!(uuid.plain(), text.replace('-', ""));
        assert_eq!(Uuid::parse(&uuid.plain()), Some(uuid));
        for bad in ["", "a", "MqIH1Z-twy8-UKJz-KtgT-zUaS-CJ57-WJGlT4x"] {
            assert_eq!(Uuid::parse(bad), None);
        }
        assert_eq!(Uuid::parse_bytes(&[0; 32]), None);
    }
}
