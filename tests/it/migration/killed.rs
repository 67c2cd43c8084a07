//! Launches that are killed at any request, and the same command again.

use super::Site;
use super::cycle::{both, counted};
use fake_aws::Hold;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Kills a command at each of its requests in turn, every other one after it took effect, and runs it
/// again; says how many requests there were.
#[track_caller]
fn at_each_request(
    site: &Site,
    command: &[&str],
    before: impl Fn(u64),
    after: impl Fn(u64),
) -> u64 {
    for at in 1_u64.. {
        before(at);
        site.aws.fake.hold(Hold {
            at,
            after: at % 2 == 0,
            ..Hold::default()
        });
        let mut child = site
            .program(command)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "request {at}");
                break true;
            }
            if site.aws.fake.held().is_some() {
                child.kill().unwrap();
                child.wait().unwrap();
                break false;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "request {at}");
            std::thread::sleep(Duration::from_millis(2));
        };
        site.aws.fake.release();
        if ended {
            return at - 1;
        }
        let again = site.run(command);
        assert_eq!(again.status, Some(0), "request {at}: {}", again.stderr);
        after(at);
    }
    0
}

/// The snapshots alone, of both machines: of each a chain that goes on.
#[test]
fn a_replication_that_is_killed_at_any_request_goes_on() {
    let site = Site::new();
    let command = ["replicate", "--project", "rehost.yaml", "--jobs", "1"];
    site.run(&command).ok();
    let lives_on = |at: u64| {
        let byte = u8::try_from(at % 251).unwrap();
        site.write_to("web1.raw", byte);
        site.write_to("db1-data.raw", byte);
    };
    let is_whole = |at: u64| {
        let there = counted(&site);
        assert_eq!(there["pending"], 0, "request {at}");
        assert_eq!(site.states(), ["ready", "ready"], "request {at}");
        // What was replicated is what there is now: another run finds nothing to do.
        let before = site.aws.fake.snapshots().len();
        site.run(&command).ok();
        assert_eq!(site.aws.fake.snapshots().len(), before, "request {at}");
    };
    let requests = at_each_request(&site, &command, lives_on, is_whole);
    assert!(requests > 10, "only {requests} requests were met");
    assert_eq!(site.run(&["gc", "--json"]).ok().trim(), "[]");
}

/// Both machines again and again, as if nothing had happened: two targets, and nothing left over.
#[test]
fn a_test_that_is_killed_at_any_request_goes_on() {
    let site = Site::new();
    site.run(&["replicate", "--project", "rehost.yaml"]).ok();
    site.run(&["test", "--jobs", "1"]).ok();
    let lives_on = |at: u64| site.write_to("web1.raw", u8::try_from(at % 251).unwrap());
    let is_whole = |at: u64| {
        assert_eq!(counted(&site), both(), "request {at}");
        assert_eq!(site.states(), ["tested", "tested"], "request {at}");
    };
    let requests = at_each_request(&site, &["test", "--jobs", "1"], lives_on, is_whole);
    assert!(requests > 60, "only {requests} requests were met");
    assert_eq!(site.run(&["gc", "--json"]).ok().trim(), "[]");
}

/// From nothing to the cutover of both machines, the first snapshots included.
#[test]
fn a_cutover_that_is_killed_at_any_request_goes_on() {
    let site = Site::new();
    let once_more = |at: u64| {
        if at > 1 {
            site.run(&["mark", "ready", "web1", "db1"]).ok();
            site.write_to("web1.raw", u8::try_from(at % 251).unwrap());
        }
    };
    let is_whole = |at: u64| {
        assert_eq!(counted(&site), both(), "request {at}");
        assert_eq!(site.states(), ["cut-over", "cut-over"], "request {at}");
    };
    let command = ["cutover", "--untested", "--jobs", "1"];
    let requests = at_each_request(&site, &command, once_more, is_whole);
    assert!(requests > 60, "only {requests} requests were met");
    assert_eq!(site.run(&["gc", "--json"]).ok().trim(), "[]");
}
