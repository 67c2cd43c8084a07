//! Stores whose users are killed, whose host loses its power, and that have no room, or none to write.
//!
//! `REHOST_STORE_SECONDS` makes the first two go on for as long (`scripts/lab store`); without it
//! they take a few rounds.

use crate::support::{Ran, program, rehost, temp, tool};
use block::BlockRead;
use rustix::process::geteuid;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use store::{SnapshotId, Store};

const BLOCK: usize = 512 << 10;
const BLOCKS: usize = 8;

/// How long the long form takes, if it is wanted.
fn long() -> Option<Duration> {
    let seconds = std::env::var("REHOST_STORE_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().unwrap()))
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8) % end
    }
}

/// A disk whose blocks are of a few kinds, so that machines share blocks and come back to old ones.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
struct Content([u8; BLOCKS]);

impl Content {
    fn change(&mut self, random: &mut Random) {
        for _ in 0..=random.below(3) {
            let at = usize::try_from(random.below(8)).unwrap();
            self.0[at] = u8::try_from(random.below(6)).unwrap();
        }
    }

    fn block(kind: u8) -> &'static [u8] {
        static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
        let make = |kind: u64| {
            let mut random = Random(kind + 1);
            // Zeros, what compresses, and what does not.
            let words = (0..BLOCK / 8).map(|word| match kind {
                0 => 0,
                1..=3 => kind << 32 | u64::try_from(word / 700).unwrap(),
                _ => random.below(u64::MAX),
            });
            words.flat_map(u64::to_le_bytes).collect()
        };
        &MADE.get_or_init(|| (0..6).map(make).collect())[usize::from(kind)]
    }

    fn write(&self, path: &Path) {
        let file = File::create(path).unwrap();
        for (number, kind) in (0_u64..).zip(self.0) {
            let at = number * u64::try_from(BLOCK).unwrap();
            file.write_all_at(Self::block(kind), at).unwrap();
        }
    }

    /// The content that a snapshot has, if every byte of it is of one.
    fn read(store: &Store, id: &SnapshotId) -> Self {
        let snapshot = store.read(id).unwrap();
        assert_eq!(usize::try_from(snapshot.size()).unwrap(), BLOCK * BLOCKS);
        let mut content = Self::default();
        let mut found = vec![0; BLOCK];
        for (at, kind) in content.0.iter_mut().enumerate() {
            let offset = u64::try_from(at * BLOCK).unwrap();
            snapshot.read_at(offset, &mut found).unwrap();
            let known = (0..6).find(|kind| found == Self::block(*kind));
            *kind = known.unwrap_or_else(|| panic!("block {at} of {id} is no machine's"));
        }
        content
    }
}

/// What is known about what the processes did.
#[derive(Default)]
struct Ledger {
    /// What each machine's disk has been.
    seen: Mutex<HashMap<String, HashSet<Content>>>,
    /// What was printed.
    printed: Mutex<HashMap<SnapshotId, Content>>,
    /// What somebody may have removed.
    removed: Mutex<HashSet<SnapshotId>>,
    killed: AtomicU32,
    ended: AtomicU32,
}

impl Ledger {
    /// Runs the program, and kills it at any moment or lets it end.
    fn run(&self, random: &mut Random, arguments: &[&str]) -> Option<Ran> {
        let mut command = program();
        command.args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child: Child = command.spawn().unwrap();
        if random.below(2) == 0 {
            std::thread::sleep(Duration::from_millis(random.below(120)));
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let ran = Ran::of(output);
        let count = if ran.status.is_none() {
            &self.killed
        } else {
            &self.ended
        };
        count.fetch_add(1, Ordering::Relaxed);
        // What was printed before the end counts too.
        Some(ran).filter(|ran| ran.status.is_some() || !ran.stdout.is_empty())
    }

    fn replicate(&self, random: &mut Random, machine: &str, dir: &Path, store: &str) {
        let image = dir.join(format!("{machine}.raw"));
        let mut content = Content::default();
        content.change(random);
        loop {
            content.change(random);
            let mut seen = self.seen.lock().unwrap();
            seen.entry(machine.to_owned())
                .or_default()
                .insert(content.clone());
            drop(seen);
            content.write(&image);
            let source = image.to_str().unwrap();
            let mut arguments = vec!["replicate", source, "--to", store];
            if random.below(5) == 0 {
                arguments.push("--full");
            }
            if let Some(ran) = self.run(random, &arguments) {
                assert!(matches!(ran.status, None | Some(0)), "{}", ran.stderr);
                let text = String::from_utf8(ran.stdout).unwrap();
                let id = text.trim().parse().unwrap();
                self.printed.lock().unwrap().insert(id, content.clone());
            }
            if self.is_over() {
                return;
            }
        }
    }

    fn remove(&self, random: &mut Random, dir: &Path, store: &str) {
        while !self.is_over() {
            std::thread::sleep(Duration::from_millis(random.below(100)));
            let ids = match Store::open(dir) {
                Ok(store) => store.ids().unwrap(),
                Err(_) => continue,
            };
            // The newest of a machine among them: whoever replicates may have it as the parent.
            let some: Vec<_> = ids.into_iter().filter(|_| random.below(3) == 0).collect();
            if some.is_empty() {
                continue;
            }
            self.removed.lock().unwrap().extend(some.iter().cloned());
            let names: Vec<_> = some.iter().map(|id| format!("{store}#{id}")).collect();
            let mut arguments = vec!["snapshots", "rm"];
            if random.below(2) == 0 {
                arguments.push("--keep-children");
            }
            arguments.extend(names.iter().map(String::as_str));
            if let Some(ran) = self.run(random, &arguments) {
                let refused = ran.stderr.contains("--keep-children");
                assert!(ran.status != Some(1) || refused, "{}", ran.stderr);
            }
        }
    }

    fn collect(&self, random: &mut Random, store: &str) {
        while !self.is_over() {
            std::thread::sleep(Duration::from_millis(random.below(60)));
            let what = if random.below(4) == 0 { "fsck" } else { "gc" };
            if let Some(ran) = self.run(random, &["snapshots", what, store]) {
                let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &ran.stderr;
                // It may not be made yet.
                let absent = said.contains("there is no store") || said.contains("cannot use");
                assert!(ran.status != Some(4), "{said}");
                assert!(ran.status != Some(1) || absent, "{said}");
            }
        }
    }

    fn is_over(&self) -> bool {
        static OVER: AtomicBool = AtomicBool::new(false);
        static STARTED: OnceLock<Instant> = OnceLock::new();
        let started = STARTED.get_or_init(Instant::now);
        let over = match long() {
            Some(time) => started.elapsed() > time,
            None => self.killed.load(Ordering::Relaxed) > 40,
        };
        OVER.fetch_or(over, Ordering::Relaxed) || over
    }

    /// Every snapshot is one state of its machine, and what was printed is what it was.
    fn check(&self, dir: &Path) -> usize {
        let store = Store::open(dir).unwrap();
        let (seen, printed) = (self.seen.lock().unwrap(), self.printed.lock().unwrap());
        let manifests = store.snapshots().unwrap();
        for manifest in &manifests {
            let content = Content::read(&store, &manifest.id);
            assert!(
                seen[&manifest.machine].contains(&content),
                "{}",
                manifest.id
            );
            if let Some(expected) = printed.get(&manifest.id) {
                assert!(content == *expected, "{}", manifest.id);
            }
        }
        let removed = self.removed.lock().unwrap();
        for id in printed.keys().filter(|id| !removed.contains(id)) {
            assert!(manifests.iter().any(|one| one.id == *id), "{id} is lost");
        }
        manifests.len()
    }
}

#[test]
fn writers_removers_and_collectors_that_are_killed_lose_nothing() {
    let dir = temp();
    let path = dir.path().join("s");
    let store = format!("store:{}", path.display());
    let ledger = Ledger::default();
    let seed = u64::from(std::process::id()) * 8 + 1;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, machine) in (0..).zip(["web1", "web2", "db"]) {
            let (ledger, dir, store) = (&ledger, dir.path(), &store);
            threads.push(scope.spawn(move || {
                ledger.replicate(&mut Random(seed + number), machine, dir, store);
            }));
        }
        threads.push(scope.spawn(|| ledger.remove(&mut Random(seed + 5), &path, &store)));
        threads.push(scope.spawn(|| ledger.collect(&mut Random(seed + 6), &store)));
        let failed = threads
            .into_iter()
            .filter(|_| true)
            .map(|one| one.join().is_err());
        assert_eq!(failed.filter(|failed| *failed).count(), 0, "seed {seed}");
    });
    let (killed, ended) = (
        ledger.killed.load(Ordering::Relaxed),
        ledger.ended.load(Ordering::Relaxed),
    );
    rehost!["snapshots", "fsck", &store].ok();
    let kept = ledger.check(&path);
    eprintln!("seed {seed}: {killed} killed, {ended} ended, {kept} snapshots at the end");
    rehost!["snapshots", "gc", &store].ok();
    let report = rehost!["snapshots", "fsck", "--json", &store].json();
    assert_eq!(
        (&report["unneeded_blocks"], &report["unfinished_files"]),
        (&0.into(), &0.into())
    );
    assert_eq!(ledger.check(&path), kept);
    assert!(killed > 10 && ended > 10, "{killed} killed, {ended} ended");
}

/// A file system that is mounted until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Needs root and the right to mount.
    fn new(point: &Path, arguments: &[&str]) -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        fs::create_dir_all(point).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount
            .args(arguments)
            .arg(point)
            .stderr(Stdio::null())
            .status();
        let mounted = mounted.is_ok_and(|status| status.success());
        mounted.then(|| Self(point.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

/// Ends an ext4 file system as a power cut does: nothing that is not on the disk gets there.
fn cut_power(point: &Path) {
    const CUT: &str = "import fcntl, os, struct, sys
EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH = 0x8004587d, 2
directory = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack('I', EXT4_GOING_FLAGS_NOLOGFLUSH))";
    tool(Command::new("python3").args(["-c", CUT]).arg(point));
}

#[test]
fn what_was_printed_before_the_power_failed_is_there_after_it() {
    let dir = temp();
    let (image, point) = (dir.path().join("fs.img"), dir.path().join("mnt"));
    let raw = dir.path().join("web1.raw");
    tool(
        Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(&image)
            .arg("128M"),
    );
    let store = format!("store:{}", point.join("s").display());
    let mount = || Mounted::new(&point, &["-o", "loop", image.to_str().unwrap()]);
    let mut random = Random(u64::from(std::process::id()) + 1);
    let mut printed: HashMap<SnapshotId, Content> = HashMap::new();
    let mut content = Content::default();
    let started = Instant::now();
    let (mut round, mut cut, mut unfinished) = (0, 0, 0);
    while long().map_or(round < 8, |time| started.elapsed() < time) {
        round += 1;
        let Some(mounted) = mount() else {
            eprintln!("skipped: this host lets nobody mount here");
            return;
        };
        for _ in 0..=random.below(3) {
            content.change(&mut random);
            content.write(&raw);
            let mut command = program();
            command.arg("replicate").arg(&raw).args(["--to", &store]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn().unwrap();
            // Most often it has ended by then, and nobody has flushed anything for it.
            let early = random.below(2) == 0;
            if early {
                std::thread::sleep(Duration::from_millis(random.below(150)));
                cut_power(&point);
                cut += 1;
            }
            let ran = Ran::of(child.wait_with_output().unwrap());
            if ran.status == Some(0) {
                let text = String::from_utf8(ran.stdout).unwrap();
                printed.insert(text.trim().parse().unwrap(), content.clone());
            }
            if early {
                break;
            }
            // Removing and collecting has an order too.
            if random.below(3) == 0 {
                let store = Store::open(&point.join("s")).unwrap();
                let ids = store.ids().unwrap();
                let at = usize::try_from(random.below(u64::try_from(ids.len()).unwrap())).unwrap();
                printed.remove(&ids[at]);
                let name = format!("store:{}#{}", store.dir().display(), ids[at]);
                rehost!["snapshots", "rm", "--keep-children", name].ok();
                rehost![
                    "snapshots",
                    "gc",
                    format!("store:{}", store.dir().display())
                ]
                .ok();
            }
        }
        // The disk is as it was when the power failed; what is cut again makes no difference.
        cut_power(&point);
        drop(mounted);
        let _mounted = mount().unwrap();
        if !point.join("s/rehost-store.json").exists() {
            assert!(printed.is_empty());
            continue;
        }
        let ran = rehost!["snapshots", "fsck", "--json", &store];
        let report = ran.json();
        unfinished += report["unfinished_files"].as_u64().unwrap();
        // A block that is not whole and that nobody needs is put again by whoever needs it.
        let store = Store::open(&point.join("s")).unwrap();
        for id in store.ids().unwrap() {
            let found = Content::read(&store, &id);
            if let Some(expected) = printed.get(&id) {
                assert!(found == *expected, "{id}");
            }
        }
        for id in printed.keys() {
            assert!(
                store.ids().unwrap().contains(id),
                "round {round}: {id} is lost"
            );
        }
    }
    eprintln!("{round} power cuts, {cut} of them in the middle, {unfinished} unfinished files");
}

/// What is left on the file system of a store.
enum Room {
    Pages(u64),
    Inodes(u64),
}

/// Makes a snapshot over a base with so much room; says whether there was enough.
fn with_room(point: &Path, raw: &Path, room: &Room) -> bool {
    let store = format!("store:{}", point.join("s").display());
    let base = Content([1, 2, 0, 0, 0, 0, 0, 0]);
    // A block that compresses to a page, and one of 129 pages.
    let other = Content([1, 3, 1, 0, 0, 0, 2, 4]);
    base.write(raw);
    let first = rehost!["replicate", raw, "--to", &store].ok();
    let remount = |options: &str| {
        let options = format!("remount,{options}");
        tool(Command::new("mount").args(["-o", &options]).arg(point));
    };
    let stat = rustix::fs::statvfs(point).unwrap();
    match room {
        Room::Pages(left) => {
            let bytes = (stat.f_blocks - stat.f_bfree + left) * stat.f_frsize;
            remount(&format!("size={bytes}"));
        }
        Room::Inodes(left) => {
            let inodes = stat.f_files - stat.f_ffree + left;
            remount(&format!("nr_inodes={inodes}"));
        }
    }
    other.write(raw);
    let ran = rehost!["replicate", raw, "--to", &store];
    let done = ran.status == Some(0);
    if !done {
        let said = ran.failed(1);
        assert!(said.contains("there is no room for"), "{said}");
        assert!(said.contains("No space left"), "{said}");
    }
    let report = rehost!["snapshots", "fsck", "--json", &store].json();
    assert_eq!(report["sound"], true, "{report}");
    assert_eq!(report["unfinished_files"], 0, "{report}");
    assert_eq!(report["snapshots"], 1 + u64::from(done), "{report}");
    let opened = Store::open(&point.join("s")).unwrap();
    let first = first.trim();
    assert!(Content::read(&opened, &first.parse().unwrap()) == base);
    // Room is made by what needs none.
    let name = format!("{store}#{first}");
    rehost!["snapshots", "rm", "--keep-children", name].ok();
    rehost!["snapshots", "gc", &store].ok();
    remount("size=16m,nr_inodes=1000");
    let id = rehost!["replicate", raw, "--to", &store].ok();
    assert!(Content::read(&opened, &id.trim().parse().unwrap()) == other);
    rehost!["snapshots", "fsck", &store].ok();
    done
}

#[test]
fn whatever_there_is_no_room_for_no_snapshot_is_half_made() {
    let dir = temp();
    let (raw, point) = (dir.path().join("web1.raw"), dir.path().join("mnt"));
    // Two blocks, the manifest and the index; then also two directories of blocks. From some room on
    // there is enough.
    let pages = [0, 1, 50, 128, 129, 130, 131, 132, 200].map(Room::Pages);
    let inodes = [0, 1, 2, 3, 4, 5, 6, 7].map(Room::Inodes);
    for rooms in [&pages[..], &inodes] {
        let mut done = Vec::new();
        for room in rooms {
            let mounted = Mounted::new(&point, &["-t", "tmpfs", "-o", "size=16m", "tmpfs"]);
            let Some(_mounted) = mounted else {
                eprintln!("skipped: this host lets nobody mount here");
                return;
            };
            done.push(with_room(&point, &raw, room));
        }
        assert!(
            !done[0] && done[done.len() - 1] && done.is_sorted(),
            "{done:?}"
        );
    }
}

#[test]
fn a_store_that_cannot_be_written_is_read_and_checked() {
    let dir = temp();
    let (raw, point) = (dir.path().join("web1.raw"), dir.path().join("mnt"));
    let real = format!("store:{}", dir.path().join("s").display());
    let store = format!("store:{}", point.display());
    Content([1, 2, 4, 0, 0, 0, 0, 0]).write(&raw);
    rehost!["replicate", &raw, "--to", &real].ok();
    let old = dir.path().join("old.raw");
    fs::copy(&raw, &old).unwrap();
    Content([1, 3, 4, 0, 0, 0, 0, 5]).write(&raw);
    rehost!["replicate", &raw, "--to", &real].ok();
    let source = dir.path().join("s");
    // Nor need the lock be there, which whoever copied the store left out.
    for lock in [true, false] {
        if !lock {
            fs::remove_file(source.join("lock")).unwrap();
        }
        let Some(_mounted) = Mounted::new(&point, &["-o", "bind,ro", source.to_str().unwrap()])
        else {
            eprintln!("skipped: this host lets nobody mount here");
            return;
        };
        let listed = rehost!["snapshots", "list", "--json", &store].json();
        let names: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|line| format!("{store}#{}", line["id"].as_str().unwrap()))
            .collect();
        let newest = format!("{store}#latest:web1");
        rehost!["snapshots", "show", &newest].ok();
        rehost!["compare", "--strict", &newest, &raw].ok();
        rehost!["compare", "--strict", &names[0], &old].ok();
        assert!(rehost!["diff", &names[0], &names[1]].ok().lines().count() > 1);
        let out = dir.path().join("out.qcow2");
        rehost!["copy", "--force", &newest, &out].ok();
        let said = rehost!["snapshots", "fsck", &store].ok();
        assert!(said.contains("all is well"), "{said}");
        for arguments in [
            &["snapshots", "rm", &newest][..],
            &[
                "replicate",
                raw.to_str().unwrap(),
                "--full",
                "--machine",
                "x",
                "--to",
                &store,
            ],
        ] {
            let ran = Ran::of(program().args(arguments).output().unwrap());
            let said = ran.failed(1);
            assert!(
                said.contains("Read-only file system"),
                "{arguments:?}: {said}"
            );
        }
    }
}
