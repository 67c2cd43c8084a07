//! Uploads over a line that is slower than the service.

use crate::common::{Content, Disk, account, connect_as, fake, limits, request};
use crate::upload::{assert_content, upload};
use fake_aws::{Action, Faults};
use std::time::Duration;
use store::BLOCK;

/// Uploads so many blocks over a line that lets so many through in a second; says how many were sent.
fn sent(blocks: u64, in_a_second: u64) -> u64 {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    fake.set_faults(Faults {
        line_bytes_per_second: in_a_second * BLOCK,
        ..Faults::default()
    });
    let account = aws::Config {
        timeouts: aws::Timeouts {
            read: Duration::from_millis(1500),
            attempt: Duration::from_secs(2),
            ..aws::Timeouts::default()
        },
        ..account(&fake.endpoint())
    };
    let disk = Disk::new(blocks * BLOCK, Content::Seed);
    let ebs = connect_as(&account, &limits());
    let done = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap();
    assert_content(&fake, &done.id, &disk);
    fake.counter(Action::PutSnapshotBlock).requests
}

#[test]
fn a_line_that_is_slow_is_not_asked_for_more() {
    // Two dozen at a time would take longer than they may: were all of them sent again together, none
    // would ever arrive.
    let sent = sent(96, 16);
    assert!(sent <= 96 + 48, "{sent} requests for 96 blocks");
}

#[test]
fn a_line_that_is_slower_than_thought_takes_its_time_but_everything() {
    // Of the eight that go at first, two come too late.
    let sent = sent(24, 4);
    assert!(
        (25..=2 * 24).contains(&sent),
        "{sent} requests for 24 blocks"
    );
}
