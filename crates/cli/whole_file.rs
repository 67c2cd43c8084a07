//! Small files that appear whole or not at all: reports and pages.

use anyhow::{Context, Result, bail};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Checks, before work starts, that a file may be written: its directory is there, and what is
/// there already is a `what` by its `is_one`, or empty. A disk named by mistake is not replaced.
pub(crate) fn claim(path: &Path, what: &str, is_one: impl Fn(&Path) -> bool) -> Result<()> {
    match meta(path)? {
        None => {
            let dir = dir_of(path);
            if !dir.is_dir() {
                bail!(
                    "{} cannot be written: {} is no directory",
                    path.display(),
                    dir.display()
                );
            }
            Ok(())
        }
        Some(meta) if meta.is_dir() => bail!("{} is a directory; name a file", path.display()),
        Some(meta) if meta.is_file() && meta.len() > 0 && !is_one(path) => bail!(
            "{} is there and is no {what}; name another file, or remove it",
            path.display()
        ),
        Some(_) => Ok(()),
    }
}

/// Writes a file that was claimed. A pipe or a terminal is written as it is.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    if meta(path)?.is_some_and(|meta| !meta.is_file()) {
        let file = OpenOptions::new().write(true).open(path);
        return file
            .and_then(|mut file| file.write_all(content))
            .with_context(failed);
    }
    let draft = draft(path);
    let written = File::create_new(&draft)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| std::fs::rename(&draft, path));
    if written.is_err()
        && let Err(error) = std::fs::remove_file(&draft)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %draft.display(), %error, "cannot be removed");
    }
    written.with_context(failed)
}

fn meta(path: &Path) -> Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

/// The file's name while it is written: hidden, and its own for each process.
fn draft(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(50).collect();
    dir_of(path).join(format!(".{name}.{}.part", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_something_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let is_one = |path: &Path| std::fs::read(path).is_ok_and(|it| it.starts_with(b"one"));
        claim(&path, "one", is_one).unwrap();
        write(&path, b"one").unwrap();
        claim(&path, "one", is_one).unwrap();
        write(&path, b"one, again").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one, again");
        std::fs::write(&path, "disk").unwrap();
        let error = claim(&path, "one", is_one).unwrap_err().to_string();
        assert!(error.contains("is no one"), "{error}");
        std::fs::write(&path, "").unwrap();
        claim(&path, "one", is_one).unwrap();
        assert!(claim(dir.path(), "one", is_one).is_err());
        let nowhere = dir.path().join("b/c");
        let error = claim(&nowhere, "one", is_one).unwrap_err().to_string();
        assert!(error.contains("is no directory"), "{error}");
        assert!(write(&nowhere, b"one").is_err());
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 1, "nothing but the file is left");
    }
}
