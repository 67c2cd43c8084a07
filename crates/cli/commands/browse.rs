//! `rehost ls` and `rehost cat`: looking around in a guest.

use crate::args::{CatArgs, LsArgs, SourceArgs};
use crate::source::Purpose;
use crate::terminal::Terminal;
use crate::{machine, output};
use anyhow::{Context, Result, bail};
use fs::{Kind, Meta};
use guest::{Guest, GuestPath};
use ondisk::width::u64_of;
use serde::Serialize;
use std::fmt::Write as _;
use std::process::ExitCode;

#[derive(Serialize)]
struct Line {
    name: String,
    kind: Kind,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    /// Seconds since 1970.
    mtime: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

pub(super) fn ls(args: &LsArgs, terminal: &Terminal) -> Result<ExitCode> {
    let guest = open(&args.image, &args.disk, &args.source, terminal)?;
    let given = GuestPath::new(&args.path);
    let mut path = guest.canonical(&given, true)?;
    if guest.stat(&path)?.is_none() {
        // A link that leads nowhere, as a masked unit does, is still there itself.
        path = guest.canonical(&given, false)?;
    }
    let meta = guest
        .stat(&path)?
        .with_context(|| format!("{path}: no such file in the guest"))?;
    let mut lines = Vec::new();
    if meta.kind == Kind::Dir {
        for entry in guest.list(&path)? {
            let path = path.join(&entry.name);
            if let Some(meta) = guest.stat(&path)? {
                lines.push(line(&guest, &path, &meta)?);
            }
        }
    } else {
        lines.push(line(&guest, &path, &meta)?);
    }
    if args.json {
        output::json(&lines)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    let width = lines
        .iter()
        .map(|line| line.size.to_string().len())
        .max()
        .unwrap_or_default();
    for line in lines {
        let Line {
            name,
            mode,
            uid,
            gid,
            size,
            target,
            ..
        } = line;
        let _ = write!(text, "{mode} {uid:>5} {gid:>5} {size:>width$} {name}");
        if let Some(target) = target {
            let _ = write!(text, " -> {target}");
        }
        text.push('\n');
    }
    output::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn cat(args: &CatArgs, terminal: &Terminal) -> Result<ExitCode> {
    const PIECE: usize = 1 << 20;
    let guest = open(&args.image, &args.disk, &args.source, terminal)?;
    let path = guest.canonical(&GuestPath::new(&args.path), true)?;
    match guest.stat(&path)? {
        None => bail!("{path}: no such file in the guest"),
        Some(meta) if meta.kind != Kind::File => bail!("{path} is not a regular file"),
        Some(_) => {}
    }
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let read = guest.read_range(&path, at, &mut piece)?;
        if read == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        output::write(&piece[..read])?;
        at += u64_of(read);
    }
}

fn open(image: &str, disks: &[String], args: &SourceArgs, terminal: &Terminal) -> Result<Guest> {
    let mut images = vec![image.to_owned()];
    images.extend_from_slice(disks);
    let opened = machine::open(&images, args, Purpose::Look, terminal)?;
    let root = opened.root(args.root.as_deref())?;
    Guest::open(&opened.machine, &root).context("cannot open the guest")
}

fn line(guest: &Guest, path: &GuestPath, meta: &Meta) -> Result<Line> {
    let name = path
        .name()
        .map_or_else(|| "/".into(), String::from_utf8_lossy)
        .into_owned();
    let target = guest.read_link(path)?;
    Ok(Line {
        name,
        kind: meta.kind,
        mode: mode_text(meta),
        uid: meta.uid,
        gid: meta.gid,
        size: meta.size,
        mtime: meta.mtime.seconds,
        target: target.map(|target| String::from_utf8_lossy(&target).into_owned()),
    })
}

/// Kind and permissions as `ls -l` writes them.
fn mode_text(meta: &Meta) -> String {
    let mut text = String::from(match meta.kind {
        Kind::File => '-',
        Kind::Dir => 'd',
        Kind::Symlink => 'l',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    });
    let specials = [(0o4000, 's'), (0o2000, 's'), (0o1000, 't')];
    for ((special, letter), shift) in specials.into_iter().zip([6, 3, 0]) {
        let bits = meta.mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (meta.mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_ls_writes_them() {
        let meta = |kind, mode| Meta {
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            links: 1,
            mtime: fs::Time::default(),
            ctime: fs::Time::default(),
            atime: fs::Time::default(),
            device: None,
        };
        assert_eq!(mode_text(&meta(Kind::File, 0o4755)), "-rwsr-xr-x");
        assert_eq!(mode_text(&meta(Kind::Dir, 0o1777)), "drwxrwxrwt");
        assert_eq!(mode_text(&meta(Kind::File, 0o2640)), "-rw-r-S---");
    }
}
