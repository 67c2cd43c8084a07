//! A fake of AWS, a connection to it, disks with holes, and numbers that look random.

use block::{BlockRead, Error, Extent, ExtentKind};
use ebs::{Config, Ebs, Encryption, Role, Timeouts, UploadRequest};
use fake_aws::{FakeAws, Signatures};
use std::path::Path;
use std::time::Duration;
use store::BLOCK;

pub(crate) const KEY: &str = "AKIAREHOSTTESTKEY";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI-a-secret-that-nobody-may-see";
pub(crate) const TOKEN: &str = "a-session-token-that-nobody-may-see";

/// A fake that checks signatures in full.
pub(crate) fn fake() -> FakeAws {
    fake_of(1)
}

/// One whose faults happen at other moments.
pub(crate) fn fake_of(seed: u64) -> FakeAws {
    let credentials = fake_aws::Credentials {
        access_key: KEY.to_owned(),
        secret_key: SECRET.to_owned(),
        session_token: Some(TOKEN.to_owned()),
    };
    FakeAws::start(fake_aws::Config {
        signatures: Signatures::Verify(vec![credentials]),
        seed,
        ..fake_aws::Config::default()
    })
    .unwrap()
}

/// Whether there is time for all that `scripts/lab faults` tries.
pub(crate) fn long() -> bool {
    std::env::var("REHOST_LONG").is_ok_and(|value| value == "1")
}

/// Who asks the fake.
pub(crate) fn account(endpoint: &str) -> aws::Config {
    aws::Config {
        region: Some("us-east-1".to_owned()),
        endpoint_url: Some(endpoint.to_owned()),
        credentials: Some(aws::Credentials {
            access_key_id: KEY.to_owned(),
            secret_access_key: SECRET.to_owned(),
            session_token: Some(TOKEN.to_owned()),
        }),
        ..aws::Config::default()
    }
}

pub(crate) fn limits() -> Config {
    Config {
        timeouts: Timeouts {
            completion: Duration::from_secs(30),
            ..Timeouts::default()
        },
        ..Config::default()
    }
}

pub(crate) fn connect_as(account: &aws::Config, limits: &Config) -> Ebs {
    Ebs::new(aws::Connection::open(account).unwrap(), limits).unwrap()
}

pub(crate) fn request<'a>(
    disk: &'a dyn BlockRead,
    dir: &'a Path,
    identity: &'a str,
) -> UploadRequest<'a> {
    UploadRequest {
        disk,
        parent: None,
        volume_size: None,
        description: "a test",
        set: "",
        tags: &[],
        project: "p",
        machine: "web1",
        disk_name: "sda",
        role: Role::Staging,
        identity,
        encryption: Encryption::Default,
        zero_fill: false,
        changed: None,
        only_if_changed: false,
        journal_dir: dir,
        timeout_minutes: 60,
    }
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// What a block of a [`Disk`] is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    Hole,
    Zeros,
    /// Filled with what the number makes.
    Seed(u64),
}

/// A disk whose blocks are known by a number each, so that huge ones cost nothing.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) size: u64,
    pub(crate) blocks: Vec<Content>,
}

impl Disk {
    pub(crate) fn new(size: u64, content: impl FnMut(u64) -> Content) -> Self {
        Self {
            size,
            blocks: (0..size.div_ceil(BLOCK)).map(content).collect(),
        }
    }

    /// A whole block as a snapshot must have it.
    pub(crate) fn block(&self, index: usize) -> Vec<u8> {
        let mut bytes = vec![0; 512 << 10];
        if let Some(Content::Seed(seed)) = self.blocks.get(index) {
            for (at, word) in bytes.chunks_exact_mut(8).enumerate() {
                let word_of = seed
                    .wrapping_mul(0x9e37_79b9)
                    .wrapping_add(u64::try_from(at).unwrap());
                word.copy_from_slice(&word_of.to_le_bytes());
            }
        }
        let start = u64::try_from(index).unwrap() * BLOCK;
        let len = self.size.saturating_sub(start).min(BLOCK);
        bytes[usize::try_from(len).unwrap()..].fill(0);
        bytes
    }

    pub(crate) fn is_zero(&self, index: usize) -> bool {
        !matches!(self.blocks.get(index), Some(Content::Seed(_)))
    }
}

impl BlockRead for Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let mut at = 0;
        while at < buf.len() {
            let position = offset + u64::try_from(at).unwrap();
            let block = self.block(usize::try_from(position / BLOCK).unwrap());
            let within = usize::try_from(position % BLOCK).unwrap();
            let n = (block.len() - within).min(buf.len() - at);
            buf[at..at + n].copy_from_slice(&block[within..within + n]);
            at += n;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        let block = offset / BLOCK;
        let hole = self.blocks[usize::try_from(block).unwrap()] == Content::Hole;
        Ok(Extent {
            range: block * BLOCK..((block + 1) * BLOCK).min(self.size),
            kind: if hole {
                ExtentKind::Zero
            } else {
                ExtentKind::Data
            },
        })
    }
}
