//! Credentials appear nowhere.

use crate::common::{Content, Disk, SECRET, TOKEN, account, connect_as, fake, limits, request};
use ebs::Error;
use fake_aws::{Action, Chance, Faults};
use ondisk::{Interrupt, NoProgress};
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use store::BLOCK;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All that is written down or said, at the most talkative level of this crate.
pub(crate) fn no_credentials_are_ever_said() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter("trace")
        .with_writer(move || writer.clone())
        .init();
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let disk = Disk::new(4 * BLOCK, Content::Seed);
    let mut said = String::new();
    let mut tell = |error: Error| {
        let mut next: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = next {
            let _ = writeln!(said, "{error} {error:?}");
            next = error.source();
        }
    };
    let unknown = {
        let mut account = account(&fake.endpoint());
        account.credentials.as_mut().unwrap().access_key_id = "AKIANOBODY".to_owned();
        account
    };
    let ebs = connect_as(&account(&fake.endpoint()), &limits());
    let none = Interrupt::default();
    for denied in [
        Action::StartSnapshot,
        Action::PutSnapshotBlock,
        Action::DescribeSnapshots,
    ] {
        fake.set_faults(Faults {
            denied: [denied].into(),
            server_error: Chance::probability(0.2),
            ..Faults::default()
        });
        tell(
            ebs.upload(&request(&disk, dir.path(), "1"), &NoProgress, &none)
                .unwrap_err(),
        );
    }
    fake.set_faults(Faults {
        expired_credentials: true,
        ..Faults::default()
    });
    tell(
        ebs.upload(&request(&disk, dir.path(), "1"), &NoProgress, &none)
            .unwrap_err(),
    );
    fake.set_faults(Faults::default());
    let other = connect_as(&unknown, &limits());
    tell(
        other
            .upload(&request(&disk, dir.path(), "1"), &NoProgress, &none)
            .unwrap_err(),
    );
    let mut hasty = limits();
    hasty.timeouts.operation = std::time::Duration::from_millis(300);
    let lost = connect_as(&account("http://127.0.0.1:1"), &hasty);
    tell(lost.open("snap-12", &none).unwrap_err());
    let done = ebs
        .upload(&request(&disk, dir.path(), "1"), &NoProgress, &none)
        .unwrap();
    let _ = writeln!(said, "{ebs:?} {unknown:?} {done:?}");
    let mut all = said.into_bytes();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        all.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let logged = log.0.lock().unwrap();
    assert!(
        logged.windows(12).any(|window| window == b"asking again"),
        "nothing was logged"
    );
    all.extend_from_slice(&logged);
    for secret in [SECRET, TOKEN] {
        let at = all
            .windows(secret.len())
            .position(|window| window == secret.as_bytes());
        let around = at
            .map(|at| String::from_utf8_lossy(&all[at.saturating_sub(300)..at + 60]).into_owned());
        assert!(at.is_none(), "{secret} is in what was said: {around:?}");
    }
    println!(
        "no credentials in {} bytes of errors, journals and logs",
        all.len()
    );
}
