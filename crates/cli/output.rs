//! Writing data to stdout.

use anyhow::{Context, Result};
use serde::Serialize;
use std::io::{BufWriter, Error, ErrorKind, Write};

/// Writes bytes; a reader that has gone away (`| head`) ends the output, and is no failure.
pub(crate) fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// Writes a value as JSON with a newline.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).context("cannot make JSON")?;
    text.push(b'\n');
    write(&text)
}

/// Lets `write` print piece by piece what may be too much to be put together in memory.
pub(crate) fn stream(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let result = write(&mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        result => result,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Text out of an image, for a terminal: what is in it must not steer one.
pub(crate) fn printable(text: &str) -> String {
    let shown = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(shown).collect()
}
