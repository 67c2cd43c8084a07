//! Damaged images: an exit status that says so, whatever is damaged, and soon.

use crate::support::{Ran, phony, program, temp};
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const MUTATIONS: usize = 75;
const PAGE: usize = 4096;

macro_rules! hostile {
    ($($test:ident: $($argument:literal)*;)*) => {
        $(
            #[test]
            fn $test() {
                survives(&phony(&[$($argument),*]), stringify!($test));
            }
        )*
    };
}

hostile! {
    damaged_gpt_and_its_file_systems: "debian12-uefi";
    damaged_mbr_and_its_file_systems: "debian10";
    damaged_qcow2: "debian12" "--format" "qcow2";
    damaged_vmdk: "debian12" "--format" "vmdk";
    damaged_compressed_vmdk: "debian12" "--format" "stream-vmdk";
}

/// Damages a copy of an image in one way after the other.
fn survives(source: &Path, seed: &str) {
    let dir = temp();
    let (path, out) = (dir.path().join("damaged"), dir.path().join("out.raw"));
    let whole = fs::read(source).unwrap();
    let pages: Vec<_> = (0..whole.len().div_ceil(PAGE))
        .map(|page| page * PAGE)
        .filter(|at| {
            whole[*at..whole.len().min(at + PAGE)]
                .iter()
                .any(|byte| *byte != 0)
        })
        .collect();
    fs::copy(source, &path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let mut random = Random(
        seed.bytes()
            .fold(1, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte)),
    );
    let mut statuses = Vec::new();
    for round in 0..MUTATIONS {
        let mut damage = Vec::new();
        if round % 10 == 9 {
            let cut = match round {
                9 => random.below(512),
                _ => pages[random.below(pages.len())] + random.below(PAGE),
            };
            file.set_len(u64::try_from(cut.min(whole.len())).unwrap())
                .unwrap();
            damage.push((0, 0));
        } else {
            for _ in 0..=random.below(4) {
                // The beginning, where the structures are that lead to all others, or anywhere.
                let near = if round % 2 == 0 {
                    40.min(pages.len())
                } else {
                    pages.len()
                };
                let page = pages[random.below(near)];
                let in_page = if random.below(2) == 0 { 128 } else { PAGE };
                let at = (page + random.below(in_page)).min(whole.len() - 1);
                damage.push((at, 1 << random.below(8)));
            }
            for (at, bit) in &damage {
                write_at(&file, *at, &[whole[*at] ^ bit]);
            }
        }
        let ran = match round % 5 {
            0 => limited(&["inspect".as_ref(), "--json".as_ref(), path.as_os_str()]),
            1 => limited(&["plan".as_ref(), path.as_os_str()]),
            2 => limited(&["info".as_ref(), path.as_os_str()]),
            3 => limited(&[
                "copy".as_ref(),
                "--salvage".as_ref(),
                "--force".as_ref(),
                path.as_os_str(),
                out.as_os_str(),
            ]),
            _ => limited(&[
                "convert".as_ref(),
                path.as_os_str(),
                "--force".as_ref(),
                "-o".as_ref(),
                out.as_os_str(),
            ]),
        };
        let is_expected = ran
            .status
            .is_some_and(|status| [0, 1, 4, 5].contains(&status));
        let context = format!(
            "round {round}, {damage:?}: {:?}, {}",
            ran.status, ran.stderr
        );
        assert!(is_expected && !ran.stderr.contains("panicked"), "{context}");
        assert!(ran.status == Some(0) || !ran.stderr.is_empty(), "{context}");
        statuses.extend(ran.status);
        if damage == [(0, 0)] {
            let kept = usize::try_from(file.metadata().unwrap().len()).unwrap();
            write_at(&file, kept, &whole[kept..]);
        }
        for (at, _) in damage {
            write_at(&file, at, &whole[at..=at]);
        }
    }
    assert!(
        statuses.iter().any(|status| *status != 0),
        "no damage was noticed"
    );
    assert!(
        fs::read(&path).unwrap() == whole,
        "the image was not put right again"
    );
}

fn write_at(file: &fs::File, at: usize, bytes: &[u8]) {
    file.write_all_at(bytes, u64::try_from(at).unwrap())
        .unwrap();
}

/// Runs the program with 2 GiB of address space and 10 seconds.
fn limited(arguments: &[&std::ffi::OsStr]) -> Ran {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -v 2097152; exec timeout -s KILL 10 \"$@\"",
        "sh",
    ]);
    command.arg(program().get_program()).args(arguments);
    Ran::of(command.output().unwrap())
}

/// Numbers that are the same on every run: `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap() % bound
    }
}
