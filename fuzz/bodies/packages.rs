//! rpm's lists of packages.

use block::{BlockRead, Memory};

/// rpm's list in Berkeley DB.
pub fn rpm_bdb(data: &[u8]) {
    rpm_list(data, None);
}

/// rpm's list in ndb. Few mutations would come past the checksums, so they are made right for a
/// second try.
pub fn rpm_ndb(data: &[u8]) {
    rpm_list(data, None);
    let mut list = data.to_vec();
    let mut at = 0;
    while let Some(start) = find(&list[at..], b"BlbS").map(|found| at + found) {
        let Some(end) = find(&list[start..], b"BlbE").map(|found| start + found) else {
            break;
        };
        at = end;
        if let Some(tail) = end.checked_sub(8).filter(|tail| *tail >= start) {
            let (mut low, mut high) = (1_u32, 0);
            for byte in &list[start..tail] {
                low = (low + u32::from(*byte)) % 65521;
                high = (high + low) % 65521;
            }
            list[tail..tail + 4].copy_from_slice(&((high << 16) | low).to_le_bytes());
        }
    }
    rpm_list(&list, None);
}

/// rpm's list in SQLite: four bytes say how long the file is, what follows it is the log.
pub fn rpm_sqlite(data: &[u8]) {
    let Some((len, data)) = data.split_first_chunk() else {
        return;
    };
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or_default();
    let (file, log) = data.split_at(len.min(data.len()));
    rpm_list(file, Some(log));
    rpm_list(file, None);
}

fn rpm_list(file: &[u8], log: Option<&[u8]>) {
    let (file, log) = (
        Memory::new(file.to_vec()),
        log.map(|log| Memory::new(log.to_vec())),
    );
    let log: Option<&dyn BlockRead> = match &log {
        Some(log) => Some(log),
        None => None,
    };
    for package in rpmdb::read(&file, log).unwrap_or_default().packages {
        assert!(package.to_string().starts_with(&package.name));
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
