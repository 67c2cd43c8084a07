//! Lists of what changed on a disk.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes of a disk that may have changed, and where that is written.
#[derive(Debug)]
pub(crate) struct Changed {
    path: PathBuf,
    /// With the place in the file.
    ranges: Vec<(usize, Range<u64>)>,
    /// What a place in the file is.
    unit: &'static str,
}

/// A run as `rehost map`, `rehost diff` and `qemu-img map` print it; what else they say about it
/// does not matter.
#[derive(Deserialize)]
struct Run {
    start: u64,
    length: u64,
}

impl Changed {
    /// Reads lines of `START LENGTH`, or a JSON array of objects with `start` and `length`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let mut changed = Self {
            path: path.to_owned(),
            ranges: Vec::new(),
            unit: "line",
        };
        if text.trim_start().starts_with('[') {
            changed.unit = "run";
            let runs: Vec<Run> = serde_json::from_str(&text)
                .with_context(|| format!("{} is no list of ranges", path.display()))?;
            for (number, run) in (1..).zip(runs) {
                changed.add(number, Some((run.start, run.length)))?;
            }
            return Ok(changed);
        }
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                changed.add(number, numbers(line))?;
            }
        }
        Ok(changed)
    }

    fn add(&mut self, number: usize, run: Option<(u64, u64)>) -> Result<()> {
        let place = self.place(number);
        let Some((start, length)) = run else {
            bail!("{place}: expected START LENGTH, two numbers of bytes");
        };
        let Some(end) = start.checked_add(length) else {
            bail!("{place}: {length} bytes from {start} on end beyond any disk");
        };
        self.ranges.push((number, start..end));
        Ok(())
    }

    /// The ranges, if they are of a disk of `size` bytes. Whoever tracks changes in units may end
    /// in one that the disk has in part.
    pub(crate) fn on_disk(&self, size: u64) -> Result<Vec<Range<u64>>> {
        let beyond = |(_, range): &&(usize, Range<u64>)| !range.is_empty() && range.start >= size;
        if let Some((number, range)) = self.ranges.iter().find(beyond) {
            bail!(
                "{}: byte {} is not on the disk, which has {size}: is it the list of another one?",
                self.place(*number),
                range.start
            );
        }
        let clipped = |(_, range): &(usize, Range<u64>)| range.start..range.end.min(size);
        Ok(self
            .ranges
            .iter()
            .map(clipped)
            .filter(|range| !range.is_empty())
            .collect())
    }

    fn place(&self, number: usize) -> String {
        format!("{}, {} {number}", self.path.display(), self.unit)
    }
}

fn numbers(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (start, length) = (words.next()?, words.next()?);
    let both = (start.parse().ok()?, length.parse().ok()?);
    words.next().is_none().then_some(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Changed> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("changed");
        fs::write(&path, text).unwrap();
        Changed::read(&path)
    }

    #[test]
    fn both_forms_say_the_same() {
        let lines = read("# of monday\n0 512\n\n  4096\t1000 \n100 0\n").unwrap();
        let json = r#" [{"start":0,"length":512,"depth":0},{"length":1000,"start":4096}]"#;
        for changed in [lines, read(json).unwrap()] {
            assert_eq!(changed.on_disk(5000).unwrap(), [0..512, 4096..5000]);
        }
        assert!(read("").unwrap().on_disk(0).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_range_is_refused_by_its_place() {
        for (text, place) in [
            ("0 1\n5\n", "line 2"),
            ("0 1\n\n5 6 7\n", "line 3"),
            ("0x10 5", "line 1"),
            ("-1 5", "line 1"),
            ("1 18446744073709551615", "line 1"),
            (r#"[{"start":1,"length":18446744073709551615}]"#, "run 1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
        assert!(read(r#"[{"start":1}]"#).is_err());
        let error = read("0 9\n8192 1").unwrap().on_disk(8192).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("line 2: byte 8192 is not on the disk")
        );
    }
}
