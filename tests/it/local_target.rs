//! `rehost launch --local`, with a script in the place of QEMU: it says what a machine would say.

use crate::support::{Ran, phony, program, rehost, temp};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory with a disk on which nothing is, and a QEMU that does what `script` says. It leaves
/// its arguments in `arguments`, and in `pids` the numbers of its processes.
struct Lab {
    dir: TempDir,
    qemu: PathBuf,
}

impl Lab {
    fn new(script: &str) -> Self {
        let dir = temp();
        let qemu = dir.path().join("qemu");
        let home = dir.path().display();
        let text = format!(
            "#!/bin/sh\n\
             [ \"$1\" != --version ] || {{ echo 'QEMU emulator version 0 (a stand-in)'; exit; }}\n\
             cd '{home}' || exit\n\
             echo \"$*\" >arguments\n\
             sleep 600 >/dev/null 2>&1 & echo $$ $! >pids\n\
             {script}\n"
        );
        fs::write(&qemu, text).unwrap();
        fs::set_permissions(&qemu, Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("disk.raw"), vec![0; 1 << 20]).unwrap();
        Self { dir, qemu }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.dir.path());
        command.args(["launch", "--local", "--json", "--accel", "tcg", "--qemu"]);
        command.arg(&self.qemu).args(arguments);
        command
    }

    /// Launches the empty disk.
    fn launch(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.args(["--firmware", "bios", "disk.raw"]);
        let ran = Ran::of(command.output().unwrap());
        self.assert_nothing_runs();
        ran
    }

    fn outcome(&self, status: i32, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.launch(arguments).ended(status)).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// No process that the script was or started is there, a moment later at most.
    #[track_caller]
    fn assert_nothing_runs(&self) {
        let pids = self.read("pids");
        let until = Instant::now() + Duration::from_secs(30);
        for pid in pids.split_whitespace() {
            while is_running(pid) {
                assert!(Instant::now() < until, "process {pid} lives on");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    fn wait_for_start(&self) {
        let pids = self.dir.path().join("pids");
        let until = Instant::now() + Duration::from_secs(60);
        while fs::read_to_string(&pids).unwrap_or_default().is_empty() {
            assert!(Instant::now() < until, "QEMU was not started");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A zombie that init has not waited for yet is none.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

const UP: &str = "printf 'Linux version 6.1\\r\\n\\033[32mDebian\\033[0m 12 web1 ttyS0\\r\\n\\r\\nweb1 login: '; sleep 600";

#[test]
fn a_login_prompt_means_that_the_target_came_up() {
    let lab = Lab::new(UP);
    let before = fs::read(lab.dir.path().join("disk.raw")).unwrap();
    let outcome = lab.outcome(0, &["--memory", "512M", "--cpus", "2"]);
    assert_eq!(outcome["verdict"], "came-up", "{outcome}");
    assert_eq!(outcome["reason"], "web1 asks for a login");
    assert_eq!(outcome["machine"], "disk");
    assert_eq!(outcome["accelerator"]["kvm"], false);
    assert_eq!(outcome["hardware"]["memory_mib"], 512);
    assert_eq!(
        outcome["hardware"]["cpus"], 1,
        "an emulated one has no more"
    );
    assert_eq!(outcome["notes"].as_array().unwrap().len(), 1, "{outcome}");
    assert_eq!(outcome["volumes"][0], "vol00000000000000001");
    assert_eq!(outcome["console"], "disk.console.log");
    assert!(lab.read("disk.console.log").contains("\u{1b}[32mDebian"));
    let arguments = lab.read("arguments");
    let disk = format!("file={}/disk.raw,cache=unsafe", lab.dir.path().display());
    assert!(
        arguments.contains(&disk) && arguments.contains("snapshot=on"),
        "{arguments}"
    );
    assert!(arguments.contains("-m 512M -smp 1"), "{arguments}");
    assert_eq!(fs::read(lab.dir.path().join("disk.raw")).unwrap(), before);
}

#[test]
fn a_panic_is_told_with_the_console() {
    let lab = Lab::new(
        "echo '[    2.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)'\n\
         echo '[    2.9] CPU: 0 PID: 1 Comm: swapper/0'; sleep 600",
    );
    let ran = lab.launch(&[]);
    let outcome: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let stderr = ran.stderr.clone();
    ran.ended(6);
    assert_eq!(outcome["verdict"], "failed", "{outcome}");
    let reason = outcome["reason"].as_str().unwrap();
    assert!(reason.starts_with("the kernel panicked: ") && reason.contains("Unable to mount"));
    assert_eq!(
        outcome["screenshot"],
        Value::Null,
        "nobody could be asked for one"
    );
    assert!(stderr.contains("console| [    2.9] CPU: 0"), "{stderr}");
}

#[test]
fn what_decides_nothing_runs_into_the_time_limit() {
    let lab = Lab::new("echo 'Linux version 6.1'; sleep 600");
    let outcome = lab.outcome(6, &["--timeout", "2s"]);
    assert_eq!(outcome["verdict"], "timed-out", "{outcome}");
    let lab = Lab::new("sleep 600");
    let outcome = lab.outcome(6, &["--timeout", "2s"]);
    assert_eq!(outcome["verdict"], "silent", "{outcome}");
    assert!(
        outcome["reason"]
            .as_str()
            .unwrap()
            .contains("console=ttyS0")
    );
    // A success that is not the one that is waited for.
    let lab = Lab::new(UP);
    let outcome = lab.outcome(6, &["--timeout", "2s", "--marker", "web1 is ready"]);
    assert_eq!(outcome["verdict"], "timed-out", "{outcome}");
    let lab = Lab::new("echo 'web1 is ready'; sleep 600");
    let outcome = lab.outcome(0, &["--marker", "web1 is ready"]);
    assert_eq!(outcome["reason"], "the console shows \"web1 is ready\"");
}

#[test]
fn an_emergency_shell_that_systemd_calls_finished_is_no_success() {
    let lab = Lab::new(
        "echo 'systemd[1]: Startup finished in 1s (kernel) + 2s (userspace) = 3s.'; sleep 2\n\
         echo 'You are in emergency mode. After logging in, type \"journalctl -xb\"'; sleep 600",
    );
    let outcome = lab.outcome(6, &[]);
    assert_eq!(outcome["verdict"], "failed", "{outcome}");
}

#[test]
fn a_qemu_that_ends_is_told_from_one_that_does_not_start() {
    let lab = Lab::new("echo 'Linux version 6.1'; echo 'out of memory' >&2; exit 1");
    let outcome = lab.outcome(6, &[]);
    assert_eq!(outcome["verdict"], "died", "{outcome}");
    assert!(
        outcome["reason"]
            .as_str()
            .unwrap()
            .contains("out of memory")
    );
    let lab = Lab::new("echo 'no such device: nvme' >&2; exit 1");
    let said = lab.launch(&[]).failed(1);
    assert!(
        said.contains("does not start: no such device: nvme"),
        "{said}"
    );
    let disk = lab.dir.path().join("disk.raw");
    let said = rehost![
        "launch",
        "--local",
        "--firmware",
        "bios",
        "--qemu",
        "/nowhere/qemu",
        &disk
    ];
    let said = said.failed(1);
    assert!(said.contains("/nowhere/qemu is not installed"), "{said}");
    assert!(said.contains("qemu-system-x86"), "{said}");
}

fn start(lab: &Lab) -> (Child, Pid) {
    let mut command = lab.command(&["--firmware", "bios", "disk.raw"]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    lab.wait_for_start();
    (child, pid)
}

#[test]
fn an_interrupted_launch_leaves_nothing_running() {
    for signal in [Signal::INT, Signal::TERM] {
        let lab = Lab::new("sleep 600");
        let (mut child, pid) = start(&lab);
        kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        lab.assert_nothing_runs();
    }
}

#[test]
fn a_killed_launch_leaves_no_qemu_running() {
    let lab = Lab::new("exec sleep 600");
    let (mut child, pid) = start(&lab);
    kill_process(pid, Signal::KILL).unwrap();
    child.wait().unwrap();
    let pids = lab.read("pids");
    let mut pids = pids.split_whitespace();
    // Only QEMU itself is on the leash, and it has no children; the stand-in has one.
    let (qemu, sleeper) = (pids.next().unwrap(), pids.next().unwrap());
    let sleeper = Pid::from_raw(sleeper.parse().unwrap()).unwrap();
    kill_process(sleeper, Signal::KILL).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while is_running(qemu) {
        assert!(Instant::now() < until, "QEMU lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn where_to_launch_has_to_be_said() {
    let said = program().args(["launch", "disk.raw"]).output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("--local"));
}

#[test]
fn firmware_comes_from_the_disk() {
    let lab = Lab::new(UP);
    let image = phony(&["debian12"]);
    let image = image.to_str().unwrap();
    let outcome = Ran::of(lab.command(&["--timeout", "1m", image]).output().unwrap()).json();
    assert_eq!(outcome["hardware"]["firmware"], "bios", "{outcome}");
    let said = lab.command(&["disk.raw"]).output().unwrap();
    let said = Ran::of(said).failed(1);
    assert!(said.contains("say it with --firmware"), "{said}");
}

#[test]
fn what_qemu_does_not_read_is_written_to_volumes_of_whole_gib() {
    let lab = Lab::new(
        "set -- $(tr ', ' '\\n\\n' <arguments | sed -n 's/^file=//p')\n\
         stat -c '%s %n' \"$@\" >volumes\n\
         printf 'web1 login: '; sleep 600",
    );
    let web1 = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/web1.vmdk");
    let web1 = web1.to_str().unwrap();
    let ran = lab.command(&[web1, "disk.raw"]).output().unwrap();
    let outcome = Ran::of(ran).json();
    assert_eq!(outcome["volumes"].as_array().unwrap().len(), 2, "{outcome}");
    let volumes = lab.read("volumes");
    let volumes: Vec<_> = volumes
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let size: u64 = volumes[0].0.parse().unwrap();
    assert!(size > 0 && size.is_multiple_of(1 << 30), "{volumes:?}");
    assert!(
        !Path::new(volumes[0].1).exists(),
        "it goes away with the target"
    );
    assert!(volumes[1].1.ends_with("/disk.raw"), "{volumes:?}");
}

#[test]
fn a_kept_target_replaces_the_earlier_one() {
    let lab = Lab::new(UP);
    let keep = lab.dir.path().join("kept");
    let kept = ["--keep", "kept"];
    lab.outcome(0, &kept);
    let disk = keep.join("disk1.raw");
    assert_eq!(fs::metadata(&disk).unwrap().len(), 1 << 30);
    assert!(!lab.read("arguments").contains("snapshot=on"));
    assert!(keep.join("console.log").exists());
    fs::write(&disk, "what the target wrote").unwrap();
    lab.outcome(0, &kept);
    assert_eq!(fs::metadata(&disk).unwrap().len(), 1 << 30);
    let other = lab.dir.path().join("other.raw");
    fs::copy(lab.dir.path().join("disk.raw"), &other).unwrap();
    let ran = lab.command(&["--firmware", "bios", "--keep", "kept", "other.raw"]);
    let said = Ran::of({ ran }.output().unwrap()).failed(1);
    assert!(
        said.contains("it keeps the target disk, not other"),
        "{said}"
    );
    let said = Ran::of(
        lab.command(&["--console", "disk.raw", "--firmware", "bios", "disk.raw"])
            .output()
            .unwrap(),
    );
    assert!(
        said.failed(1).contains("is a source"),
        "a log over the disk"
    );
}

/// A QEMU that answers commands: it saves its screen, and switches itself off when asked to.
const SPEAKS: &str = r#"exec python3 - "$@" <<'END'
import json, re, socket, sys
path = re.search(r'unix:([^,]*),', ' '.join(sys.argv)).group(1)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
print(open('says').read(), end='', flush=True)
stream = server.accept()[0].makefile('rw')
def say(message):
    stream.write(json.dumps(message) + '\n')
    stream.flush()
say({'QMP': {}})
for line in stream:
    command = json.loads(line)
    open('commands', 'a').write(command['execute'] + '\n')
    arguments = command['arguments']
    if command['execute'] == 'screendump':
        open(arguments['filename'], 'w').write('a picture')
    if command['execute'] == 'pmemsave':
        row = b'ALERT!  /dev/sda1 does not exist.  Dropping to a shell!'.ljust(80)
        open(arguments['filename'], 'wb').write(b''.join(bytes([b, 7]) for b in row.ljust(2000)))
    say({'return': {'status': 'running'}})
    if command['execute'] == 'system_powerdown':
        say({'event': 'SHUTDOWN', 'data': {'guest': True}})
        sys.exit()
END"#;

#[test]
fn the_screen_of_a_target_without_a_serial_console_is_read_and_saved() {
    let lab = Lab::new(SPEAKS);
    fs::write(lab.dir.path().join("says"), "").unwrap();
    let outcome = lab.outcome(6, &[]);
    assert_eq!(outcome["verdict"], "failed", "{outcome}");
    let reason = outcome["reason"].as_str().unwrap();
    assert!(reason.contains("/dev/sda1 does not exist") && reason.contains("on the screen"));
    let screenshot = outcome["screenshot"].as_str().unwrap();
    assert_eq!(fs::read_to_string(screenshot).unwrap(), "a picture");
    assert!(screenshot.ends_with("/disk.screen.png"), "{screenshot}");
    assert!(
        outcome["screen_text"][0]
            .as_str()
            .unwrap()
            .starts_with("ALERT!")
    );
}

#[test]
fn a_target_that_starts_over_and_over_is_given_up() {
    let again = "for line in stream:\n    for _ in range(6):\n        say({'event': 'RESET'})\n";
    let lab = Lab::new(&SPEAKS.replace("for line in stream:\n", again));
    fs::write(lab.dir.path().join("says"), "Linux version 6.1\n").unwrap();
    let outcome = lab.outcome(6, &[]);
    assert_eq!(outcome["verdict"], "failed", "{outcome}");
    let reason = outcome["reason"].as_str().unwrap();
    assert!(reason.starts_with("it starts over and over"), "{reason}");
}

#[test]
fn a_kept_target_is_asked_to_switch_itself_off() {
    let lab = Lab::new(SPEAKS);
    fs::write(lab.dir.path().join("says"), "web1 login: ").unwrap();
    lab.outcome(0, &["--keep", "kept"]);
    let commands = lab.read("commands");
    assert!(commands.contains("system_powerdown"), "{commands}");
    fs::remove_file(lab.dir.path().join("commands")).unwrap();
    lab.outcome(0, &[]);
    let commands = fs::read_to_string(lab.dir.path().join("commands")).unwrap_or_default();
    assert!(!commands.contains("system_powerdown"), "{commands}");
}
