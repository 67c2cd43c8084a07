//! Instances from pending to terminated, and what tells of them.

use crate::client::{eventually, unsigned, with};
use crate::query::{
    SUBNET_A, all, ec2, image, instance, ok, pages, refused, run, terminate, try_run, until,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fake_aws::{Action, Chance, Faults, InstanceState, Life};

fn slow() -> Faults {
    Faults {
        life: Life {
            pending_ms: 500,
            stopping_ms: 500,
            shutting_down_ms: 500,
            status_ms: 500,
            ..Life::default()
        },
        ..Faults::default()
    }
}

#[test]
fn an_instance_goes_through_its_states() {
    let fake = with(slow());
    let image = image(&fake, "web", "");
    let id = run(&fake, &image, "");
    let act = |action: &str| ec2(&fake, action, &format!("InstanceId.1={id}"));
    let state = || instance(&fake, &id).state;
    assert_eq!(state(), InstanceState::Pending);
    refused(&act("StopInstances"), 400, "IncorrectInstanceState");
    assert_eq!(all(&act("DescribeInstances"), "status")[0], "attaching");
    until(&fake, &id, InstanceState::Running);
    assert_eq!(all(&act("DescribeInstances"), "status")[0], "attached");
    let answer = act("StopInstances");
    assert_eq!(all(&answer, "name"), ["stopping", "running"]);
    refused(&act("StartInstances"), 400, "IncorrectInstanceState");
    until(&fake, &id, InstanceState::Stopped);
    assert_eq!(act("StopInstances").status, 200);
    assert_eq!(all(&act("StartInstances"), "name"), ["pending", "stopped"]);
    until(&fake, &id, InstanceState::Running);
    assert_eq!(
        all(&act("TerminateInstances"), "name"),
        ["shutting-down", "running"]
    );
    refused(&act("StartInstances"), 400, "IncorrectInstanceState");
    assert_eq!(
        all(&act("TerminateInstances"), "name"),
        ["shutting-down", "shutting-down"]
    );
    until(&fake, &id, InstanceState::Terminated);
    assert_eq!(
        all(&act("TerminateInstances"), "name"),
        ["terminated", "terminated"]
    );
    let answer = act("DescribeInstances");
    assert_eq!(answer.element("subnetId"), None);
    assert_eq!(answer.element("blockDeviceMapping").as_deref(), Some(""));
    assert_eq!(answer.element("networkInterfaceSet").as_deref(), Some(""));
    let left = fake.resources();
    assert!(left.volumes.is_empty() && left.interfaces.is_empty());
    for (form, code) in [
        ("", "MissingParameter"),
        ("InstanceId.1=i-0123", "InvalidInstanceID.NotFound"),
        ("InstanceId.1=web", "InvalidInstanceID.Malformed"),
    ] {
        for action in ["TerminateInstances", "StopInstances", "StartInstances"] {
            refused(&ec2(&fake, action, form), 400, code);
        }
    }
}

#[test]
fn one_wrong_id_changes_no_instance() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let id = run(&fake, &image, "");
    until(&fake, &id, InstanceState::Running);
    let form = format!("InstanceId.1={id}&InstanceId.2=i-0123");
    refused(
        &ec2(&fake, "TerminateInstances", &form),
        400,
        "InvalidInstanceID.NotFound",
    );
    let dry = format!("InstanceId.1={id}&DryRun=true");
    for action in ["TerminateInstances", "StopInstances", "StartInstances"] {
        refused(&ec2(&fake, action, &dry), 412, "DryRunOperation");
    }
    assert_eq!(instance(&fake, &id).state, InstanceState::Running);
}

#[test]
fn protection_holds_until_it_is_taken_away() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let id = run(
        &fake,
        &image,
        "DisableApiTermination=true&DisableApiStop=true",
    );
    until(&fake, &id, InstanceState::Running);
    let form = format!("InstanceId.1={id}");
    refused(
        &ec2(&fake, "TerminateInstances", &form),
        400,
        "OperationNotPermitted",
    );
    refused(
        &ec2(&fake, "StopInstances", &form),
        400,
        "OperationNotPermitted",
    );
    let modify = |what: &str| {
        ec2(
            &fake,
            "ModifyInstanceAttribute",
            &format!("InstanceId={id}&{what}"),
        )
    };
    refused(
        &modify("DisableApiTermination.Value=false&DisableApiStop.Value=false"),
        400,
        "InvalidParameterCombination",
    );
    refused(&modify(""), 400, "MissingParameter");
    refused(
        &modify("DisableApiTermination.Value=false&DryRun=true"),
        412,
        "DryRunOperation",
    );
    assert_eq!(modify("DisableApiStop.Value=false").status, 200);
    ok(&fake, "StopInstances", &form);
    refused(
        &ec2(&fake, "TerminateInstances", &form),
        400,
        "OperationNotPermitted",
    );
    assert_eq!(modify("DisableApiTermination.Value=false").status, 200);
    terminate(&fake, &id);
    refused(
        &modify("DisableApiTermination.Value=true"),
        400,
        "IncorrectInstanceState",
    );
}

#[test]
fn attributes_of_interface_and_volumes_are_changed_through_the_instance() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let id = run(&fake, &image, "");
    let modify = |what: &str| {
        ec2(
            &fake,
            "ModifyInstanceAttribute",
            &format!("InstanceId={id}&{what}"),
        )
    };
    assert_eq!(modify("SourceDestCheck.Value=false").status, 200);
    assert!(!fake.resources().interfaces[0].source_dest_check);
    let keep = "BlockDeviceMapping.1.DeviceName=/dev/sda1&BlockDeviceMapping.1.Ebs.DeleteOnTermination=false";
    assert_eq!(modify(keep).status, 200);
    refused(
        &modify(&keep.replace("sda1", "sdq")),
        400,
        "InvalidBlockDeviceMapping",
    );
    terminate(&fake, &id);
    let volumes = fake.resources().volumes;
    assert_eq!(volumes[0].state(), "available");
}

#[test]
fn status_checks_come_after_running() {
    let fake = with(slow());
    let image = image(&fake, "web", "");
    let id = run(&fake, &image, "");
    let ask = |form: &str| ok(&fake, "DescribeInstanceStatus", form);
    assert!(all(&ask(""), "instanceId").is_empty());
    let every = format!("InstanceId.1={id}&IncludeAllInstances=true");
    assert_eq!(all(&ask(&every), "name")[0], "pending");
    until(&fake, &id, InstanceState::Running);
    assert_eq!(all(&ask(""), "status")[0], "initializing");
    eventually(|| (all(&ask(""), "status")[0] == "ok").then_some(()));
    assert!(
        ask("")
            .text()
            .contains("<name>reachability</name><status>passed</status>")
    );
    fake.set_faults(Faults {
        impaired: Chance::next(1),
        ..Faults::default()
    });
    let bad = run(&fake, &image, "");
    let filter = "Filter.1.Name=instance-status.status&Filter.1.Value.1=impaired";
    let found = eventually(|| ask(filter).element("instanceId"));
    assert_eq!(found, bad);
    refused(
        &ec2(&fake, "DescribeInstanceStatus", "InstanceId.1=i-0123"),
        400,
        "InvalidInstanceID.NotFound",
    );
}

#[test]
fn the_console_tells_what_it_was_told() {
    let fake = with(slow());
    let image = image(&fake, "web", "");
    let id = run(&fake, &image, "");
    let console = || {
        let answer = ok(
            &fake,
            "GetConsoleOutput",
            &format!("InstanceId={id}&Latest=true"),
        );
        let output = answer.element("output")?;
        let bytes = STANDARD.decode(output).expect("base64");
        Some(String::from_utf8(bytes).expect("UTF-8"))
    };
    assert_eq!(console(), None);
    until(&fake, &id, InstanceState::Running);
    assert!(console().expect("output").ends_with("login: "));
    fake.set_faults(Faults {
        console: Some("Kernel panic".into()),
        ..Faults::default()
    });
    assert_eq!(console().as_deref(), Some("Kernel panic"));
}

#[test]
fn instances_are_found_by_state_and_tags_in_pages() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let tag = |value: &str| {
        format!(
            "TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=m&\
             TagSpecification.1.Tag.1.Value={value}"
        )
    };
    let mut ids: Vec<String> = (0..7)
        .map(|n| run(&fake, &image, &tag(&format!("m{n}"))))
        .collect();
    for id in &ids {
        until(&fake, id, InstanceState::Running);
    }
    terminate(&fake, &ids[6]);
    let find = |form: &str| all(&ok(&fake, "DescribeInstances", form), "reservationId").len();
    for (form, count) in [
        (
            "Filter.1.Name=instance-state-name&Filter.1.Value.1=running",
            6,
        ),
        (
            "Filter.1.Name=instance-state-name&Filter.1.Value.1=terminated",
            1,
        ),
        (
            "Filter.1.Name=tag:m&Filter.1.Value.1=m1&Filter.1.Value.2=m2",
            2,
        ),
        ("Filter.1.Name=tag-key&Filter.1.Value.1=m", 7),
        (
            &format!("Filter.1.Name=subnet-id&Filter.1.Value.1={SUBNET_A}"),
            6,
        ),
        (
            &format!("Filter.1.Name=image-id&Filter.1.Value.1={image}"),
            7,
        ),
        ("Filter.1.Name=instance-type&Filter.1.Value.1=t*", 0),
    ] {
        assert_eq!(find(form), count, "{form}");
    }
    let pages = pages(&fake, "DescribeInstances", "instanceId");
    let mut found: Vec<String> = pages.into_iter().flatten().collect();
    found.sort();
    found.dedup();
    ids.sort();
    assert_eq!(found, ids);
    refused(
        &ec2(
            &fake,
            "DescribeInstances",
            "Filter.1.Name=mood&Filter.1.Value.1=x",
        ),
        400,
        "InvalidParameterValue",
    );
}

#[test]
fn a_new_instance_is_unseen_and_an_old_one_forgotten() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    fake.set_faults(Faults {
        describe_lag_ms: 400,
        life: Life {
            visible_ms: 500,
            ..Life::default()
        },
        ..Faults::default()
    });
    let id = run(&fake, &image, "ClientToken=one");
    let describe = || ec2(&fake, "DescribeInstances", &format!("InstanceId.1={id}"));
    refused(&describe(), 400, "InvalidInstanceID.NotFound");
    assert!(all(&ok(&fake, "DescribeInstances", ""), "instanceId").is_empty());
    eventually(|| (describe().status == 200).then_some(()));
    ok(&fake, "TerminateInstances", &format!("InstanceId.1={id}"));
    eventually(|| (describe().status == 400).then_some(()));
    refused(&describe(), 400, "InvalidInstanceID.NotFound");
    assert_ne!(run(&fake, &image, "ClientToken=one"), id);
}

#[test]
fn faults_meet_the_new_actions_too() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    fake.set_faults(Faults {
        denied: [Action::RunInstances].into(),
        throttle: Chance::next(1).of([Action::DescribeImages]),
        ..Faults::default()
    });
    refused(&try_run(&fake, &image, ""), 403, "UnauthorizedOperation");
    refused(
        &try_run(&fake, &image, "DryRun=true"),
        403,
        "UnauthorizedOperation",
    );
    refused(
        &ec2(&fake, "DescribeImages", ""),
        503,
        "RequestLimitExceeded",
    );
    assert_eq!(fake.counter(Action::RunInstances).failed, 2);
    assert_eq!(fake.counter(Action::DescribeImages).throttled, 1);
}
