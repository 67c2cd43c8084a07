//! What inspecting, planning and converting a guest cost, and how writing its image compares with
//! `qemu-img`.
//!
//! `cargo bench` takes the image that `REHOST_BENCH_IMAGE` names, or else a phony guest. Each
//! stage runs in a process of its own, so that the peak of its memory is its own, five times; the
//! best run counts. Conversion here means all but writing the output.

use convert::Options;
use guest::{Guest, Machine, SourceDisk};
use image::OpenOptions;
use rustix::time::{ClockId, clock_gettime};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const STAGE: &str = "REHOST_BENCH_STAGE";
const IMAGE: &str = "REHOST_BENCH_IMAGE";
const STAGES: [&str; 3] = ["inspect", "plan", "convert"];
const RUNS: usize = 5;
const WRITES: usize = 3;

/// What a run took.
#[derive(Clone, Copy)]
struct Cost {
    cpu: f64,
    wall: f64,
    /// Peak of resident memory in MiB.
    memory: f64,
}

fn main() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    if let (Ok(stage), Some(image)) = (std::env::var(STAGE), std::env::var_os(IMAGE)) {
        println!("{}", one_run(&stage, Path::new(&image)));
        return;
    }
    std::fs::create_dir_all(&dir).unwrap();
    let image = std::env::var_os(IMAGE).map_or_else(|| phony_guest(&dir), PathBuf::from);
    println!("{}", image.display());
    println!("stage      CPU s   wall s   peak MiB");
    for stage in STAGES {
        let runs = (0..RUNS).map(|_| in_a_process(stage, &image));
        let Cost { cpu, wall, memory } = runs.min_by(|a, b| a.cpu.total_cmp(&b.cpu)).unwrap();
        println!("{stage:<8} {cpu:>7.3}  {wall:>7.3}   {memory:>8.1}");
    }
    println!("output     wall s   qemu-img s   ratio");
    for format in ["raw", "qcow2"] {
        let out = dir.join(format!("out.{format}"));
        let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
        for _ in 0..WRITES {
            let mut rehost = Command::new(env!("CARGO_BIN_EXE_rehost"));
            rehost.args(["convert", "-q", "-o"]).arg(&out).arg(&image);
            ours = ours.min(timed(&mut rehost, &out));
            let mut qemu = Command::new("qemu-img");
            // As we do, it shall flush what it wrote.
            qemu.args(["convert", "-t", "writeback", "-O", format]);
            theirs = theirs.min(timed(qemu.arg(&image).arg(&out), &out));
        }
        let (ours, theirs) = (ours.as_secs_f64(), theirs.as_secs_f64());
        println!(
            "{format:<8} {ours:>8.3}   {theirs:>10.3}   {:>5.2}",
            ours / theirs
        );
    }
}

fn phony_guest(dir: &Path) -> PathBuf {
    let path = dir.join("phony.raw");
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/phony-guest");
    let mut command = Command::new(recipe);
    let status = command.arg("debian12").arg(&path).status().unwrap();
    assert!(status.success());
    path
}

/// Runs a command whose output is then removed.
fn timed(command: &mut Command, out: &Path) -> Duration {
    let from = Instant::now();
    let output = command.output().unwrap();
    let took = from.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    std::fs::remove_file(out).unwrap();
    took
}

fn in_a_process(stage: &str, image: &Path) -> Cost {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command
        .env(STAGE, stage)
        .env(IMAGE, image)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stage}: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let [cpu, wall, memory] = numbers[..] else {
        panic!("{stage}: {text}");
    };
    Cost { cpu, wall, memory }
}

fn one_run(stage: &str, image: &Path) -> String {
    let from = Instant::now();
    let opened = image::open(image, &OpenOptions::default()).unwrap();
    let disk = SourceDisk {
        name: image.display().to_string(),
        device: opened.device(),
    };
    let machine = Machine::open(vec![disk]).unwrap();
    let root = machine.roots().unwrap()[0].volume.clone();
    let options = Options::default();
    if stage == "convert" {
        convert::convert(&machine, &root, &options, None).unwrap();
    } else {
        let guest = Guest::open(&machine, &root).unwrap();
        let facts = guest::inspect(&machine, &guest).unwrap();
        if stage == "plan" {
            convert::plan(&guest, &facts, &options).unwrap();
        }
    }
    let wall = from.elapsed().as_secs_f64();
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = Duration::try_from(cpu).unwrap().as_secs_f64();
    format!("{cpu} {wall} {}", peak_memory())
}

/// The high-water mark of resident memory in MiB.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}
