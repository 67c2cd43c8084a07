//! Booting a machine and watching it.

use super::accelerator;
use super::arguments::{Machine, serial};
use super::firmware;
use super::hardware::Host;
use super::judge::{Judge, Sign};
use super::process::Process;
use super::qemu::Qemu;
use super::qmp::{Event, Qmp};
use super::screen;
use super::{Accel, Architecture, Error, Firmware, Hardware, Outcome, Verdict, Volume};
use crate::console::Lines;
use ondisk::{Interrupt, Progress, Task, Unit};
use serde_json::json;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How a target is booted and watched.
#[derive(Clone, Debug)]
pub struct Options {
    /// The QEMU to use; without it the one of the host's search path.
    pub program: Option<PathBuf>,
    /// What runs the target's instructions.
    pub accel: Accel,
    /// A file with the target's own kernel, to try KVM with: without one, [`Accel::Auto`] is
    /// emulation.
    pub kernel: Option<PathBuf>,
    /// How long the target may take. Without it five minutes, under emulation twenty, and a target
    /// that has nothing to do and nothing to say for four minutes is not waited for.
    pub time_limit: Option<Duration>,
    /// What its console shows when it is up; then nothing else counts as such.
    pub marker: Option<String>,
    /// Where files are made that go away with the end of the call. Its path is short: a Unix socket
    /// has to fit in.
    pub dir: PathBuf,
    /// The file that gets what the serial console says; what is in it is replaced.
    pub console: PathBuf,
    /// Bytes of that file; what the console says after them is watched, but not kept.
    pub console_limit: u64,
    /// The file that gets the screen of a target that does not come up.
    pub screenshot: PathBuf,
    /// For [`launch`](super::launch): a directory for the volumes, which stay there.
    pub keep: Option<PathBuf>,
    /// How many targets run on this host at a time, 1 at least: each gets that part of the memory which
    /// the host has to spare.
    pub at_once: u32,
}

impl Options {
    /// The options of a test launch with the defaults for everything else.
    pub fn new(dir: PathBuf, console: PathBuf, screenshot: PathBuf) -> Self {
        Self {
            program: None,
            accel: Accel::Auto,
            kernel: None,
            time_limit: None,
            marker: None,
            dir,
            console,
            console_limit: 16 << 20,
            screenshot,
            keep: None,
            at_once: 1,
        }
    }
}

const TIME_LIMIT_KVM: Duration = Duration::from_secs(5 * 60);
const TIME_LIMIT_EMULATION: Duration = Duration::from_secs(20 * 60);
/// Longer than what distributions wait for a device (initramfs-tools 30 s, systemd 90 s, dracut 180 s).
const IDLE_LIMIT: Duration = Duration::from_secs(4 * 60);
/// How long something worse may be said after systemd has finished its start.
const SECOND_THOUGHTS: Duration = Duration::from_secs(10);
/// How long a target is listened to that has said that it will not come up.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a target with volumes of its own may take to switch itself off.
const FAREWELL: Duration = Duration::from_secs(120);
/// A pause after which an unfinished line is taken for a prompt.
const TICK: Duration = Duration::from_millis(200);
/// Between two looks at screen and processor.
const LOOK: Duration = Duration::from_secs(5);
/// A machine may start anew a few times: boot loaders do when they run first, and so does SELinux
/// after it has labelled the files.
const MAX_RESETS: u32 = 5;
const TAIL_LINES: usize = 40;
/// The size of `sun_path`, its last byte aside.
const MAX_SOCKET_PATH: usize = 107;

/// Boots volumes that are there, and says whether the machine came up; `name` is for people.
///
/// The machine is stopped before this returns. One with volumes of its own is asked to switch itself
/// off before.
///
/// # Errors
/// [`Error`] if there was no machine to watch. What became of one is never an error.
pub fn boot(
    name: &str,
    hardware: Hardware,
    volumes: &[Volume],
    options: &Options,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Outcome, Error> {
    hardware.check(volumes.len())?;
    let qemu = Qemu::find(options.program.as_deref(), hardware.architecture)?;
    tracing::debug!(program = %qemu.program.display(), version = qemu.version, "uses QEMU");
    let dir = tempfile::Builder::new()
        .prefix("rehost-")
        .tempdir_in(&options.dir)
        .map_err(|error| Error::io(&options.dir, "make a directory in", error))?;
    let socket = dir.path().join("qmp");
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        let why =
            format!("the path is too long for a Unix socket, {MAX_SOCKET_PATH} bytes with it");
        return Err(Error::Place {
            dir: options.dir.clone(),
            why,
        });
    }
    let volumes = volumes
        .iter()
        .map(absolute)
        .collect::<Result<Vec<_>, _>>()?;
    let (mut hardware, mut notes) = hardware.fit(&Host::look().shared_by(options.at_once));
    let uefi = match hardware.firmware {
        Firmware::Bios => None,
        Firmware::Uefi => Some(firmware::find(hardware.architecture, dir.path())?),
    };
    let accelerator = accelerator::choose(
        &qemu,
        hardware.architecture,
        options.accel,
        options.kernel.as_deref(),
        dir.path(),
        interrupt,
    )?;
    if !accelerator.kvm && hardware.cpus > 1 {
        notes.push(format!(
            "the target has one CPU instead of {}: it is emulated",
            hardware.cpus
        ));
        hardware.cpus = 1;
    }
    let machine = Machine {
        hardware: &hardware,
        accelerator: &accelerator,
        volumes: &volumes,
        uefi: uefi.as_ref(),
        socket: &socket,
    };
    let arguments = machine.arguments();
    tracing::debug!(?arguments, "starts a machine");
    let limit = if accelerator.kvm {
        TIME_LIMIT_KVM
    } else {
        TIME_LIMIT_EMULATION
    };
    let log = Log::create(&options.console, options.console_limit)?;
    let process = Process::start(&qemu.program, &arguments, dir.path())?;
    let now = Instant::now();
    let mut watch = Watch {
        process,
        qmp: None,
        socket: &socket,
        dir: dir.path(),
        log,
        lines: Lines::default(),
        judge: Judge {
            marker: options.marker.clone(),
        },
        task: progress.start(name, Unit::Items, None),
        tail: VecDeque::new(),
        screen: Vec::new(),
        text_mode: uefi.is_none() && hardware.architecture == Architecture::X86_64,
        start: now,
        limit: options.time_limit.unwrap_or(limit),
        gives_up_idle: options.time_limit.is_none(),
        busy: now,
        used: Duration::ZERO,
        looked: now,
        perhaps: None,
        resets: 0,
        powered_off: false,
        spoke: false,
    };
    let (verdict, reason) = watch.run(interrupt)?;
    let seconds = (watch.start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    if verdict == Verdict::Died && !watch.spoke && watch.qmp.is_none() {
        return Err(Error::Start {
            program: qemu.program,
            said: watch.process.said(),
        });
    }
    let screenshot = match verdict {
        Verdict::CameUp => {
            watch.farewell(volumes.iter().any(|volume| volume.own), interrupt)?;
            None
        }
        _ => watch.screenshot(&options.screenshot),
    };
    if watch.log.is_full() {
        notes.push(format!(
            "the console said more than the {} bytes that are kept of it",
            options.console_limit
        ));
    }
    Ok(Outcome {
        machine: name.to_owned(),
        verdict,
        reason,
        seconds,
        console: options.console.clone(),
        screenshot,
        console_tail: watch.tail.into(),
        screen_text: match verdict {
            Verdict::CameUp => Vec::new(),
            _ => watch.screen,
        },
        accelerator,
        hardware,
        volumes: (0..volumes.len()).map(serial).collect(),
        qemu: qemu.version,
        notes,
    })
}

fn absolute(volume: &Volume) -> Result<Volume, Error> {
    let path = &volume.path;
    let absolute = std::path::absolute(path).map_err(|error| Error::io(path, "find", error))?;
    Ok(Volume {
        path: absolute,
        ..volume.clone()
    })
}

/// A machine that is being watched.
#[derive(Debug)]
struct Watch<'a> {
    process: Process,
    qmp: Option<Qmp>,
    socket: &'a Path,
    dir: &'a Path,
    log: Log,
    lines: Lines,
    judge: Judge,
    task: Box<dyn Task>,
    tail: VecDeque<String>,
    /// What stood on the screen at the last look.
    screen: Vec<String>,
    /// Whether the screen can be read.
    text_mode: bool,
    start: Instant,
    limit: Duration,
    gives_up_idle: bool,
    /// When the machine last said or did something.
    busy: Instant,
    /// Processor time at the last look.
    used: Duration,
    looked: Instant,
    /// Since when, and why, the machine seems to be up.
    perhaps: Option<(Instant, String)>,
    resets: u32,
    powered_off: bool,
    spoke: bool,
}

type End = (Verdict, String);

impl Watch<'_> {
    /// Watches the machine until something is decided.
    fn run(&mut self, interrupt: &Interrupt) -> Result<End, Error> {
        loop {
            interrupt.check()?;
            let mut end = self.hear(TICK)?;
            if end.is_none() {
                end = self.tell_events();
            }
            if end.is_none() && self.process.ended()?.is_some() {
                // What it said last is still on its way.
                while let (None, Ok(bytes)) = (&end, self.process.output.recv_timeout(TICK)) {
                    end = self.take(&bytes)?;
                }
                let end = end.or_else(|| self.judge_rest());
                return Ok(end.unwrap_or_else(|| self.death()));
            }
            if end.is_none() {
                end = self.look();
            }
            if let Some((verdict, reason)) = end.or_else(|| self.time_is_up()) {
                if verdict == Verdict::Failed {
                    self.last_words(interrupt)?;
                }
                return Ok((verdict, reason));
            }
        }
    }

    /// Hears what the console says within a moment; an unfinished line is judged when it stays so.
    fn hear(&mut self, most: Duration) -> Result<Option<End>, Error> {
        match self.process.output.recv_timeout(most) {
            Ok(bytes) => self.take(&bytes),
            Err(RecvTimeoutError::Timeout) => Ok(self.judge_rest()),
            Err(RecvTimeoutError::Disconnected) => {
                self.process.wait(most)?;
                Ok(self.judge_rest())
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Option<End>, Error> {
        self.log.write(bytes)?;
        self.spoke = true;
        self.busy = Instant::now();
        let mut end = None;
        for line in self.lines.push(bytes) {
            tracing::debug!(line, "console");
            self.task.advance(1);
            // The first that decides does; those behind it are still worth to be shown.
            end = end.or_else(|| self.judge_line(&line));
            if self.tail.len() >= TAIL_LINES {
                self.tail.pop_front();
            }
            self.tail.push_back(line);
        }
        Ok(end)
    }

    fn judge_rest(&mut self) -> Option<End> {
        let rest = self.lines.rest();
        self.judge_line(&rest)
    }

    fn judge_line(&mut self, line: &str) -> Option<End> {
        match self.judge.sign(line)? {
            Sign::Up(why) => Some((Verdict::CameUp, why)),
            Sign::Down(why) => Some((Verdict::Failed, why)),
            Sign::Perhaps(why) => {
                self.perhaps.get_or_insert((Instant::now(), why));
                None
            }
        }
    }

    /// What QEMU tells. It may listen only after a while, and a stand-in never does.
    fn tell_events(&mut self) -> Option<End> {
        if self.qmp.is_none() && self.socket.exists() {
            match Qmp::connect(self.socket) {
                Ok(qmp) => self.qmp = Some(qmp),
                Err(error) => tracing::debug!(%error, "QEMU does not listen yet"),
            }
        }
        for event in self.qmp.as_mut().map(Qmp::events).unwrap_or_default() {
            match event {
                Event::Reset => {
                    self.resets = self.resets.saturating_add(1);
                    self.perhaps = None;
                }
                Event::PoweredOff => self.powered_off = true,
            }
        }
        (self.resets > MAX_RESETS).then(|| {
            let why = format!("it starts over and over, {} times by now", self.resets);
            (Verdict::Failed, why)
        })
    }

    /// Looks at the screen, and whether the machine has something to do.
    fn look(&mut self) -> Option<End> {
        let passed = self.looked.elapsed();
        if passed < LOOK {
            return None;
        }
        self.looked = Instant::now();
        if let Some(used) = self.process.processor_time() {
            // An idle machine takes a per cent or two of a processor to tell the time, a busy one on a
            // busy host not much more than this.
            if used.saturating_sub(self.used) > passed / 20 {
                self.busy = self.looked;
            }
            self.used = used;
        }
        let qmp = self.qmp.as_mut()?;
        if qmp.status().is_ok_and(|status| status == "internal-error") {
            let why = "KVM could not go on (internal error); let the target be emulated".to_owned();
            return Some((Verdict::Died, why));
        }
        if !self.text_mode {
            return None;
        }
        let screen = screen::read(qmp, self.dir);
        if screen != self.screen {
            self.busy = self.looked;
        }
        self.screen = screen;
        let lines = self.screen.clone();
        let (verdict, why) = lines.iter().find_map(|line| self.judge_line(line))?;
        Some((verdict, format!("{why} (on the screen)")))
    }

    fn time_is_up(&mut self) -> Option<End> {
        if let Some((since, why)) = &self.perhaps
            && since.elapsed() >= SECOND_THOUGHTS
        {
            return Some((Verdict::CameUp, why.clone()));
        }
        let spoke = self.spoke || !self.screen.is_empty();
        let verdict = if spoke {
            Verdict::TimedOut
        } else {
            Verdict::Silent
        };
        let nothing = if spoke {
            "nothing that it said decides"
        } else {
            "it said nothing; does its kernel use the serial console (console=ttyS0)?"
        };
        if self.start.elapsed() >= self.limit {
            let why = format!("after {} s {nothing}", self.limit.as_secs());
            return Some((verdict, why));
        }
        if self.gives_up_idle && self.busy.elapsed() >= IDLE_LIMIT {
            let why = format!(
                "it has had nothing to do and to say for {} s, and {nothing}",
                IDLE_LIMIT.as_secs()
            );
            return Some((verdict, why));
        }
        None
    }

    /// Why a machine is no more.
    fn death(&mut self) -> End {
        if let Some(qmp) = &mut self.qmp {
            self.powered_off |= qmp.events().contains(&Event::PoweredOff);
        }
        let said = self.process.said();
        match self.process.ended() {
            _ if self.powered_off => {
                let why = "it switched itself off before it came up".to_owned();
                (Verdict::Failed, why)
            }
            Ok(Some(status)) => (Verdict::Died, format!("QEMU ended ({status}): {said}")),
            _ => (Verdict::Died, format!("QEMU ended: {said}")),
        }
    }

    /// Listens a little longer: a panic has a trace, and a shell a prompt.
    fn last_words(&mut self, interrupt: &Interrupt) -> Result<(), Error> {
        let until = Instant::now() + LAST_WORDS;
        while Instant::now() < until && self.process.ended()?.is_none() {
            interrupt.check()?;
            if let Ok(bytes) = self.process.output.recv_timeout(TICK) {
                self.take(&bytes)?;
            }
        }
        Ok(())
    }

    fn screenshot(&mut self, path: &Path) -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        let qmp = self.qmp.as_mut()?;
        if self.text_mode {
            self.screen = screen::read(qmp, self.dir);
        }
        match qmp.screenshot(&path) {
            Ok(path) => Some(path),
            Err(error) => {
                tracing::warn!(%error, "there is no picture of the screen");
                None
            }
        }
    }

    /// Lets a machine end that came up: one whose volumes stay switches itself off, if it can.
    fn farewell(&mut self, own_volumes: bool, interrupt: &Interrupt) -> Result<(), Error> {
        let Some(qmp) = self.qmp.as_mut().filter(|_| own_volumes) else {
            return Ok(());
        };
        if let Err(error) = qmp.command("system_powerdown", &json!({})) {
            tracing::debug!(%error, "it cannot be asked to switch itself off");
            return Ok(());
        }
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until && self.process.ended()?.is_none() {
            interrupt.check()?;
            match self.process.output.recv_timeout(TICK) {
                Ok(bytes) => self.log.write(&bytes)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.process.wait(TICK)?;
                }
            }
        }
        Ok(())
    }
}

/// The file that gets what the console says.
#[derive(Debug)]
struct Log {
    file: File,
    path: PathBuf,
    room: u64,
    full: bool,
}

impl Log {
    fn create(path: &Path, limit: u64) -> Result<Self, Error> {
        let file = File::create(path).map_err(|error| Error::io(path, "create", error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            room: limit,
            full: false,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.full |= kept.len() < bytes.len();
        self.room = self
            .room
            .saturating_sub(u64::try_from(kept.len()).unwrap_or(u64::MAX));
        let written = self.file.write_all(kept);
        written.map_err(|error| Error::io(&self.path, "write", error))
    }

    fn is_full(&self) -> bool {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_that_never_ends_does_not_fill_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::create(&path, 10).unwrap();
        for _ in 0..5 {
            log.write(b"abcd").unwrap();
        }
        assert!(log.is_full());
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdabcdab");
        let mut log = Log::create(&path, 4).unwrap();
        log.write(b"abcd").unwrap();
        assert!(!log.is_full(), "all of it is there");
    }
}
