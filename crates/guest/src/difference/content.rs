//! Whether two files hold the same, reading as little as possible.

use super::Ranges;
use fs::{Error, FileSystem, NodeId, Part, Places, Role};
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, Interrupted};
use std::ops::Range;

/// A file on one side.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) file_system: &'a dyn FileSystem,
    pub(super) node: NodeId,
    pub(super) places: &'a Places,
}

/// Why two files could not be compared.
#[derive(Debug)]
pub(super) enum Failed {
    Interrupted(Interrupted),
    FileSystem(Error),
}

/// Bytes of content that a record can hold at most: a record is no larger than a block.
const LARGEST_INSIDE: u64 = 65536;
/// Bytes that are read at a time.
const PIECE: u64 = 1 << 20;

/// Whether the content of two regular files differs. What lies in one place on both sides, and not
/// in `suspect`, is equal and not read.
pub(super) fn differ(
    old: File<'_>,
    new: File<'_>,
    suspect: &Ranges,
    interrupt: &Interrupt,
) -> Result<bool, Failed> {
    let size = new.places.meta.size;
    if old.places.meta.size != size {
        return Ok(true);
    }
    let mut reader = Reader {
        sides: [old, new],
        buffers: Default::default(),
        interrupt,
    };
    let small = size <= LARGEST_INSIDE;
    if small && (is_inside_its_record(old) || is_inside_its_record(new)) {
        return reader.differs(0..size);
    }
    let [mut left, mut right] = [old, new].map(|side| Runs::of(side.places));
    let mut at = 0;
    while at < size {
        let [(a, a_end), (b, b_end)] = [left.at(at), right.at(at)];
        let end = a_end.min(b_end).min(size);
        match (a, b) {
            (None, None) => {}
            (Some(a), Some(b)) if a == b => {
                let place = a..a.saturating_add(end.saturating_sub(at));
                for part in suspect.within(&place) {
                    let start = at.saturating_add(part.start.saturating_sub(a));
                    let len = part.end.saturating_sub(part.start);
                    if reader.differs(start..start.saturating_add(len))? {
                        return Ok(true);
                    }
                }
            }
            _ => {
                if reader.differs(at..end)? {
                    return Ok(true);
                }
            }
        }
        at = end;
    }
    Ok(false)
}

/// Whether content has no place: it is kept in the record itself, or is a hole.
fn is_inside_its_record(side: File<'_>) -> bool {
    side.places.content().next().is_none()
}

struct Reader<'a> {
    sides: [File<'a>; 2],
    buffers: [Vec<u8>; 2],
    interrupt: &'a Interrupt,
}

impl Reader<'_> {
    fn differs(&mut self, range: Range<u64>) -> Result<bool, Failed> {
        let mut at = range.start;
        while at < range.end {
            self.interrupt.check().map_err(Failed::Interrupted)?;
            let len = range.end.saturating_sub(at).min(PIECE);
            for (side, buffer) in self.sides.iter().zip(&mut self.buffers) {
                buffer.clear();
                buffer.resize(usize_of(len), 0);
                let read = side.file_system.read_at(side.node, at, buffer);
                buffer.truncate(read.map_err(Failed::FileSystem)?);
            }
            let [left, right] = &self.buffers;
            if left != right || u64_of(left.len()) < len {
                return Ok(left != right);
            }
            at = at.saturating_add(len);
        }
        Ok(false)
    }
}

/// The runs of a file's content, asked in ascending order.
struct Runs<'a> {
    rest: std::iter::Peekable<Box<dyn Iterator<Item = &'a Part> + 'a>>,
}

impl<'a> Runs<'a> {
    fn of(places: &'a Places) -> Self {
        let content: Box<dyn Iterator<Item = &'a Part> + 'a> = Box::new(places.content());
        Self {
            rest: content.peekable(),
        }
    }

    /// Where the byte `at` of the content lies, none if it is zero without a place, and the offset
    /// at which another answer begins.
    fn at(&mut self, at: u64) -> (Option<u64>, u64) {
        while let Some(part) = self.rest.peek() {
            let Role::Content { offset, unwritten } = part.role else {
                self.rest.next();
                continue;
            };
            let len = part.bytes.end.saturating_sub(part.bytes.start);
            let end = offset.saturating_add(len);
            if end <= at {
                self.rest.next();
                continue;
            }
            if offset > at {
                return (None, offset);
            }
            let place = part.bytes.start.saturating_add(at.saturating_sub(offset));
            return ((!unwritten).then_some(place), end);
        }
        (None, u64::MAX)
    }
}
