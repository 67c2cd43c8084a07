//! Pages by number, from the log where it has them.

use super::header::{self, Header};
use super::log::Log;
use crate::Error;
use crate::error::CorruptKind;
use crate::file::File;
use ondisk::width::u64_of;

/// Reads pages by number.
#[derive(Debug)]
pub(super) struct Pager<'f> {
    file: &'f File<'f>,
    log: Option<(&'f File<'f>, Log)>,
    page_size: usize,
    usable: usize,
    pages: u32,
}

impl<'f> Pager<'f> {
    pub(super) fn open(file: &'f File<'f>, log: Option<&'f File<'f>>) -> Result<Self, Error> {
        let mut header = Header::parse(&file.read(0, header::LEN)?)?;
        let mut found = None;
        if let Some(log) = log
            && let Some(pages) = Log::read(log, header.page_size)?
        {
            found = Some((log, pages));
        }
        let there = file
            .size()
            .checked_div(u64_of(header.page_size))
            .unwrap_or(0);
        let there = u32::try_from(there).unwrap_or(u32::MAX);
        if let Some((log, pages)) = &found
            && let Some(at) = pages.place(1)
        {
            header = Header::parse(&log.read(at, header::LEN)?)?;
        }
        let pages = match &found {
            Some((_, log)) => log.pages(),
            None => header.pages.map_or(there, |pages| pages.min(there)),
        };
        Ok(Self {
            file,
            log: found,
            page_size: header.page_size,
            usable: header.usable,
            pages,
        })
    }

    /// Bytes of a page that tables use.
    pub(super) fn usable(&self) -> usize {
        self.usable
    }

    /// The byte of the file at which a page has its place.
    pub(super) fn position(&self, number: u32) -> u64 {
        u64::from(number.saturating_sub(1)).saturating_mul(u64_of(self.page_size))
    }

    /// Reads the usable bytes of a page.
    ///
    /// # Errors
    /// [`CorruptKind::NoSuchPage`]; what reading meets.
    pub(super) fn page(&self, number: u32) -> Result<Vec<u8>, Error> {
        if number == 0 || number > self.pages {
            let (page, pages) = (number, self.pages);
            return Err(CorruptKind::NoSuchPage { page, pages }.into());
        }
        let in_log = self
            .log
            .as_ref()
            .and_then(|(file, log)| Some((file, log.place(number)?)));
        match in_log {
            Some((file, at)) => file.read(at, self.usable),
            None => self.file.read(self.position(number), self.usable),
        }
    }

    /// The largest row that the files can hold.
    pub(super) fn most(&self) -> u64 {
        let log = self.log.as_ref().map_or(0, |(file, _)| file.size());
        self.file.size().saturating_add(log)
    }
}
