//! Limits, rights, credentials, and what is said of them.

use super::{Aws, KEY, SECRET, TOKEN, disk};
use crate::support::Ran;
use fake_aws::{Action, Faults};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn the_limit_of_requests_is_of_all_disks_together() {
    let aws = Aws::new();
    let disks = ["a.raw", "b.raw", "c.raw"].map(|name| aws.path(name));
    for path in &disks {
        disk(path, 16, 12);
    }
    let mut arguments = vec!["replicate", "--to", "ebs:", "--max-requests", "40"];
    arguments.extend(disks.iter().map(|path| path.to_str().unwrap()));
    aws.run(&arguments).ok();
    let mut times: Vec<_> = aws.fake.log().iter().map(|entry| entry.at_ms).collect();
    times.sort_unstable();
    assert!(times.len() > 72);
    // They leave evenly, but a busy machine may let them arrive in bunches.
    let (first, last) = (times[0], times[times.len() - 1]);
    let least = u64::try_from(times.len() - 1).unwrap() * 1000 / 40;
    assert!(
        last - first >= least,
        "{} ms are less than {least}",
        last - first
    );
}

#[test]
fn what_is_denied_is_named_at_once() {
    for (action, iam) in [
        (Action::StartSnapshot, "ebs:StartSnapshot"),
        (Action::PutSnapshotBlock, "ebs:PutSnapshotBlock"),
        (Action::CompleteSnapshot, "ebs:CompleteSnapshot"),
        (Action::DescribeSnapshots, "ec2:DescribeSnapshots"),
        (Action::CreateTags, "ec2:CreateTags"),
        (Action::ListSnapshotBlocks, "ebs:ListSnapshotBlocks"),
        (Action::GetSnapshotBlock, "ebs:GetSnapshotBlock"),
    ] {
        let aws = Aws::new();
        let path = aws.path("web1.raw");
        disk(&path, 64, 1);
        let id = aws.run(&["copy", path.to_str().unwrap(), "ebs:"]).ok();
        aws.fake.set_faults(Faults {
            denied: [action].into(),
            ..Faults::default()
        });
        let start = Instant::now();
        let said = if iam.starts_with("ebs:List") || iam.starts_with("ebs:Get") {
            let out = aws.path("out.raw");
            let said = aws
                .run(&["copy", &format!("ebs:{}", id.trim()), out.to_str().unwrap()])
                .failed(1);
            assert!(!out.exists());
            said
        } else {
            aws.run(&["replicate", path.to_str().unwrap(), "--to", "ebs:"])
                .failed(1)
        };
        let took = start.elapsed();
        assert!(said.contains(&format!("AWS denies {iam}")), "{said}");
        // What is asked again is asked for two minutes.
        assert!(took < Duration::from_secs(20), "{iam}: {took:?}");
    }
}

#[test]
fn regions_and_credentials_that_do_not_fit_are_said() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    disk(&path, 2, 1);
    let name = path.to_str().unwrap();
    let run = |change: &dyn Fn(&mut Command), arguments: &[&str]| {
        let mut command = aws.program();
        change(&mut command);
        Ran::of(command.args(arguments).output().unwrap()).failed(1)
    };
    let up = ["copy", name, "ebs:"];
    let said = run(
        &|command| {
            command.env_remove("AWS_REGION");
        },
        &up,
    );
    assert!(said.contains("--region"), "{said}");
    // The SDK's warnings on the way are no help.
    assert!(!said.contains("WARN"), "{said}");
    let said = run(
        &|command| {
            command.env("AWS_REGION", "");
        },
        &up,
    );
    assert!(said.contains("no AWS region is known"), "{said}");
    let without = |command: &mut Command| {
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
        ] {
            command.env_remove(name);
        }
    };
    let said = run(&without, &up);
    assert!(said.contains("no usable AWS credentials"), "{said}");
    let said = run(
        &|command| {
            command.env("AWS_SECRET_ACCESS_KEY", "wrong");
        },
        &up,
    );
    assert!(said.contains("credentials"), "{said}");
    let said = run(&|_| {}, &["copy", name, "ebs:", "--region", "eu-west-1"]);
    assert!(said.contains("eu-west-1"), "{said}");
    let said = run(&|_| {}, &["inspect", "ebs:snap-0123456789abcdef0"]);
    assert!(
        said.contains("there is no snapshot snap-0123456789abcdef0"),
        "{said}"
    );
    assert!(said.contains("us-east-1"), "{said}");
    let said = run(&|_| {}, &["copy", name, "ebs:snap-0123456789abcdef0"]);
    assert!(said.contains("ebs: alone"), "{said}");
    let said = run(&|_| {}, &["inspect", "ebs:web1"]);
    assert!(said.contains("ebs:SNAPSHOT"), "{said}");
    let store = format!("store:{}", aws.path("s").display());
    let said = run(&|_| {}, &["copy", name, &store, "--encrypt"]);
    assert!(said.contains("about snapshots in EBS"), "{said}");
    let said = run(&|_| {}, &["copy", name, "ebs:", "--max-requests", "0"]);
    assert!(said.contains("limit of requests"), "{said}");
    assert_eq!(aws.fake.snapshots(), []);
}

#[test]
fn credentials_are_nowhere_in_what_is_said_and_written() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    disk(&path, 4, 1);
    let name = path.to_str().unwrap();
    let mut said = Vec::new();
    let mut logged = Vec::new();
    let mut run = |arguments: &[&str], change: &dyn Fn(&mut Command)| {
        let mut command = aws.program();
        command.args(arguments).arg("-vv");
        change(&mut command);
        let output = command.output().unwrap();
        said.extend_from_slice(&output.stdout);
        logged.extend_from_slice(&output.stderr);
        String::from_utf8(output.stdout).unwrap()
    };
    let everything = |command: &mut Command| {
        let all = "trace,aws_sigv4=trace,aws_runtime=trace,aws_config=trace,hyper_util=trace";
        command.env("REHOST_LOG", all).env("RUST_LOG", all);
    };
    aws.fake.set_faults(Faults {
        server_error: fake_aws::Chance::every(3),
        ..Faults::default()
    });
    let id = run(&["copy", name, "ebs:"], &everything);
    let source = format!("ebs:{}", id.trim());
    run(&["replicate", name, "--to", "ebs:", "--json"], &everything);
    run(&["compare", name, &source], &|_| {});
    aws.fake.set_faults(Faults {
        denied: [Action::PutSnapshotBlock].into(),
        ..Faults::default()
    });
    run(&["copy", name, "ebs:"], &everything);
    aws.fake.set_faults(Faults {
        expired_credentials: true,
        ..Faults::default()
    });
    run(&["copy", name, "ebs:"], &everything);
    run(&["copy", name, "ebs:"], &|command| {
        everything(command);
        command.env("AWS_SECRET_ACCESS_KEY", format!("{SECRET}x"));
    });
    let told = String::from_utf8_lossy(&logged);
    assert!(told.contains("asking again"), "nothing was logged: {told}");
    let mut all = [said, logged.clone()].concat();
    for entry in fs::read_dir(aws.state().join("ebs/us-east-1")).unwrap() {
        all.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    for secret in [SECRET, TOKEN, KEY] {
        let at = all
            .windows(secret.len())
            .position(|window| window == secret.as_bytes());
        let around = at
            .map(|at| String::from_utf8_lossy(&all[at.saturating_sub(300)..at + 60]).into_owned());
        assert!(at.is_none(), "{secret} was said: {around:?}");
    }
}
