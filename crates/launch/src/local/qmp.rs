//! QEMU's machine protocol: the few commands that are needed, over a Unix socket.
//!
//! A QEMU that does not answer costs time, never the launch: every wait is short, and what cannot be
//! asked is not known.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use thiserror::Error;

/// A connection that is ready for commands.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: UnixStream,
    messages: Receiver<Value>,
    events: VecDeque<Event>,
}

/// What QEMU tells unasked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// The machine starts anew.
    Reset,
    /// The guest switched the machine off.
    PoweredOff,
}

/// Why a command was not carried out.
#[derive(Debug, Error)]
pub(super) enum QmpError {
    #[error("QEMU does not answer")]
    Silent,
    #[error("QEMU refuses: {0}")]
    Refused(String),
    #[error("cannot speak with QEMU")]
    Io(#[from] std::io::Error),
}

/// Bytes of a message that are read; QEMU's are a few hundred.
const MAX_MESSAGE: u64 = 1 << 20;
/// How long an answer may take. A picture of a busy screen takes a second under emulation.
const PATIENCE: Duration = Duration::from_secs(15);
/// Events that are kept until somebody asks.
const MAX_EVENTS: usize = 64;

impl Qmp {
    /// Connects once; fails as long as QEMU does not listen.
    pub(super) fn connect(path: &Path) -> Result<Self, QmpError> {
        let stream = UnixStream::connect(path)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = stream.try_clone()?;
        let (sender, messages) = sync_channel(MAX_EVENTS);
        std::thread::spawn(move || read(reader, &sender));
        let mut qmp = Self {
            stream,
            messages,
            events: VecDeque::new(),
        };
        qmp.command("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Carries out a command and gives what it returns.
    pub(super) fn command(&mut self, name: &str, arguments: &Value) -> Result<Value, QmpError> {
        let command = json!({"execute": name, "arguments": arguments});
        self.stream.write_all(format!("{command}\n").as_bytes())?;
        let until = Instant::now() + PATIENCE;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let mut message = match self.messages.recv_timeout(rest) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(QmpError::Silent);
                }
            };
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = message.get("error") {
                let why = error.get("desc").and_then(Value::as_str);
                return Err(QmpError::Refused(why.unwrap_or("no reason").to_owned()));
            }
            self.keep(&message);
        }
    }

    /// Events since the last time.
    pub(super) fn events(&mut self) -> Vec<Event> {
        while let Ok(message) = self.messages.try_recv() {
            self.keep(&message);
        }
        self.events.drain(..).collect()
    }

    fn keep(&mut self, message: &Value) {
        let data = |name| message.get("data").and_then(|data| data.get(name));
        let event = match message.get("event").and_then(Value::as_str) {
            Some("RESET") => Event::Reset,
            Some("SHUTDOWN") if data("guest") == Some(&Value::Bool(true)) => Event::PoweredOff,
            _ => return,
        };
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }

    /// Saves the screen and gives the file: `path`, or the same with another ending where QEMU (before
    /// 7.1) writes no PNG.
    pub(super) fn screenshot(&mut self, path: &Path) -> Result<PathBuf, QmpError> {
        let png = json!({"filename": path, "format": "png"});
        match self.command("screendump", &png) {
            Ok(_) => Ok(path.to_owned()),
            Err(QmpError::Refused(why)) if why.contains("format") => {
                let path = path.with_extension("ppm");
                self.command("screendump", &json!({"filename": path}))?;
                Ok(path)
            }
            Err(error) => Err(error),
        }
    }

    /// What the machine does, in QEMU's words: `running`, `internal-error`…
    pub(super) fn status(&mut self) -> Result<String, QmpError> {
        let status = self.command("query-status", &json!({}))?;
        let status = status.get("status").and_then(Value::as_str);
        Ok(status.unwrap_or_default().to_owned())
    }
}

fn read(stream: UnixStream, to: &SyncSender<Value>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match reader
            .by_ref()
            .take(MAX_MESSAGE)
            .read_until(b'\n', &mut line)
        {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        let Ok(message) = serde_json::from_slice(&line) else {
            tracing::debug!("QEMU sent what is no message");
            return;
        };
        if to.send(message).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Says `greeting`, then gives one of `answers` to each command that comes.
    fn fake(answers: &'static [&'static str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"QMP\": {}}\n").unwrap();
            let mut commands = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in answers {
                if commands.next().is_none() {
                    return;
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        (dir, path)
    }

    #[test]
    fn events_between_answers_are_kept() {
        let (_dir, path) = fake(&[
            "{\"event\": \"RESET\"}\n{\"return\": {}}\n",
            "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true}}\n{\"event\": \"STOP\"}\n\
             {\"return\": {\"status\": \"running\"}}\n",
        ]);
        let mut qmp = Qmp::connect(&path).unwrap();
        assert_eq!(qmp.status().unwrap(), "running");
        assert_eq!(qmp.events(), [Event::Reset, Event::PoweredOff]);
        assert!(qmp.status().is_err(), "nobody answers any more");
    }

    #[test]
    fn an_old_qemu_gives_a_ppm() {
        let (_dir, path) = fake(&[
            "{\"return\": {}}\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Parameter 'format' is unexpected\"}}\n",
            "{\"return\": {}}\n",
        ]);
        let mut qmp = Qmp::connect(&path).unwrap();
        let saved = qmp.screenshot(Path::new("/x/screen.png")).unwrap();
        assert_eq!(saved, Path::new("/x/screen.ppm"));
    }

    #[test]
    fn what_is_no_qemu_is_an_error() {
        let (_dir, path) = fake(&["nonsense\n"]);
        assert!(matches!(Qmp::connect(&path), Err(QmpError::Silent)));
        assert!(Qmp::connect(Path::new("/nonexistent/qmp")).is_err());
    }
}
