//! Lists that rpm, Berkeley DB and SQLite wrote, compared with what rpm reads from them.
//!
//! The packages are made by rpmbuild, put into a list by rpm, and taken from there into the other
//! formats by `db5.3_load`. Without these programs the tests say that they did nothing.

use block::{BlockRead, Memory};
use rpmdb::{List, Package};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

const PROGRAMS: [&str; 5] = ["rpm", "rpmbuild", "rpmdb", "db5.3_load", "python3"];

/// What the tests share: rpm's own list of these packages, and what rpm says of it.
struct Made {
    _directory: TempDir,
    list: PathBuf,
    packages: Vec<String>,
    /// The headers of the packages, without rpm's magic.
    headers: Vec<Vec<u8>>,
}

/// Packages of every kind: with and without epoch, with long texts, with thousands of files.
const SPEC: &str = "\
Name: main\nVersion: 1.0~rc1\nRelease: 3%{?dist}\nEpoch: 2\nSummary: x\nLicense: MIT\nVendor: Übel & Co\n\
%description\n%(seq 3000)\n\
%{lua: for i = 1, 150 do print(string.format('%%package -n part%d\\nSummary: p\\nVersion: %d.%d\\n%s%%description -n part%d\\n\\n%%files -n part%d\\n/etc/part/%d*\\n\\n', i, i, i * 7, i % 3 == 0 and 'BuildArch: noarch\\n' or '', i, i, i)) end}\
%install\nmkdir -p %{buildroot}/etc/part\ncd %{buildroot}/etc/part\nfor i in $(seq 1 2000); do echo > $i; done\n\
%files\n/etc/part/*\n";

fn made() -> Option<&'static Made> {
    static MADE: OnceLock<Option<Made>> = OnceLock::new();
    MADE.get_or_init(make).as_ref()
}

fn make() -> Option<Made> {
    for program in PROGRAMS {
        let started = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        if started.is_err() {
            println!("skipped: {program} is missing (scripts/setup test installs it)");
            return None;
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    std::fs::write(top.join("main.spec"), SPEC).unwrap();
    let define = |name: &str, value: &str| ["--define".to_owned(), format!("{name} {value}")];
    let top_text = top.to_str().unwrap();
    let no_debug = define("debug_package", "%{nil}");
    run(Command::new("rpmbuild")
        .args(["-bb", "--quiet"])
        .args(define("_topdir", top_text))
        .args(define("_unpackaged_files_terminate_build", "0"))
        .args(no_debug)
        .arg(top.join("main.spec")));
    let list = top.join("sqlite");
    let mut files: Vec<PathBuf> = Vec::new();
    for directory in std::fs::read_dir(top.join("RPMS")).unwrap() {
        for file in std::fs::read_dir(directory.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.sort();
    assert!(files.len() > 150);
    run(rpm(&list)
        .args(["-i", "--justdb", "--nodeps", "--nosignature", "--force"])
        .args(&files));
    // Some go again, so that pages are free and numbers missing.
    let gone = (1..150).step_by(9).map(|n| format!("part{n}"));
    run(rpm(&list).args(["-e", "--justdb", "--nodeps"]).args(gone));
    let format = "%{NAME}-%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}%|ARCH?{.%{ARCH}}| %{VENDOR}\n";
    let said = run(rpm(&list).args(["-qa", "--qf", format]));
    let exported = run(Command::new("rpmdb").arg("--exportdb").args(at(&list)));
    Some(Made {
        packages: sorted(String::from_utf8(said).unwrap().lines().map(str::to_owned)),
        headers: headers(&exported),
        list: list.join("rpmdb.sqlite"),
        _directory: directory,
    })
}

fn at(list: &Path) -> [String; 4] {
    let path = format!("--dbpath={}", list.display());
    [
        path,
        "--define".to_owned(),
        "_db_backend sqlite".to_owned(),
        "--nodigest".to_owned(),
    ]
}

fn rpm(list: &Path) -> Command {
    let mut command = Command::new("rpm");
    command.args(at(list));
    command
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output.stdout
}

/// The headers of an export, each behind rpm's magic and four zeros.
fn headers(mut exported: &[u8]) -> Vec<Vec<u8>> {
    let mut headers = Vec::new();
    while let Some(rest) = exported.strip_prefix(b"\x8e\xad\xe8\x01\0\0\0\0") {
        let count = |at: usize| {
            usize::try_from(u32::from_be_bytes(rest[at..at + 4].try_into().unwrap())).unwrap()
        };
        let (header, rest) = rest.split_at(8 + 16 * count(0) + count(4));
        headers.push(header.to_vec());
        exported = rest;
    }
    assert!(exported.is_empty());
    headers
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

fn text(package: &Package) -> String {
    format!(
        "{package} {}",
        package.vendor.as_deref().unwrap_or("(none)")
    )
}

fn read(path: &Path) -> List {
    let device = |path: &Path| std::fs::read(path).ok().map(Memory::new);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let (file, log) = (device(path).unwrap(), device(log.as_ref()));
    let log: Option<&dyn BlockRead> = match &log {
        Some(log) => Some(log),
        None => None,
    };
    rpmdb::read(&file, log).unwrap()
}

#[track_caller]
fn same(list: &List, packages: &[String]) {
    assert_eq!(list.damaged, [""; 0]);
    assert_eq!(sorted(list.packages.iter().map(text)), packages);
}

#[test]
fn what_rpm_wrote_reads_as_rpm_reads_it() {
    let Some(made) = made() else { return };
    same(&read(&made.list), &made.packages);
}

#[test]
fn berkeley_db_of_both_orders_and_all_page_sizes() {
    let Some(made) = made() else { return };
    let directory = tempfile::tempdir().unwrap();
    for order in ["1234", "4321"] {
        for kind in ["hash", "btree"] {
            for page_size in ["512", "4096", "65536"] {
                let mut dump = format!(
                    "VERSION=3\nformat=bytevalue\ntype={kind}\ndb_lorder={order}\n\
                     db_pagesize={page_size}\nHEADER=END\n"
                );
                let counter = vec![0, 0, 0, 9];
                for (key, header) in [counter].iter().chain(&made.headers).enumerate() {
                    let key = u32::try_from(key).unwrap().to_le_bytes();
                    for bytes in [&key[..], header] {
                        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                        dump.push_str(&format!(" {hex}\n"));
                    }
                }
                dump.push_str("DATA=END\n");
                let input = directory.path().join("dump");
                std::fs::write(&input, dump).unwrap();
                let file = directory.path().join(format!("{order}-{kind}-{page_size}"));
                run(Command::new("db5.3_load").arg("-f").arg(&input).arg(&file));
                same(&read(&file), &made.packages);
            }
        }
    }
}

/// Copied while SQLite holds it: what is committed is in the log alone, and half of it is gone from
/// the table.
#[test]
fn what_is_committed_in_the_log_counts() {
    let Some(made) = made() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rpmdb.sqlite");
    let copy = directory.path().join("copy.sqlite");
    std::fs::copy(&made.list, &file).unwrap();
    let script = "import sqlite3, shutil, sys\n\
        file, copy = sys.argv[1:]\n\
        db = sqlite3.connect(file, isolation_level=None)\n\
        db.execute('pragma journal_mode = wal')\n\
        db.execute('pragma wal_autocheckpoint = 0')\n\
        db.execute('delete from Packages where hnum % 2 = 0')\n\
        shutil.copy(file, copy); shutil.copy(file + '-wal', copy + '-wal')\n\
        print(db.execute('select count(*) from Packages').fetchone()[0])\n";
    let said = run(Command::new("python3")
        .arg("-c")
        .arg(script)
        .args([&file, &copy]));
    let left: usize = String::from_utf8(said).unwrap().trim().parse().unwrap();
    let list = read(&copy);
    assert_eq!((list.packages.len(), list.damaged.len()), (left, 0));
    // Without its last byte the log ends before the transaction does.
    let log = directory.path().join("copy.sqlite-wal");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();
    same(&read(&copy), &made.packages);
    // And a changed byte is no page of it.
    let mut changed = bytes;
    changed[200] ^= 1;
    std::fs::write(&log, &changed).unwrap();
    same(&read(&copy), &made.packages);
}

/// Every byte of structure counts: whatever is changed, reading ends and allocates no more than
/// there is.
#[test]
fn damaged_lists_end() {
    let Some(made) = made() else { return };
    let sound = std::fs::read(&made.list).unwrap();
    let mut random = 88172645463325252_u64;
    for _ in 0..300 {
        let mut bytes = sound.clone();
        for _ in 0..40 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = usize::try_from(random >> 8).unwrap() % bytes.len();
            bytes[at] = u8::try_from(random & 0xff).unwrap();
        }
        let list = rpmdb::read(&Memory::new(bytes), None).unwrap_or_default();
        assert!(list.damaged.len() <= 16);
    }
}
