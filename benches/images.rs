//! `rehost copy` beside `qemu-img convert`: the same job, in one run, on the same file system.
//!
//! `cargo bench --bench images` makes a disk of 4 GiB with 2 GiB of a tar of `/usr` (or of the
//! directory that `REHOST_BENCH_TREE` names), cut into runs of 64 KiB to 32 MiB, each followed by
//! such a hole, and has `qemu-img` write it in each format. Both programs then take turns, and the
//! least of nine counts, of three where it takes long: a virtual machine whose host takes back the
//! memory that its guest freed gets it again page by page, at the cost of whoever comes then, which
//! can be more than a copy costs. Neither flushes what it wrote. `REHOST_BENCH_DIR` keeps the images
//! for the next run; it takes 12 GiB. Bars, as parts of what qemu-img takes, stand beside what was
//! measured.

#[path = "common/mod.rs"]
mod common;

use common::{directory, each, make_sources, measured, wanted};
use std::fs;
use std::path::Path;
use std::process::Command;

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

fn main() {
    let dir = directory();
    make_sources(&dir, &JOBS.map(|job| job.source));
    println!("                         rehost               qemu-img             ratio");
    println!(
        "job                      wall s  CPU s   MiB  wall s  CPU s   MiB  wall (bar)    CPU (bar)"
    );
    for job in JOBS.iter().filter(|job| wanted(job.name)) {
        run(job, &dir);
    }
}

fn run(job: &Job, dir: &Path) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let rounds = if job.target == "out.raw" { 9 } else { 3 };
    let mut qemu = Command::new("qemu-img");
    qemu.args(["convert", "-W", "-m", "16"]).args(job.qemu);
    qemu.args([job.source, job.target]);
    let mut rehost = Command::new(env!("CARGO_BIN_EXE_rehost"));
    rehost.args(["copy", "--quiet"]).args(job.rehost);
    rehost.args([job.source, job.target]);
    for round in 0..rounds {
        let mut turns = [(&mut qemu, &mut theirs), (&mut rehost, &mut ours)];
        // What the host does goes on with the time, and may favour who comes after the slower one.
        if round % 2 == 1 {
            turns.reverse();
        }
        for (command, costs) in turns {
            costs.push(measured(command, dir));
            fs::remove_file(dir.join(job.target)).unwrap();
        }
    }
    let (ours, theirs) = (each(&ours, least), each(&theirs, least));
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

fn least(figures: Vec<f64>) -> f64 {
    figures.into_iter().fold(f64::INFINITY, f64::min)
}
