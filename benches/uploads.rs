//! What an upload to EBS costs, against the fake of AWS in a process of its own, as a Markdown table.
//!
//! `cargo bench --bench uploads` prints each figure beside its bar. The fake checks signatures and
//! hashes each block, but keeps none. Programs that are compared take turns, and medians count. Wall
//! times need a host that does nothing else; how much it did stands above the table.
//!
//! [coldsnap](https://crates.io/crates/coldsnap) is compared with if it is there: at
//! `REHOST_COLDSNAP`, or by its name. The images are those of `benches/images.rs`, and some more:
//! `REHOST_BENCH_DIR` keeps them, 12 GiB in all. Names of jobs on the command line choose: `sha`,
//! `dense`, `latency`, `line`, `zlib`, `sparse`.

#[path = "common/mod.rs"]
mod common;

use common::{Cost, cpu_ticks, directory, each, make_sources, measured, wanted};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BLOCK: usize = 512 << 10;
/// Of `gib.raw`, and of the data in the sparse one.
const GIB: usize = 1 << 30;
/// Of `dense.raw`: what it takes to begin and to end shall not count.
const DENSE: usize = 4 * GIB;
/// 20 Mbit/s, and what is sent over them.
const LINE: u64 = 2_500_000;
const LINE_BYTES: usize = 64 << 20;
const SPARSE: u64 = 1 << 40;
const ROUNDS: usize = 5;
/// Without latency, where what the host does besides shows most: two medians of five differ by
/// some 7 %.
const MORE_ROUNDS: usize = 9;
const KEY: &str = "AKIAREHOSTBENCH";
const SECRET: &str = "a-secret-of-the-bench";

fn main() {
    build();
    let bench = Bench {
        dir: directory(),
        bin: Path::new(env!("CARGO_BIN_EXE_rehost"))
            .parent()
            .unwrap()
            .to_owned(),
        coldsnap: coldsnap(),
    };
    let cores = std::thread::available_parallelism().unwrap();
    println!(
        "{cores} cores, load {}; medians of {ROUNDS} rounds, without latency of {MORE_ROUNDS}\n",
        load()
    );
    println!("| figure | measured | bar | |\n|---|---:|---:|---|");
    if wanted("sha") || wanted("dense") {
        bench.cpu_and_rate(&bench.dense("dense.raw", DENSE));
    }
    if wanted("latency") {
        bench.rate_with_latency(&bench.dense("dense.raw", DENSE));
    }
    if wanted("line") {
        bench.line(&bench.dense("line.raw", LINE_BYTES));
    }
    if wanted("zlib") {
        bench.zlib();
    }
    if wanted("sparse") {
        bench.sparse(&bench.dense("gib.raw", GIB));
    }
    println!("\nload at the end: {}", load());
}

/// The fake; what measures has the program built already.
fn build() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--release", "--quiet", "-p", "fake-aws", "--bins"]);
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// The program, if it runs.
fn coldsnap() -> Option<PathBuf> {
    let path = std::env::var_os("REHOST_COLDSNAP").unwrap_or_else(|| "coldsnap".into());
    let mut command = Command::new(&path);
    let output = command.arg("--help").output().ok()?;
    output.status.success().then(|| path.into())
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

struct Bench {
    dir: PathBuf,
    bin: PathBuf,
    coldsnap: Option<PathBuf>,
}

/// Who uploads.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Rehost,
    Coldsnap,
}

/// An upload.
#[derive(Clone, Copy)]
struct Run {
    client: Cost,
    puts: u64,
    /// CPU seconds of the fake.
    fake: f64,
    /// Part of all cores' time in which they had nothing to do.
    idle: f64,
}

impl Bench {
    /// Uploads to a fake that knows nothing else.
    fn upload(&self, who: Who, image: &str, faults: &str) -> Run {
        let fake = Fake::start(&self.bin, faults);
        let journal = self.dir.join("journal");
        let _ = fs::remove_dir_all(&journal);
        let mut command = match who {
            Who::Rehost => {
                let mut command = Command::new(self.bin.join("rehost"));
                command.args(["copy", image, "ebs:", "--state", "journal"]);
                if image.ends_with(".raw") {
                    command.args(["--format", "raw"]);
                }
                command.stderr(Stdio::null());
                command
            }
            Who::Coldsnap => {
                let mut command = Command::new(self.coldsnap.as_ref().unwrap());
                command.args(["--endpoint", &fake.url, "--region", "us-east-1"]);
                command.args(["upload", "--no-progress", image]);
                // It says how long its requests took.
                command.stderr(Stdio::null());
                command
            }
        };
        command
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_ENDPOINT_URL", &fake.url);
        let idle = Idle::now();
        let client = measured(&mut command, &self.dir);
        let idle = idle.part_since();
        let puts = fake.puts();
        Run {
            client,
            puts,
            fake: fake.cpu(),
            idle,
        }
    }

    /// Both in turns; those of coldsnap are empty if it is not there.
    fn in_turns(&self, image: &str, faults: &str, rounds: usize) -> (Vec<Run>, Vec<Run>) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(self.upload(Who::Rehost, image, faults));
            if self.coldsnap.is_some() {
                theirs.push(self.upload(Who::Coldsnap, image, faults));
            }
        }
        (ours, theirs)
    }

    fn cpu_and_rate(&self, dense: &str) {
        let sha = sha256_alone(&self.dir.join(dense));
        row("SHA-256 of a block alone, CPU", &ms(sha), "", None);
        let (ours, theirs) = self.in_turns(dense, "{}", MORE_ROUNDS);
        for run in &ours {
            assert_eq!(run.puts, blocks(DENSE));
        }
        let per_put = |runs: &[Run]| of(runs, |run| run.client.cpu / as_f64(run.puts));
        let bar = 1.2 * sha + 0.0005;
        let cpu = per_put(&ours);
        let name = "CPU of the client for each put, dense raw";
        row(name, &ms(cpu), &format!("≤ {}", ms(bar)), Some(cpu <= bar));
        let memory = of(&ours, |run| run.client.memory);
        row("its peak of memory", &format!("{memory:.0} MiB"), "", None);
        row(
            "CPU of the fake for each put",
            &ms(of(&ours, |run| run.fake / as_f64(run.puts))),
            "",
            None,
        );
        if theirs.is_empty() {
            row("coldsnap", "is not there", "", None);
            return;
        }
        row(
            "CPU of coldsnap for each put",
            &ms(per_put(&theirs)),
            "",
            None,
        );
        compare("dense raw", &ours, &theirs);
    }

    fn rate_with_latency(&self, dense: &str) {
        for (latency, most) in [(20, 30), (50, 100), (100, 150)] {
            let faults = format!(
                "{{\"latency_ms\": {latency}, \"latency_jitter_ms\": {}}}",
                most - latency
            );
            let (ours, theirs) = self.in_turns(dense, &faults, ROUNDS);
            if !theirs.is_empty() {
                compare(
                    &format!("dense raw, latency {latency} to {most} ms"),
                    &ours,
                    &theirs,
                );
            }
        }
    }

    /// Whether a slow line is full of blocks that are sent once.
    fn line(&self, image: &str) {
        let faults = format!("{{\"latency_ms\": 30, \"line_bytes_per_second\": {LINE}}}");
        let run = self.upload(Who::Rehost, image, &faults);
        assert_eq!(run.puts, blocks(LINE_BYTES));
        let least = as_f64(run.puts * u64::try_from(BLOCK).unwrap()) / as_f64(LINE);
        let part = run.client.wall / least;
        let name = "64 MiB over 20 Mbit/s, as part of the time that the line takes for them";
        let time = format!("{:.1} s, {part:.2}", run.client.wall);
        row(name, &time, "≤ 1.20", Some(part <= 1.2));
    }

    /// Whether decompressing is what an upload waits for.
    fn zlib(&self) {
        make_sources(&self.dir, &["zlib.qcow2"]);
        let (mut copies, mut raw, mut zlib) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut copy = Command::new(self.bin.join("rehost"));
            copy.args(["copy", "--quiet", "zlib.qcow2", "out.raw"]);
            copies.push(measured(&mut copy, &self.dir));
            fs::remove_file(self.dir.join("out.raw")).unwrap();
            raw.push(self.upload(Who::Rehost, "source.raw", "{}"));
            zlib.push(self.upload(Who::Rehost, "zlib.qcow2", "{}"));
        }
        let copy = each(&copies, middle);
        let cost = |cost: Cost| format!("{:.2} s, CPU {:.2} s", cost.wall, cost.cpu);
        let client = |runs: &[Run]| {
            let costs: Vec<_> = runs.iter().map(|run| run.client).collect();
            each(&costs, middle)
        };
        let (raw_cost, zlib_cost) = (client(&raw), client(&zlib));
        row("zlib qcow2 copied to raw", &cost(copy), "", None);
        row("the same data uploaded from raw", &cost(raw_cost), "", None);
        row("uploaded from zlib qcow2", &cost(zlib_cost), "", None);
        let part = zlib_cost.cpu / (copy.cpu + raw_cost.cpu);
        let name = "its CPU as part of copy and upload together";
        row(name, &format!("{part:.2}"), "≤ 1.00", Some(part <= 1.0));
        let idle = of(&zlib, |run| run.idle);
        let name = "time in which a core had nothing to do meanwhile";
        row(name, &percent(idle), "≤ 10 %", Some(idle <= 0.1));
    }

    fn sparse(&self, dense: &str) {
        let sparse = self.sparse_raw(dense);
        let (mut alone, mut runs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.push(self.upload(Who::Rehost, dense, "{}"));
            runs.push(self.upload(Who::Rehost, &sparse, "{}"));
        }
        for run in &runs {
            assert_eq!(run.puts, blocks(GIB));
        }
        let wall = |runs: &[Run]| of(runs, |run| run.client.wall);
        row("1 GiB alone", &format!("{:.2} s", wall(&alone)), "", None);
        let ratio = wall(&runs) / wall(&alone);
        let name = "1 GiB of data in 1 TiB, as part of that";
        let time = format!("{:.2} s, {ratio:.2}", wall(&runs));
        row(name, &time, "≤ 1.10", Some(ratio <= 1.1));
        let memory = runs.iter().map(|run| run.client.memory).fold(0.0, f64::max);
        row(
            "its peak of memory, at most",
            &format!("{memory:.0} MiB"),
            "< 200 MiB",
            Some(memory < 200.0),
        );
    }

    /// A file of bytes that no program can compress or recognise.
    fn dense(&self, name: &str, len: usize) -> String {
        self.make(name, |file| {
            let mut random = 7_u64;
            let mut bytes = vec![0; 1 << 20];
            for _ in 0..len / bytes.len() {
                fill(&mut random, &mut bytes);
                file.write_all(&bytes).unwrap();
            }
        });
        name.to_owned()
    }

    /// The same bytes, spread over a disk that is a thousand times as large.
    fn sparse_raw(&self, dense: &str) -> String {
        let name = "sparse.raw";
        let dense = File::open(self.dir.join(dense)).unwrap();
        self.make(name, |file| {
            file.set_len(SPARSE).unwrap();
            // Pieces of 4 MiB, whole blocks.
            let mut piece = vec![0; 8 * BLOCK];
            let pieces = u64::try_from(GIB / piece.len()).unwrap();
            for at in 0..pieces {
                let len = u64::try_from(piece.len()).unwrap();
                dense.read_exact_at(&mut piece, at * len).unwrap();
                file.write_all_at(&piece, at * (SPARSE / pieces)).unwrap();
            }
        });
        name.to_owned()
    }

    fn make(&self, name: &str, write: impl FnOnce(&mut File)) {
        let path = self.dir.join(name);
        if !path.exists() {
            let draft = self.dir.join("draft.part");
            write(&mut File::create(&draft).unwrap());
            fs::rename(&draft, &path).unwrap();
        }
    }
}

/// The two programs' blocks in a second.
fn compare(what: &str, ours: &[Run], theirs: &[Run]) {
    let rate = |runs: &[Run]| of(runs, |run| as_f64(run.puts) / run.client.wall);
    let (ours, theirs) = (rate(ours), rate(theirs));
    let name = format!("blocks/s, {what}: rehost, coldsnap, ratio");
    let ratio = ours / theirs;
    let text = format!("{ours:.0}, {theirs:.0}, {ratio:.2}");
    row(&name, &text, "≥ 1.50", Some(ratio >= 1.5));
}

/// The fake in a process of its own; killed when dropped.
struct Fake {
    child: Child,
    url: String,
}

impl Fake {
    fn start(bin: &Path, faults: &str) -> Self {
        let mut child = Command::new(bin.join("fake-aws"))
            .args(["--digests-only", "--secret", &format!("{KEY}:{SECRET}")])
            .args(["--faults", faults])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut url).unwrap();
        Self {
            child,
            url: url.trim().to_owned(),
        }
    }

    /// Blocks that were put; there must be one snapshot, completed.
    fn puts(&self) -> u64 {
        let snapshots = self.ask("snapshots");
        assert_eq!(snapshots[0]["status"], "completed", "{snapshots}");
        assert_eq!(snapshots.as_array().unwrap().len(), 1);
        let puts = self.ask("counters")["PutSnapshotBlock"]["ok"]
            .as_u64()
            .unwrap();
        assert_eq!(snapshots[0]["own_blocks"].as_u64(), Some(puts));
        puts
    }

    fn ask(&self, what: &str) -> serde_json::Value {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let request =
            format!("GET /_control/{what} HTTP/1.1\r\nHost: fake\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    fn cpu(&self) -> f64 {
        cpu_ticks(&format!("/proc/{}/stat", self.child.id()), 14)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What all cores have done (`cpu` of /proc/stat).
struct Idle {
    idle: f64,
    all: f64,
}

impl Idle {
    fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap();
        let line = text.lines().next().unwrap();
        let ticks: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .map(|n| n.parse().unwrap())
            .collect();
        Self {
            idle: ticks[3] + ticks[4],
            // What guests take is in what users take.
            all: ticks[..8].iter().sum(),
        }
    }

    fn part_since(&self) -> f64 {
        let now = Self::now();
        (now.idle - self.idle) / (now.all - self.all)
    }
}

/// CPU seconds that hashing a block takes, in memory that was just read as an upload does it.
fn sha256_alone(dense: &Path) -> f64 {
    let file = File::open(dense).unwrap();
    let mut blocks = vec![0; 256 * BLOCK];
    file.read_exact_at(&mut blocks, 0).unwrap();
    let mut all = Vec::new();
    for _ in 0..2 * ROUNDS {
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let mut sum = 0_u64;
        for block in blocks.chunks_exact(BLOCK) {
            sum = sum.wrapping_add(u64::from(Sha256::digest(block)[0]));
        }
        let after = clock_gettime(ClockId::ThreadCPUTime);
        std::hint::black_box(sum);
        let seconds = |time: rustix::time::Timespec| {
            let whole = u32::try_from(time.tv_sec).unwrap();
            f64::from(whole) + f64::from(i32::try_from(time.tv_nsec).unwrap()) / 1e9
        };
        all.push((seconds(after) - seconds(before)) / 256.0);
    }
    middle(all)
}

/// Knuth's MMIX generator, eight bytes at a time.
fn fill(state: &mut u64, bytes: &mut [u8]) {
    for word in bytes.chunks_exact_mut(8) {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        word.copy_from_slice(&(*state ^ (*state >> 29)).to_le_bytes());
    }
}

fn of(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    middle(runs.iter().map(figure).collect())
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn blocks(bytes: usize) -> u64 {
    u64::try_from(bytes / BLOCK).unwrap()
}

fn as_f64(n: u64) -> f64 {
    f64::from(u32::try_from(n).unwrap())
}

fn ms(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1e3)
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

fn row(name: &str, measured: &str, bar: &str, met: Option<bool>) {
    let met = match met {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "",
    };
    println!("| {name} | {measured} | {bar} | {met} |");
}
