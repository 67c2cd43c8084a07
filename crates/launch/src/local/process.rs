//! A process that does not outlive what holds it.

use super::Error;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running QEMU. It and all that it started are killed when this goes away.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    program: PathBuf,
    ended: Option<ExitStatus>,
    /// What it writes to stdout, until it closes it.
    pub(super) output: Receiver<Vec<u8>>,
    said: Arc<Mutex<Vec<u8>>>,
    /// What reads stderr until that is closed.
    listener: Option<JoinHandle<()>>,
}

/// How long what a program said last may be on its way after the program has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of the end of stderr that are kept.
const MAX_SAID: usize = 4096;
/// Pieces of output on their way. When so many wait, QEMU waits too.
const PIECES: usize = 64;
const PIECE: usize = 4096;

impl Process {
    /// Starts a program with nothing on its stdin; `dir` is where it puts temporary files. The
    /// calling thread is the one that it does not outlive, and has to stay until it has ended.
    pub(super) fn start(program: &Path, arguments: &[OsString], dir: &Path) -> Result<Self, Error> {
        let mut command = match leash() {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(LEASH).arg("--").arg(program);
                command
            }
            None => Command::new(program),
        };
        let mut child = command
            .args(arguments)
            .env("TMPDIR", dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Of its own, so that signals from the terminal reach us alone and we end it in order.
            .process_group(0)
            .spawn()
            .map_err(|error| Error::io(program, "start", error))?;
        let (sender, output) = sync_channel(PIECES);
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || pass_on(stdout, &sender));
        }
        let said = Arc::new(Mutex::new(Vec::new()));
        let listener = child.stderr.take().map(|stderr| {
            let said = said.clone();
            std::thread::spawn(move || remember_end(stderr, &said))
        });
        Ok(Self {
            child,
            program: program.to_owned(),
            ended: None,
            output,
            said,
            listener,
        })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        let failed = |error| Error::io(&self.program, "wait for", error);
        if let (None, Some(pid)) = (self.ended, self.pid()) {
            // It is looked at first and waited for last: until then nobody else can have its number,
            // and its group can be ended safely.
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let found = waitid(WaitId::Pid(pid), look).map_err(|error| failed(error.into()))?;
            if found.is_some() {
                self.kill(pid);
                self.ended = Some(self.child.wait().map_err(failed)?);
            }
        }
        Ok(self.ended)
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Kills it and all that it started; only as long as nobody has waited for it.
    fn kill(&self, pid: Pid) {
        if let Err(error) = kill_process_group(pid, Signal::KILL) {
            tracing::debug!(program = %self.program.display(), %error, "cannot be killed");
        }
    }

    /// Waits until it has ended, but not longer than this.
    pub(super) fn wait(&mut self, most: Duration) -> Result<bool, Error> {
        let until = Instant::now() + most;
        while self.ended()?.is_none() {
            if Instant::now() >= until {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(true)
    }

    /// The end of what it said on stderr, in one line; all of it once the program has ended.
    pub(super) fn said(&self) -> String {
        let until = Instant::now() + LAST_WORDS;
        let listens = || self.listener.as_ref().is_some_and(|it| !it.is_finished());
        while self.ended.is_some() && listens() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said).into_owned();
        let said = said.trim().replace('\n', "; ");
        if said.is_empty() {
            "it says nothing".to_owned()
        } else {
            said
        }
    }

    /// Processor time that it has used; absent where that cannot be told.
    pub(super) fn processor_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        processor_time(&stat)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let (None, Some(pid)) = (self.ended, self.pid()) {
            self.kill(pid);
            if let Err(error) = self.child.wait() {
                tracing::warn!(program = %self.program.display(), %error, "cannot be waited for");
            }
        }
    }
}

/// Lets the kernel kill the program when the thread that started it is gone.
const LEASH: [&str; 2] = ["--pdeathsig", "KILL"];

/// The program that can do that; `prctl` itself would need unsafe code.
fn leash() -> Option<&'static Path> {
    let mut places = ["/usr/bin/setpriv", "/bin/setpriv"]
        .into_iter()
        .map(Path::new);
    let setpriv = places.find(|path| path.exists())?;
    // That of BusyBox does not know the option.
    let tried = Command::new(setpriv)
        .args(LEASH)
        .args(["--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried
        .is_ok_and(|status| status.success())
        .then_some(setpriv)
}

fn pass_on(mut from: impl Read, to: &SyncSender<Vec<u8>>) {
    let mut piece = [0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let bytes = piece.get(..length).unwrap_or_default().to_vec();
        if to.send(bytes).is_err() {
            return;
        }
    }
}

fn remember_end(mut from: impl Read, said: &Mutex<Vec<u8>>) {
    let mut piece = [0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(piece.get(..length).unwrap_or_default());
        let cut = said.len().saturating_sub(MAX_SAID);
        said.drain(..cut);
    }
}

/// The fields 14 and 15 of proc(5) stat, whose unit is 1/100 s on every Linux that QEMU runs on.
fn processor_time(stat: &str) -> Option<Duration> {
    // The second field is the name in parentheses, which may hold spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(
        user.checked_add(system)?.checked_mul(10)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Process {
        let arguments = ["-c".into(), script.into()];
        Process::start(Path::new("/bin/sh"), &arguments, Path::new("/tmp")).unwrap()
    }

    #[test]
    fn nothing_outlives_what_holds_it() {
        let process = sh("sleep 600 & echo $!; wait");
        let line = process
            .output
            .recv_timeout(Duration::from_secs(30))
            .unwrap();
        let sleeper = String::from_utf8(line).unwrap();
        let sleeper = Path::new("/proc").join(sleeper.trim()).join("stat");
        let alive = || {
            let stat = std::fs::read_to_string(&sleeper).unwrap_or_default();
            // A zombie that nobody has waited for is no process any more.
            !stat.is_empty() && !stat.contains(") Z ")
        };
        assert!(alive());
        drop(process);
        for _ in 0..300 {
            if !alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("a process that QEMU started lives on");
    }

    #[test]
    fn its_end_and_its_last_words_are_known() {
        let mut process =
            sh("head -c 100000 /dev/zero | tr '\\0' 'x' >&2; echo the end >&2; exit 7");
        assert!(process.wait(Duration::from_secs(30)).unwrap());
        assert_eq!(process.ended().unwrap().unwrap().code(), Some(7));
        for _ in 0..300 {
            if process.said().ends_with("the end") {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let said = process.said();
        assert!(
            said.ends_with("the end") && said.len() <= MAX_SAID,
            "{said}"
        );
    }

    #[test]
    fn processor_time_is_read_whatever_the_name() {
        let stat = "42 (a ) b) R 1 42 42 0 -1 4194304 1 2 3 4 150 50 7 8 20 0 1 0 9";
        assert_eq!(processor_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(processor_time("42 (x) R"), None);
        assert!(sh("sleep 600").processor_time().is_some());
    }
}
