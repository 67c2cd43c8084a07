//! Which files an image may name.

use crate::Error;
use crate::error::{Refused, RefusedReason};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

/// Decides which files that are named *inside* an image may be opened: backing files, extents,
/// external data files.
///
/// Images are hostile: a crafted one could name any file of the host and carry it away. The
/// default follows plain names in the image's own directory; other places must be allowed by the
/// caller with [`allow_dir`](Self::allow_dir). Names are judged after symbolic links are resolved.
/// Block devices are never beside an image: a guest could write the header of one on its disk, and
/// name the disks of others in `/dev`.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    allowed: Vec<PathBuf>,
}

impl Gate {
    /// Also allows files under `dir`, by whatever path an image names them.
    pub fn allow_dir(mut self, dir: PathBuf) -> Self {
        self.allowed.push(dir);
        self
    }

    /// The file that the image at `by` means with `name`.
    pub(crate) fn resolve(
        &self,
        by: &Path,
        name: &[u8],
        role: &'static str,
    ) -> Result<PathBuf, Error> {
        let refused = |reason| {
            Error::Refused(Box::new(Refused {
                by: by.to_owned(),
                name: String::from_utf8_lossy(name).into_owned(),
                role,
                reason,
            }))
        };
        let Ok(name) = str::from_utf8(name) else {
            return Err(refused(RefusedReason::NotText));
        };
        if is_address(name) {
            return Err(refused(RefusedReason::Url));
        }
        if name.is_empty() || name.contains('\0') {
            return Err(refused(RefusedReason::NotPlain));
        }
        let plain = is_plain(name);
        if !plain && self.allowed.is_empty() {
            return Err(refused(RefusedReason::NotPlain));
        }
        let own_dir = by.parent().unwrap_or(Path::new(""));
        let path = own_dir.join(name);
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing {
                    by: by.to_owned(),
                    name: name.to_owned(),
                    role,
                });
            }
            Err(source) => return Err(Error::io(&path, "open", source)),
        };
        let own_dir = if own_dir == Path::new("") {
            Path::new(".")
        } else {
            own_dir
        };
        let in_own_dir = plain && is_under(&real, own_dir)?;
        if self.is_allowed(&real)? {
            return Ok(path);
        }
        if in_own_dir && !is_block_device(&real)? {
            Ok(path)
        } else if in_own_dir {
            Err(refused(RefusedReason::BlockDevice))
        } else {
            Err(refused(if plain {
                RefusedReason::Outside(real)
            } else {
                RefusedReason::NotPlain
            }))
        }
    }

    fn is_allowed(&self, real: &Path) -> Result<bool, Error> {
        for dir in &self.allowed {
            if is_under(real, dir)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a path without links lies under a directory.
fn is_under(real: &Path, dir: &Path) -> Result<bool, Error> {
    let dir = dir
        .canonicalize()
        .map_err(|source| Error::io(dir, "open", source))?;
    Ok(real.starts_with(dir))
}

/// Whether a path without links leads to a block device.
fn is_block_device(real: &Path) -> Result<bool, Error> {
    let meta = std::fs::metadata(real).map_err(|source| Error::io(real, "open", source))?;
    Ok(meta.file_type().is_block_device())
}

/// Whether a name is one component, neither `.` nor `..`.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(_)))
        && components.next().is_none()
        && !name.ends_with('/')
}

/// Whether a name is what other programs take for a protocol: `nbd:…`, `https://…`, `json:{…}`.
pub(crate) fn is_address(name: &str) -> bool {
    let Some((scheme, rest)) = name.split_once(':') else {
        return false;
    };
    let is_scheme = scheme.len() > 1
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+.-_".contains(&b));
    is_scheme || rest.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_plain_names_in_the_own_directory_pass_by_default() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret.raw");
        fs::write(&secret, "secret").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("a.qcow2");
        fs::write(dir.path().join("base.raw"), "base").unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/b.raw"), "b").unwrap();
        std::os::unix::fs::symlink(&secret, dir.path().join("link.raw")).unwrap();
        std::os::unix::fs::symlink("base.raw", dir.path().join("inside.raw")).unwrap();
        let default = Gate::default();
        let ask = |gate: &Gate, name: &str| gate.resolve(&image, name.as_bytes(), "backing file");

        assert_eq!(
            ask(&default, "base.raw").unwrap(),
            dir.path().join("base.raw")
        );
        assert!(ask(&default, "inside.raw").is_ok());
        let absolute = secret.to_str().unwrap();
        for name in [
            absolute,
            "../x.raw",
            "sub/b.raw",
            "./base.raw",
            "base.raw/",
            "..",
            ".",
            "",
            "link.raw",
            "json:{\"driver\":\"file\"}",
            "nbd:localhost:10809",
            "https://example.org/a.raw",
            "vsan://e8d01c5d-1111",
            "a\0b",
        ] {
            let error = ask(&default, name).unwrap_err();
            assert!(matches!(error, Error::Refused(_)), "{name}: {error}");
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
        assert!(matches!(
            ask(&default, "absent.raw").unwrap_err(),
            Error::Missing { .. }
        ));

        let node = dir.path().join("disk");
        let made = std::process::Command::new("mknod")
            .arg(&node)
            .args(["b", "7", "200"])
            .status();
        if made.is_ok_and(|status| status.success()) {
            let error = ask(&default, "disk").unwrap_err();
            assert!(error.to_string().contains("block devices"), "{error}");
            let allowed = Gate::default().allow_dir(dir.path().to_owned());
            assert!(ask(&allowed, "disk").is_ok());
        } else {
            eprintln!("skipped: block devices cannot be made here");
        }

        let wider = Gate::default().allow_dir(outside.path().to_owned());
        assert!(ask(&wider, absolute).is_ok());
        assert!(ask(&wider, "link.raw").is_ok());
        assert!(ask(&wider, "sub/b.raw").is_err());
        assert!(ask(&wider, "nbd:localhost").is_err());
    }
}
