//! The records of a pax header (POSIX.1-2017, "pax Extended Header").

use super::error::Damage;
use crate::Error;
use ondisk::width::u64_of;
use std::path::Path;

/// What the records say that matters here.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Whether the member is stored without its holes, which GNU tar tells by records of its own.
    pub(super) sparse: bool,
    /// Whether `path` is the name of such a member, whose usual name is made up.
    sparse_name: bool,
}

impl Records {
    /// Something that makes no sense for more than one member.
    pub(super) fn what_is_of_one_member(&self) -> Option<&'static str> {
        match (&self.path, self.size) {
            (Some(_), _) => Some("path"),
            (_, Some(_)) => Some("size"),
            _ => self.sparse.then_some("map of holes"),
        }
    }
}

/// Parses records `LENGTH KEYWORD=VALUE\n`; `at` is where they stand in the file at `archive`.
pub(super) fn parse(archive: &Path, at: u64, mut text: &[u8]) -> Result<Records, Error> {
    let whole = text.len();
    let mut records = Records::default();
    while !text.is_empty() {
        let done = u64_of(whole.saturating_sub(text.len()));
        let bad = |record: &[u8]| {
            let record = record.get(..80).unwrap_or(record);
            let (at, record) = (at.saturating_add(done), record.escape_ascii().to_string());
            Error::corrupt(archive, Damage::TarPax { at, record })
        };
        let (record, rest) = split(text).ok_or_else(|| bad(text))?;
        text = rest;
        match record.keyword {
            b"path" if !records.sparse_name => records.path = Some(record.value.to_vec()),
            b"GNU.sparse.name" => {
                records.path = Some(record.value.to_vec());
                (records.sparse, records.sparse_name) = (true, true);
            }
            b"size" => records.size = Some(record.decimal().ok_or_else(|| bad(record.value))?),
            keyword if keyword.starts_with(b"GNU.sparse.") => records.sparse = true,
            _ => {}
        }
    }
    Ok(records)
}

/// One record.
struct Record<'t> {
    keyword: &'t [u8],
    value: &'t [u8],
}

impl Record<'_> {
    fn decimal(&self) -> Option<u64> {
        decimal(self.value)
    }
}

/// The first record, and what follows it.
fn split(text: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let len = decimal(text.get(..space)?)?;
    let (record, rest) = text.split_at_checked(usize::try_from(len).ok()?)?;
    let record = record.get(space.saturating_add(1)..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (keyword, value) = record.split_at_checked(equals)?;
    let value = value.strip_prefix(b"=")?;
    Some((Record { keyword, value }, rest))
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_apart_by_their_lengths() {
        let parse = |text: &[u8]| parse(Path::new("x.ova"), 512, text);
        let records = parse(b"12 path=a=b\n20 size=12345678901\n5 x=\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"a=b"[..]));
        assert_eq!(records.size, Some(12_345_678_901));
        assert!(!records.sparse);
        assert!(parse(b"22 GNU.sparse.major=1\n").unwrap().sparse);
        let records = parse(b"21 GNU.sparse.name=a\n10 path=b\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"a"[..]));
        for bad in [
            &b"12 path=a=b"[..],
            b"0 a=b\n",
            b"5 a=b\n",
            b"7 a=b\n",
            b"99999999999999999999999 a=b\n",
            b"18446744073709551615 a=b\n",
            b"6 ab\n\n",
            b"12 size=-12\n",
            b"12 size=1e3\n",
            b"path=x\n",
            b"\0\0\0\0",
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("at byte 512"), "{error}");
        }
    }
}
