//! Absolute paths inside a guest.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// An absolute path inside a guest: bytes, because guests may name files with any byte.
///
/// It is normalised when it is made: no empty parts and no `.`; a `..` removes the part before it
/// and does nothing at the root, as the kernel does it. Whether a part is a symbolic link is not
/// known here; [`Guest::canonical`](crate::Guest::canonical) tells.
///
/// [`Display`](fmt::Display) and serde use the same spelling, which loses nothing: bytes that are
/// no UTF-8, control characters and `\` are written as `\xNN`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GuestPath(Vec<u8>);

impl GuestPath {
    /// `/`.
    pub fn root() -> Self {
        Self(vec![b'/'])
    }

    /// Normalises a path; one without a leading `/` is taken from the root.
    pub fn new(path: impl AsRef<[u8]>) -> Self {
        let mut normal = Vec::with_capacity(path.as_ref().len());
        for part in path.as_ref().split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    let cut = normal.iter().rposition(|byte| *byte == b'/');
                    normal.truncate(cut.unwrap_or(0));
                }
                name => {
                    normal.push(b'/');
                    normal.extend_from_slice(name);
                }
            }
        }
        if normal.is_empty() {
            normal.push(b'/');
        }
        Self(normal)
    }

    /// This path with a name, or a relative path, below it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<[u8]>) -> Self {
        let mut joined = self.0.clone();
        joined.push(b'/');
        joined.extend_from_slice(name.as_ref());
        Self::new(joined)
    }

    /// The directory that holds this path; none for the root.
    pub fn parent(&self) -> Option<Self> {
        match self.last_slash()? {
            0 => Some(Self::root()),
            slash => Some(Self(self.0[..slash].to_vec())),
        }
    }

    /// The last part; none for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.last_slash().map(|slash| &self.0[slash + 1..])
    }

    /// All parts from the root on.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
    }

    /// The bytes, from the leading `/` on.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as text where it is UTF-8, else with replacement characters.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Whether this path is `base` or lies below it.
    pub fn starts_with(&self, base: &Self) -> bool {
        self.strip_prefix(base).is_some()
    }

    /// What is left of the path below `base`, without a leading `/`; empty for `base` itself.
    pub fn strip_prefix(&self, base: &Self) -> Option<&[u8]> {
        if base.is_root() {
            return Some(&self.0[1..]);
        }
        match self.0.strip_prefix(base.as_bytes())? {
            b"" => Some(b""),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        }
    }

    /// Whether the name of the path ends in `suffix`, as `.conf`.
    pub fn has_suffix(&self, suffix: &str) -> bool {
        self.name()
            .is_some_and(|name| name.ends_with(suffix.as_bytes()))
    }

    /// What stands behind the last dot of the name; none for `name`, `.name` and the root.
    pub fn extension(&self) -> Option<&[u8]> {
        let name = self.name()?;
        let dot = name.iter().rposition(|byte| *byte == b'.')?;
        (dot > 0).then(|| &name[dot + 1..])
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == b"/"
    }

    /// Position of the slash before the last part; none for the root.
    fn last_slash(&self) -> Option<usize> {
        if self.is_root() {
            return None;
        }
        self.0.iter().rposition(|byte| *byte == b'/')
    }
}

impl From<&str> for GuestPath {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

impl AsRef<[u8]> for GuestPath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for GuestPath {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for GuestPath {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for GuestPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GuestPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = unescape(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("not a guest path, bad escape in {text:?}"))
        })?;
        if bytes.first() != Some(&b'/') {
            return Err(serde::de::Error::custom(format!(
                "not an absolute guest path: {text:?}"
            )));
        }
        Ok(Self::new(bytes))
    }
}

/// Spells bytes as text that [`unescape`] turns back into the same bytes.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let hex = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    };
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' || character.is_control() {
                let mut buffer = [0; 4];
                hex(&mut text, character.encode_utf8(&mut buffer).as_bytes());
            } else {
                text.push(character);
            }
        }
        hex(&mut text, chunk.invalid());
    }
    text
}

pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let ([b'x', high, low], tail) = tail.split_first_chunk::<3>()? else {
            return None;
        };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        rest = tail;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_and_never_leave_the_root() {
        for (given, normal) in [
            ("", "/"),
            ("/", "/"),
            ("//etc/./fstab/", "/etc/fstab"),
            ("etc", "/etc"),
            ("/a/../../b", "/b"),
            ("/..", "/"),
        ] {
            assert_eq!(GuestPath::new(given), normal, "{given}");
        }
    }

    #[test]
    fn parts_of_paths() {
        let path = GuestPath::from("/boot/grub/grub.cfg");
        assert_eq!(path.parent(), Some("/boot/grub".into()));
        assert_eq!(path.name(), Some(&b"grub.cfg"[..]));
        assert_eq!(path.extension(), Some(&b"cfg"[..]));
        assert!(path.has_suffix(".cfg"));
        assert_eq!(GuestPath::from("/etc").parent(), Some(GuestPath::root()));
        assert_eq!(GuestPath::root().parent(), None);
        assert_eq!(GuestPath::root().name(), None);
        assert_eq!(GuestPath::from("/a/.b").extension(), None);
        assert_eq!(GuestPath::root().join("x"), "/x");
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let path = GuestPath::from("/boot/efi/EFI");
        assert_eq!(path.strip_prefix(&"/boot".into()), Some(&b"efi/EFI"[..]));
        assert_eq!(
            path.strip_prefix(&GuestPath::root()),
            Some(&b"boot/efi/EFI"[..])
        );
        assert_eq!(path.strip_prefix(&path), Some(&b""[..]));
        assert!(!path.starts_with(&"/boot/ef".into()));
    }

    #[test]
    fn text_form_loses_nothing() {
        let path = GuestPath::new(b"/a\\b/\xff\xc3/gr\xc3\xbc\xc3\x9fe\n");
        assert_eq!(path.to_string(), "/a\\x5cb/\\xff\\xc3/grüße\\x0a");
        assert_eq!(unescape(&path.to_string()).unwrap(), path.as_bytes());
        assert_eq!(unescape("\\x4"), None);
        assert_eq!(unescape("\\y41"), None);
    }
}
