//! rpm's lists of installed packages, read from their bytes.
//!
//! A list is one file, in one of three formats that its first bytes tell: Berkeley DB's hash or
//! B-tree (`Packages`, of rpm up to 4.16: RHEL 5 to 8, Amazon Linux 1 and 2), rpm's own ndb
//! (`Packages.db`, of SUSE) and SQLite (`rpmdb.sqlite`, of RHEL 9 and later, Amazon Linux 2023 and
//! Fedora). Each holds one *header* for each package, a table of tags that is the same in all.
//!
//! ```
//! # fn example(file: &dyn block::BlockRead) -> Result<(), rpmdb::Error> {
//! let list = rpmdb::read(file, None)?;
//! for package in &list.packages {
//!     println!("{} {}", package.name, package.evr());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Only the beginning of each header is read: name and version stand there, and the long lists of
//! files behind them. The formats are those of Berkeley DB's `dbinc/db_page.h`, rpm's
//! `lib/backend/ndb/rpmpkg.c` and `lib/header.c`, and SQLite's "Database File Format".
//!
//! What makes a file useless as a whole is an [`Error`]; a package whose own header is damaged is
//! in [`List::damaged`]. Writing, and rpm's indexes beside the list, are out of scope.
#![warn(clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    expect(clippy::arithmetic_side_effects, reason = "tests may fail by overflow")
)]

mod bdb;
mod error;
mod file;
mod header;
mod ndb;
mod package;
mod sqlite;

pub use error::{Corrupt, Error, Unsupported};
pub use package::Package;

use block::BlockRead;
use file::File;

/// The packages of one list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct List {
    /// The packages, in the order in which the file has them.
    pub packages: Vec<Package>,
    /// What is wrong with headers that cannot be read, in sentences; at most 16.
    pub damaged: Vec<String>,
}

/// Reads a list. `log` is the write-ahead log beside an SQLite file, whose name ends in `-wal`:
/// what is committed there counts. The other formats have none.
///
/// # Errors
/// [`Error::Unsupported`] for what is no list or one of a version that is not read;
/// [`Error::Corrupt`] where the list as a whole is damaged; [`Error::Block`] from below.
pub fn read(file: &dyn BlockRead, log: Option<&dyn BlockRead>) -> Result<List, Error> {
    let file = File::new(file);
    let mut list = List::default();
    let mut take = |blob: Result<&mut dyn Blob, Error>| {
        if list.packages.len() >= MAX_PACKAGES {
            return Err(error::UnsupportedKind::TooManyPackages.into());
        }
        match blob.and_then(header::package) {
            Ok(package) => list.packages.push(package),
            // The device failed, or the walk is at its end: the next header would not be better.
            Err(error @ (Error::Block(_) | Error::Unsupported(_))) => return Err(error),
            Err(Error::Corrupt(reason)) if reason.is_of_the_walk() => {
                return Err(Error::Corrupt(reason));
            }
            Err(Error::Corrupt(reason)) => {
                if list.damaged.len() < MAX_DAMAGED {
                    list.damaged.push(reason.to_string());
                }
            }
        }
        Ok(())
    };
    let start = file.up_to(0, 16)?;
    if start.starts_with(sqlite::MAGIC) {
        sqlite::walk(&file, log.map(File::new).as_ref(), &mut take)?;
    } else if start.starts_with(ndb::MAGIC) {
        ndb::walk(&file, &mut take)?;
    } else if let Some(found) = bdb::recognise(&start) {
        bdb::walk(&file, found, &mut take)?;
    } else {
        return Err(error::UnsupportedKind::NoList.into());
    }
    Ok(list)
}

/// The bytes of one header, wherever the file has them.
trait Blob {
    /// Bytes of the whole.
    fn len(&self) -> usize;

    /// Where it begins in the file, for messages.
    fn position(&self) -> u64;

    /// At least the first `len` bytes, or all there are.
    fn start(&mut self, len: usize) -> Result<Vec<u8>, Error>;
}

/// What is done with each header, or with what stands against reading it.
type Take<'t> = dyn FnMut(Result<&mut dyn Blob, Error>) -> Result<(), Error> + 't;

/// The largest header: rpm accepts 65535 index entries and 256 MiB of data.
const MAX_BLOB: u64 = 8 + 16 * 0xffff + (256 << 20);
/// A full installation of every package of a distribution has some ten thousands.
const MAX_PACKAGES: usize = 200_000;
/// One sentence shows that something is wrong, some show what.
const MAX_DAMAGED: usize = 16;
