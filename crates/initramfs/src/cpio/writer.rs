use super::{FileType, HEADER_LEN, Numbers, PATH_MAX, TRAILER, padded_name_len};
use crate::error::{Error, UnsupportedKind};
use ondisk::width::{u64_of, usize_of};

/// Writes a "newc" archive: every time and owner is 0, every file has one name, so the same
/// members give the same bytes.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts an archive; it has to be placed at a multiple of 4.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory with the permissions 0755.
    ///
    /// # Errors
    /// Unsupported if the name is longer than 4095 bytes or has a NUL.
    pub fn directory(&mut self, path: &str) -> Result<(), Error> {
        self.member(path, FileType::Directory, 0o755, &[])
    }

    /// Adds a regular file; of `mode` the permissions count.
    ///
    /// # Errors
    /// As [`directory`](Self::directory), and unsupported if `data` has 4 GiB or more.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> Result<(), Error> {
        self.member(path, FileType::Regular, mode, data)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), Error> {
        self.member(path, FileType::Symlink, 0o777, target.as_bytes())
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        let numbers = Numbers {
            nlink: 1,
            ..Numbers::default()
        };
        self.append(numbers, TRAILER, &[])
            .expect("the trailer's name is short");
        self.bytes
    }

    fn member(
        &mut self,
        path: &str,
        file_type: FileType,
        mode: u32,
        data: &[u8],
    ) -> Result<(), Error> {
        let numbers = Numbers {
            mode: file_type.bits() | (mode & 0o7777),
            nlink: 1,
            ..Numbers::default()
        };
        self.append(numbers, path.as_bytes(), data).ok_or_else(|| {
            UnsupportedKind::NoCpio {
                path: path.to_owned(),
            }
            .into()
        })
    }

    fn append(&mut self, numbers: Numbers, name: &[u8], data: &[u8]) -> Option<()> {
        let namesize = u64_of(name.len()).checked_add(1)?;
        if namesize > PATH_MAX || name.contains(&0) {
            return None;
        }
        let numbers = Numbers {
            filesize: u32::try_from(data.len()).ok()?,
            namesize: u32::try_from(namesize).ok()?,
            ..numbers
        };
        let name_end = self
            .bytes
            .len()
            .checked_add(HEADER_LEN)?
            .checked_add(usize_of(padded_name_len(namesize)))?;
        self.bytes.extend_from_slice(numbers.encode().as_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.resize(name_end, 0);
        self.bytes.extend_from_slice(data);
        let end = self.bytes.len().checked_next_multiple_of(4)?;
        self.bytes.resize(end, 0);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn gnu_cpio_reads_what_was_written() {
        let mut writer = Writer::new();
        writer.directory("usr").unwrap();
        writer.file("usr/odd", 0o640, b"12345").unwrap();
        writer.symlink("lib", "usr/lib").unwrap();
        let archive = writer.finish();
        let Ok(mut cpio) = Command::new("cpio")
            .args(["-i", "-t", "-v", "-n", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            println!("skipped: no cpio");
            return;
        };
        cpio.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert!(output.status.success());
        let listing = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Vec<&str>> = listing
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0][0], "drwxr-xr-x");
        assert_eq!(lines[1][..5], ["-rw-r-----", "1", "0", "0", "5"]);
        assert_eq!(lines[2][8..], ["lib", "->", "usr/lib"]);
    }

    #[test]
    fn names_that_cpio_cannot_hold_are_refused() {
        let mut writer = Writer::new();
        assert!(writer.directory(&"x".repeat(4096)).is_err());
        assert!(writer.directory("a\0b").is_err());
        assert!(writer.directory(&"x".repeat(4095)).is_ok());
    }
}
