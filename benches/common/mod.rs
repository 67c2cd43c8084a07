//! What a program costs, and disks to read.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const VIRTUAL: u64 = 4 << 30;
const DATA: u64 = 2 << 30;

/// How the sources are made of `source.raw`, by name.
const SOURCES: [(&str, &[&str]); 4] = [
    ("plain.qcow2", &["-O", "qcow2"]),
    ("zlib.qcow2", &["-c", "-O", "qcow2"]),
    (
        "zstd.qcow2",
        &["-c", "-O", "qcow2", "-o", "compression_type=zstd"],
    ),
    (
        "stream.vmdk",
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
    ),
];

/// What a run took.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    /// Peak of resident memory in MiB.
    pub(crate) memory: f64,
}

/// Where the images are kept, and whatever the benches write.
pub(crate) fn directory() -> PathBuf {
    let dir = std::env::var_os("REHOST_BENCH_DIR").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("images"),
        PathBuf::from,
    );
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// The names of jobs on the command line; a job whose name has one of them is wanted, or all are.
pub(crate) fn wanted(name: &str) -> bool {
    let arguments = std::env::args().skip(1);
    let mut names = arguments
        .filter(|argument| !argument.starts_with('-'))
        .peekable();
    names.peek().is_none() || names.any(|wanted| name.contains(wanted.as_str()))
}

/// Runs a command in `dir`, which must succeed; its output is thrown away.
pub(crate) fn measured(command: &mut Command, dir: &Path) -> Cost {
    let before = children_cpu();
    let from = Instant::now();
    let mut child = command
        .current_dir(dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let memory = peak_memory_until_end(&mut child);
    let wall = from.elapsed().as_secs_f64();
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?}");
    Cost {
        wall,
        cpu: children_cpu() - before,
        memory,
    }
}

/// Of each figure the one that counts.
pub(crate) fn each(costs: &[Cost], counts: fn(Vec<f64>) -> f64) -> Cost {
    let of = |figure: fn(&Cost) -> f64| counts(costs.iter().map(figure).collect());
    Cost {
        wall: of(|cost| cost.wall),
        cpu: of(|cost| cost.cpu),
        memory: of(|cost| cost.memory),
    }
}

/// Looks at a process until it has ended.
fn peak_memory_until_end(child: &mut Child) -> f64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        peak = kib.unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    peak / 1024.0
}

/// CPU seconds of all children that have ended (`cutime` and `cstime` of proc(5)).
fn children_cpu() -> f64 {
    cpu_ticks("/proc/self/stat", 16)
}

/// Two numbers of ticks, from that field of a process on, in seconds.
pub(crate) fn cpu_ticks(stat: &str, field: usize) -> f64 {
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string(stat).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().unwrap();
    (ticks(field) + ticks(field + 1)) / TICKS
}

/// Makes `source.raw` in `dir`, and those of the other sources that are named.
pub(crate) fn make_sources(dir: &Path, names: &[&str]) {
    let source = dir.join("source.raw");
    if !source.exists() {
        let draft = dir.join("source.part");
        make_disk(&draft);
        fs::rename(&draft, &source).unwrap();
    }
    for (name, options) in SOURCES {
        if !names.contains(&name) || dir.join(name).exists() {
            continue;
        }
        let mut command = Command::new("qemu-img");
        command
            .current_dir(dir)
            .args(["convert", "-W", "-m", "16", "-f", "raw"]);
        let part = format!("{name}.part");
        let status = command
            .args(options)
            .args(["source.raw", &part])
            .status()
            .unwrap();
        assert!(status.success(), "{command:?}");
        fs::rename(dir.join(part), dir.join(name)).unwrap();
    }
}

/// Cuts a tar into runs with holes between them.
fn make_disk(path: &Path) {
    let tree = std::env::var_os("REHOST_BENCH_TREE").unwrap_or_else(|| "/usr".into());
    let mut tar = Command::new("tar");
    tar.args(["-cf", "-"]).arg(tree).stderr(Stdio::null());
    let mut tar = tar.stdout(Stdio::piped()).spawn().unwrap();
    let mut text = tar.stdout.take().unwrap();
    let file = File::create(path).unwrap();
    file.set_len(VIRTUAL).unwrap();
    // Knuth's MMIX generator: the same runs each time.
    let mut state = 42_u64;
    let mut run_len = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((64 << 10) + (state >> 33) % (32 << 20)) / 4096 * 4096
    };
    let (mut at, mut left) = (0, DATA);
    while left > 0 && at < VIRTUAL {
        let len = run_len().min(left).min(VIRTUAL - at);
        let mut run = Vec::new();
        text.by_ref().take(len).read_to_end(&mut run).unwrap();
        assert!(!run.is_empty(), "the tree has less than {DATA} bytes");
        file.write_all_at(&run, at).unwrap();
        left -= len;
        at += len + run_len();
    }
    drop(text);
    // It was told to stop by the closed pipe.
    let _ = tar.wait().unwrap();
}
