//! `rehost copy` beside `qemu-img convert`: the same job, in one run, on the same file system.
//!
//! `cargo bench --bench images` makes a disk of 4 GiB with 2 GiB of a tar of `/usr` (or of the
//! directory that `REHOST_BENCH_TREE` names), cut into runs of 64 KiB to 32 MiB, each followed by
//! such a hole, and has `qemu-img` write it in each format. Both programs then take turns; medians
//! of three count. Neither flushes what it wrote. `REHOST_BENCH_DIR` keeps the images for the next
//! run; it takes 12 GiB. Bars, as parts of what qemu-img takes, stand beside what was measured.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const VIRTUAL: u64 = 4 << 30;
const DATA: u64 = 2 << 30;
const ROUNDS: usize = 3;

/// One job for both programs.
struct Job {
    name: &'static str,
    source: &'static str,
    target: &'static str,
    qemu: &'static [&'static str],
    rehost: &'static [&'static str],
    /// Largest part of qemu-img's wall time and of its CPU time.
    bars: (f64, Option<f64>),
}

/// How the sources are made, by name.
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

const RAW: [&str; 2] = ["-O", "raw"];

const JOBS: [Job; 8] = [
    Job {
        name: "read zlib qcow2",
        source: "zlib.qcow2",
        target: "out.raw",
        qemu: &RAW,
        rehost: &[],
        bars: (0.55, Some(0.65)),
    },
    Job {
        name: "read streamOptimized",
        source: "stream.vmdk",
        target: "out.raw",
        qemu: &RAW,
        rehost: &[],
        bars: (0.35, Some(0.65)),
    },
    Job {
        name: "read zstd qcow2",
        source: "zstd.qcow2",
        target: "out.raw",
        qemu: &RAW,
        rehost: &[],
        bars: (0.65, Some(0.65)),
    },
    Job {
        name: "read plain qcow2",
        source: "plain.qcow2",
        target: "out.raw",
        qemu: &RAW,
        rehost: &[],
        bars: (1.0, None),
    },
    Job {
        name: "read raw",
        source: "source.raw",
        target: "out.raw",
        qemu: &RAW,
        rehost: &["--format", "raw"],
        bars: (1.0, None),
    },
    Job {
        name: "write zlib qcow2",
        source: "source.raw",
        target: "out.qcow2",
        qemu: &["-c", "-O", "qcow2"],
        rehost: &["--format", "raw", "--compress", "zlib"],
        bars: (0.5, None),
    },
    Job {
        name: "write zstd qcow2",
        source: "source.raw",
        target: "out.qcow2",
        qemu: &["-c", "-O", "qcow2", "-o", "compression_type=zstd"],
        rehost: &["--format", "raw", "--compress", "zstd"],
        bars: (0.5, None),
    },
    Job {
        name: "write streamOptimized",
        source: "source.raw",
        target: "out.vmdk",
        qemu: &["-O", "vmdk", "-o", "subformat=streamOptimized"],
        rehost: &["--format", "raw"],
        bars: (0.5, None),
    },
];

/// What a run took.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
    /// Peak of resident memory in MiB.
    memory: f64,
}

fn main() {
    let dir = std::env::var_os("REHOST_BENCH_DIR").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("images"),
        PathBuf::from,
    );
    fs::create_dir_all(&dir).unwrap();
    make_sources(&dir);
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    println!("                         rehost               qemu-img             ratio");
    println!(
        "job                      wall s  CPU s   MiB  wall s  CPU s   MiB  wall (bar)    CPU (bar)"
    );
    for job in JOBS {
        if wanted.is_empty()
            || wanted
                .iter()
                .any(|wanted| job.name.contains(wanted.as_str()))
        {
            run(&job, &dir);
        }
    }
}

fn run(job: &Job, dir: &Path) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut qemu = Command::new("qemu-img");
        qemu.args(["convert", "-W", "-m", "16"]).args(job.qemu);
        theirs.push(measured(qemu.args([job.source, job.target]), job, dir));
        let mut rehost = Command::new(env!("CARGO_BIN_EXE_rehost"));
        rehost.args(["copy", "--quiet"]).args(job.rehost);
        ours.push(measured(rehost.args([job.source, job.target]), job, dir));
    }
    let (ours, theirs) = (median(&ours), median(&theirs));
    let (wall, cpu) = (ours.wall / theirs.wall, ours.cpu / theirs.cpu);
    let cpu_bar = job
        .bars
        .1
        .map_or_else(String::new, |bar| format!(" ({bar:.2})"));
    println!(
        "{:<22} {:>8.2} {:>6.2} {:>5.0} {:>7.2} {:>6.2} {:>5.0}  {wall:.2} ({:.2})   {cpu:.2}{cpu_bar}",
        job.name,
        ours.wall,
        ours.cpu,
        ours.memory,
        theirs.wall,
        theirs.cpu,
        theirs.memory,
        job.bars.0,
    );
}

/// Runs a command in `dir` whose output is then removed.
fn measured(command: &mut Command, job: &Job, dir: &Path) -> Cost {
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
    fs::remove_file(dir.join(job.target)).unwrap();
    Cost {
        wall,
        cpu: children_cpu() - before,
        memory,
    }
}

/// Each figure's own median.
fn median(costs: &[Cost]) -> Cost {
    let of = |figure: fn(&Cost) -> f64| {
        let mut figures: Vec<f64> = costs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
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
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().unwrap();
    (ticks(16) + ticks(17)) / TICKS
}

fn make_sources(dir: &Path) {
    let source = dir.join("source.raw");
    if !source.exists() {
        let draft = dir.join("source.part");
        make_disk(&draft);
        fs::rename(&draft, &source).unwrap();
    }
    for (name, options) in SOURCES {
        if dir.join(name).exists() {
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
