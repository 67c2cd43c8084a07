//! A launch that is killed at any request, and the same command again.

use super::Site;
use super::cycle::{both, counted};
use fake_aws::Hold;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Kills the second test of both machines at each request in turn, before or after it took effect. The
/// command again ends as if nothing had happened: two targets, and nothing left over.
#[test]
fn a_launch_that_is_killed_at_any_request_goes_on() {
    let site = Site::new();
    site.run(&["replicate", "--project", "rehost.yaml"]).ok();
    site.run(&["test", "--jobs", "1"]).ok();
    let (mut launches, mut killed) = (2, 0_u64);
    for at in 1_u64.. {
        let after = at % 2 == 0;
        site.write_to("web1.raw", u8::try_from(at % 251).unwrap());
        site.aws.fake.hold(Hold {
            at,
            after,
            ..Hold::default()
        });
        let mut child = site
            .program(&["test", "--jobs", "1"])
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
            break;
        }
        killed += 1;
        let again = site.run(&["test", "--jobs", "1"]);
        assert_eq!(again.status, Some(0), "request {at}: {}", again.stderr);
        assert_eq!(counted(&site), both(), "request {at}");
        assert_eq!(site.states(), ["tested", "tested"], "request {at}");
        launches += 1;
    }
    assert!(killed > 40, "only {killed} requests were met");
    assert!(launches > 40);
    let gc = site.run(&["gc", "--json"]);
    assert_eq!(gc.ok().trim(), "[]");
}
