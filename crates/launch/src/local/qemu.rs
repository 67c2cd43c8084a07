//! The program that runs machines.

use super::{Architecture, Error};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A QEMU that is there.
#[derive(Clone, Debug)]
pub(super) struct Qemu {
    pub(super) program: PathBuf,
    /// The line in which it tells its version.
    pub(super) version: String,
}

impl Qemu {
    /// Asks the program for its version; without a path, the one of the host's search path.
    pub(super) fn find(program: Option<&Path>, architecture: Architecture) -> Result<Self, Error> {
        let (name, package) = match architecture {
            Architecture::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
            Architecture::Arm64 => ("qemu-system-aarch64", "qemu-system-arm"),
        };
        let program = program.unwrap_or(Path::new(name)).to_owned();
        let asked = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let asked = match asked {
            Ok(asked) => asked,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoQemu { program, package });
            }
            Err(error) => return Err(Error::io(&program, "start", error)),
        };
        if !asked.status.success() {
            let said = String::from_utf8_lossy(&asked.stderr);
            return Err(Error::Start {
                said: said.trim().chars().take(500).collect(),
                program,
            });
        }
        let said = String::from_utf8_lossy(&asked.stdout);
        let version = said.lines().next().unwrap_or_default();
        Ok(Self {
            version: version.trim().chars().take(200).collect(),
            program,
        })
    }
}

/// An argument of the form `key=value,…` with a path at its end.
pub(super) fn with_path(start: &str, path: &Path, end: &str) -> OsString {
    let mut bytes = start.as_bytes().to_vec();
    for byte in path.as_os_str().as_encoded_bytes() {
        // A comma ends a value, two are one.
        bytes.extend(std::iter::repeat_n(
            *byte,
            if *byte == b',' { 2 } else { 1 },
        ));
    }
    bytes.extend_from_slice(end.as_bytes());
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}
