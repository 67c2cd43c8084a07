//! What stands on a PC's screen in text mode: a guest without a serial console speaks there.

use super::qmp::Qmp;
use serde_json::json;
use std::path::Path;

/// Where the letters are, and how many: 25 rows of 80, each with a byte of colours.
const ADDRESS: u64 = 0xb8000;
const COLUMNS: usize = 80;
const ROWS: usize = 25;
const CELL: usize = 2;
const SIZE: usize = COLUMNS * ROWS * CELL;

/// Reads the screen, with `dir` for a moment's file; nothing if it is not in text mode, or nobody
/// answers.
pub(super) fn read(qmp: &mut Qmp, dir: &Path) -> Vec<String> {
    let path = dir.join("screen");
    let arguments = json!({"val": ADDRESS, "size": SIZE, "filename": path});
    if let Err(error) = qmp.command("pmemsave", &arguments) {
        tracing::debug!(%error, "the screen cannot be read");
        return Vec::new();
    }
    match std::fs::read(&path) {
        Ok(memory) => rows(memory.get(..SIZE).unwrap_or_default()),
        Err(error) => {
            tracing::debug!(%error, "the screen cannot be read");
            Vec::new()
        }
    }
}

/// The lines on the screen. A row that is full goes on in the next one.
fn rows(memory: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for row in memory.chunks_exact(COLUMNS * CELL) {
        let letters: Vec<u8> = row.iter().copied().step_by(CELL).collect();
        let is_text = |byte: &u8| matches!(byte, 0 | b' '..=b'~');
        // In graphics mode there is anything but letters.
        if letters.iter().filter(|byte| is_text(byte)).count() * 5 < COLUMNS * 4 {
            goes_on = false;
            continue;
        }
        let plain = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => ' ',
        };
        let full = letters.last().is_some_and(|last| !matches!(last, 0 | b' '));
        let text: String = letters.iter().map(plain).collect();
        let text = text.trim_end();
        match lines.last_mut() {
            Some(line) if goes_on => line.push_str(text),
            _ if text.is_empty() => {}
            _ => lines.push(text.to_owned()),
        }
        goes_on = full;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(text: &[u8]) -> Vec<u8> {
        let mut memory: Vec<u8> = text.iter().flat_map(|byte| [*byte, 7]).collect();
        memory.resize(SIZE, 0);
        memory
    }

    #[test]
    fn a_line_that_wraps_is_one_line() {
        let mut text = b"ALERT!  UUID=5f1c3d2e-0000-4000-8000-000000000001 does not exist.  Dropping to a shell!".to_vec();
        text.resize(2 * COLUMNS, b' ');
        text.extend_from_slice(b"(initramfs) _");
        let lines = rows(&memory(&text));
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("does not exist.  Dropping to a shell!"));
        assert_eq!(lines[1], "(initramfs) _");
    }

    #[test]
    fn graphics_are_no_text() {
        assert!(rows(&vec![0xff; SIZE]).is_empty());
        assert!(rows(&vec![0; SIZE]).is_empty());
        assert!(rows(b"short").is_empty());
    }
}
