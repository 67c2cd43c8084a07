//! Phony guests made once per run, the program, and readers that are not ours.

use serde_json::Value;
use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, OnceLock};

pub(crate) const ROOT: &str = "5f1c3d2e-0000-4000-8000-000000000001";
pub(crate) const BOOT: &str = "5f1c3d2e-0000-4000-8000-000000000002";
pub(crate) const SWAP: &str = "5f1c3d2e-0000-4000-8000-000000000003";
pub(crate) const ESP: &str = "CAFE-0001";

/// The directory of this run. Those of runs that have ended are removed.
pub(crate) fn scratch() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("it");
        fs::create_dir_all(&base).unwrap();
        for entry in fs::read_dir(&base).unwrap() {
            let entry = entry.unwrap();
            if !Path::new("/proc").join(entry.file_name()).exists() {
                // Another run that starts now may have removed it first.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let dir = base.join(std::process::id().to_string());
        fs::create_dir_all(&dir).unwrap();
        dir
    })
}

/// A new directory that goes away with the test.
pub(crate) fn temp() -> tempfile::TempDir {
    tempfile::tempdir_in(scratch()).unwrap()
}

/// The image that `fixtures/phony-guest` makes with these arguments, read-only. The same
/// arguments give the same file: its source does not change over a run.
pub(crate) fn phony(args: &[&str]) -> PathBuf {
    type Made = Mutex<HashMap<String, Arc<OnceLock<PathBuf>>>>;
    static MADE: OnceLock<Made> = OnceLock::new();
    let name = args.join("_").replace("--", "");
    let made = MADE.get_or_init(Mutex::default);
    let cell = made
        .lock()
        .unwrap()
        .entry(name.clone())
        .or_default()
        .clone();
    let path = cell.get_or_init(|| {
        let path = scratch().join(format!("{name}.img"));
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/phony-guest");
        let mut command = Command::new(recipe);
        command.arg(args[0]).arg(&path).args(&args[1..]);
        tool(&mut command);
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        path
    });
    path.clone()
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit status; none if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What it printed, if it ended with `status`.
    #[track_caller]
    pub(crate) fn ended(self, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{}", self.stderr);
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> String {
        self.ended(0)
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// What it said when it failed with `status`.
    #[track_caller]
    pub(crate) fn failed(self, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{}", self.stderr);
        let says_why = self.stderr.lines().any(|line| line.starts_with("rehost: "));
        assert!(says_why, "{}", self.stderr);
        self.stderr
    }
}

/// The program, in an environment that does not reach into the test.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rehost"));
    command.current_dir(scratch());
    for name in [
        "REHOST_STORE",
        "REHOST_LOG",
        "SOURCE_DATE_EPOCH",
        "NO_COLOR",
    ] {
        command.env_remove(name);
    }
    command.env("REHOST_STATE", scratch().join("state"));
    command
}

/// Runs the program with these arguments.
macro_rules! rehost {
    ($($argument:expr),* $(,)?) => {
        $crate::support::Ran::of(
            $crate::support::program()$(.arg($argument))*.output().unwrap()
        )
    };
}
pub(crate) use rehost;

/// Runs a tool that has to succeed; the tests need it.
#[track_caller]
pub(crate) fn tool(command: &mut Command) -> Vec<u8> {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.env("MTOOLSRC", "/dev/null");
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output.stdout
}

/// Runs qemu-img, which has to succeed, and gives what it printed.
macro_rules! qemu_img {
    ($($argument:expr),* $(,)?) => {
        $crate::support::tool(
            std::process::Command::new("qemu-img")$(.arg($argument))*
        )
    };
}
pub(crate) use qemu_img;

/// Lets qemu-io follow commands: `write -P 1 64k 64k`, `read -P 0 0 1M`.
#[track_caller]
pub(crate) fn qemu_io(image: &Path, format: &str, commands: &[&str]) {
    let mut qemu_io = Command::new("qemu-io");
    qemu_io.args(["-f", format]);
    for command in commands {
        qemu_io.args(["-c", command]);
    }
    let said = tool(qemu_io.arg(image));
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("failed"), "{said}");
}

/// Runs the program, which has to succeed, and gives the most memory that it had, in KiB.
#[track_caller]
pub(crate) fn peak_memory(program: &Command) -> u64 {
    const MEASURE: &str = "import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let mut measured = Command::new("python3");
    measured.args(["-c", MEASURE]);
    measured.arg(program.get_program()).args(program.get_args());
    let kib = String::from_utf8(tool(&mut measured)).unwrap();
    kib.trim().parse().unwrap()
}

/// The partitions of a raw image as `sfdisk` sees them, each copied into a file of its own.
pub(crate) struct Partitions {
    dir: tempfile::TempDir,
    count: usize,
}

impl Partitions {
    pub(crate) fn of(raw: &Path) -> Self {
        let listing = tool(Command::new("sfdisk").arg("-J").arg(raw));
        let listing: Value = serde_json::from_slice(&listing).unwrap();
        let disk = fs::read(raw).unwrap();
        let dir = temp();
        let partitions = listing["partitiontable"]["partitions"].as_array().unwrap();
        for (index, partition) in partitions.iter().enumerate() {
            let bytes = |name: &str| {
                let sectors = partition[name].as_u64().unwrap();
                usize::try_from(sectors * 512).unwrap()
            };
            let content = &disk[bytes("start")..][..bytes("size")];
            fs::write(dir.path().join((index + 1).to_string()), content).unwrap();
        }
        let count = partitions.len();
        Self { dir, count }
    }

    /// The file with the content of partition `number`.
    pub(crate) fn file(&self, number: usize) -> PathBuf {
        assert!((1..=self.count).contains(&number));
        self.dir.path().join(number.to_string())
    }
}

/// A file as `debugfs` reads it.
#[track_caller]
pub(crate) fn debugfs_cat(file_system: &Path, path: &str) -> Vec<u8> {
    debugfs(file_system, &format!("cat \"{path}\""))
}

#[track_caller]
pub(crate) fn debugfs(file_system: &Path, request: &str) -> Vec<u8> {
    let mut command = Command::new("debugfs");
    tool(command.arg("-R").arg(request).arg(file_system))
}

/// The names in a directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whether two files hold the same bytes, without printing them.
#[track_caller]
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let same = fs::read(left).unwrap() == fs::read(right).unwrap();
    assert!(same, "{} and {} differ", left.display(), right.display());
}
