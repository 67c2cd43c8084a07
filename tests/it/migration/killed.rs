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

/// From nothing to the cutover, the first snapshot included.
#[test]
fn a_cutover_that_is_killed_at_any_request_goes_on() {
    let site = Site::new();
    let command = ["cutover", "web1", "--untested"];
    let once_more = |at: u64| {
        if at > 1 {
            site.run(&["mark", "ready", "web1"]).ok();
            site.write_to("web1.raw", u8::try_from(at % 251).unwrap());
        }
    };
    let is_whole = |at: u64| {
        let there = counted(&site);
        assert_eq!(
            (there["instances"], there["images"]),
            (1, 1),
            "request {at}"
        );
        assert_eq!(
            (there["volumes"], there["converted"]),
            (1, 1),
            "request {at}"
        );
        assert_eq!(there["pending"], 0, "request {at}");
        assert_eq!(site.states()[0], "cut-over", "request {at}");
    };
    let requests = at_each_request(&site, &command, once_more, is_whole);
    assert!(requests > 30, "only {requests} requests were met");
    assert_eq!(site.run(&["gc", "--json"]).ok().trim(), "[]");
}
