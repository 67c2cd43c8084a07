//! The program against a fake of EBS that checks what the real service checks, over real sockets.

mod access;
mod blueprints;
mod copies;
mod keeping;
mod killed;
mod replicate;

use crate::support::{Ran, program, temp};
use fake_aws::{Action, Config, Credentials, FakeAws, Signatures, State};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 512 << 10;
const KEY: &str = "AKIAREHOSTPROGRAMTEST";
const SECRET: &str = "wJalrXUtnFEMI-a-secret-that-nobody-may-see";
const TOKEN: &str = "a-session-token-that-nobody-may-see";

/// A fake, and a directory with the disks and the state of the program.
pub(crate) struct Aws {
    pub(crate) fake: FakeAws,
    dir: tempfile::TempDir,
}

impl Aws {
    pub(crate) fn new() -> Self {
        let credentials = Credentials {
            access_key: KEY.to_owned(),
            secret_key: SECRET.to_owned(),
            session_token: Some(TOKEN.to_owned()),
        };
        let fake = FakeAws::start(Config {
            signatures: Signatures::Verify(vec![credentials]),
            ..Config::default()
        });
        Self {
            fake: fake.unwrap(),
            dir: temp(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The program with the environment of somebody who uses AWS.
    pub(crate) fn program(&self) -> Command {
        let mut command = program();
        let named = std::env::vars_os().map(|(name, _)| name);
        for name in named.filter(|name| name.as_encoded_bytes().starts_with(b"AWS_")) {
            command.env_remove(name);
        }
        command
            .env("HOME", self.dir.path())
            .env("AWS_ENDPOINT_URL_EBS", self.fake.endpoint())
            .env("AWS_ENDPOINT_URL_EC2", self.fake.endpoint())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_SESSION_TOKEN", TOKEN)
            .env("REHOST_STATE", self.state());
        command
    }

    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Ran {
        Ran::of(self.program().args(arguments).output().unwrap())
    }

    /// Replicates, and gives the report.
    #[track_caller]
    pub(crate) fn replicate(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["replicate", "--to", "ebs:", "--json"];
        all.extend(arguments);
        self.run(&all).json()
    }

    fn snapshot(&self, id: &str) -> State {
        self.fake.snapshot(id).unwrap()
    }

    fn ok(&self, action: Action) -> u64 {
        self.fake.counter(action).ok
    }

    fn asked(&self, action: Action) -> u64 {
        self.fake.counter(action).requests
    }

    /// Whether a snapshot holds what an image has.
    #[track_caller]
    fn assert_holds(&self, id: &str, image: &Path) {
        assert_eq!(self.snapshot(id).status, "completed");
        let disk = fs::read(image).unwrap();
        let mut expected = vec![0; 512 << 10];
        let content = self.fake.snapshot_content(id).unwrap();
        let mut found = content.iter().peekable();
        for (index, block) in (0..).zip(disk.chunks(512 << 10)) {
            expected[..block.len()].copy_from_slice(block);
            expected[block.len()..].fill(0);
            match found.next_if(|block| block.index == index) {
                Some(block) => assert!(block.data.as_ref().unwrap() == &expected, "{index}"),
                None => assert!(block.iter().all(|byte| *byte == 0), "{index} is missing"),
            }
        }
        let rest = found.all(|block| block.data.as_ref().unwrap().iter().all(|byte| *byte == 0));
        assert!(rest, "there is more than the disk has");
    }
}

/// A raw disk of `mib` MiB with data in the first `data` of them.
pub(crate) fn disk(path: &Path, mib: u64, data: u64) {
    let file = File::create(path).unwrap();
    file.set_len(mib * MIB).unwrap();
    let words = (0..data * MIB / 8).flat_map(|word: u64| (word / 64 + 1).to_le_bytes());
    file.write_all_at(&words.collect::<Vec<u8>>(), 0).unwrap();
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Waits until the fake has seen something.
#[track_caller]
pub(crate) fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it did not happen"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
