//! What goes wrong, and what is said about it.

use crate::common::{KEY, Machine, PLAIN, SECRET, TOKEN, connect, fake, limits};
use fake_aws::{Action, Chance, Faults};
use launch::ec2::{Error, Limits};
use std::time::Duration;

fn faults(faults: Faults) -> (fake_aws::FakeAws, launch::ec2::Ec2, Machine) {
    let fake = fake();
    let machine = Machine::new(&fake, PLAIN);
    fake.set_faults(faults);
    let ec2 = connect(&fake, &limits());
    (fake, ec2, machine)
}

#[test]
fn throttles_server_errors_and_lost_answers_pass() {
    let (fake, ec2, machine) = faults(Faults {
        throttle: Chance::every(3),
        server_error: Chance::every(5),
        reset_after: Chance::every(7),
        ..Faults::default()
    });
    let target = machine.launch(&ec2).unwrap();
    machine.remove(&ec2).unwrap();
    let resources = fake.resources();
    assert_eq!(resources.instances.len(), 1);
    assert_eq!(resources.instances[0].id, target.instance);
    assert!(resources.images.is_empty() && resources.volumes.is_empty());
}

#[test]
fn what_does_not_pass_in_time_is_given_up() {
    let (_fake, _, machine) = faults(Faults::default());
    let throttled = fake();
    throttled.set_faults(Faults {
        throttle: Chance::every(1),
        ..Faults::default()
    });
    let ec2 = connect(
        &throttled,
        &Limits {
            operation: Duration::from_millis(300),
            ..limits()
        },
    );
    let error = machine.launch(&ec2).unwrap_err();
    let Error::GaveUp { attempts, .. } = &error else {
        panic!("{error}");
    };
    assert!(*attempts > 1 && error.may_pass());
}

#[test]
fn an_action_that_is_denied_is_named_and_asked_once() {
    for action in [
        Action::DescribeInstances,
        Action::DescribeImages,
        Action::RegisterImage,
        Action::RunInstances,
        Action::CreateTags,
    ] {
        let (fake, ec2, machine) = faults(Faults {
            denied: [action].into(),
            ..Faults::default()
        });
        let error = machine.launch(&ec2).unwrap_err();
        let Error::Denied { denied, .. } = &error else {
            panic!("{action:?}: {error}");
        };
        assert_eq!(*denied, format!("ec2:{}", action.name()), "{error}");
        let refused = fake.log().into_iter().filter(|entry| entry.status == 403);
        assert_eq!(refused.count(), 1);
    }
}

#[test]
fn an_instance_that_ec2_ends_is_an_error_with_its_reason_and_console() {
    let (fake, ec2, mut machine) = faults(Faults {
        launch_fails: Chance::next(1),
        console: Some("\u{1b}[31mKernel panic\u{1b}[0m - not syncing\r\n".to_owned()),
        ..Faults::default()
    });
    let error = machine.launch(&ec2).unwrap_err();
    let Error::DidNotComeUp { why, .. } = &error else {
        panic!("{error}");
    };
    assert!(why.contains("Server.InternalError"), "{why}");
    assert_eq!(error.console(), Some("Kernel panic - not syncing"));

    // Its number is used up, also for those who ask with its token.
    let error = machine.launch(&ec2).unwrap_err();
    assert!(matches!(error, Error::Terminated { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("terminated") && text.contains("next number"),
        "{text}"
    );
    machine.launch = 2;
    machine.launch(&ec2).unwrap();
    assert_eq!(fake.resources().instances.len(), 2);
}

#[test]
fn a_token_that_stands_for_an_instance_that_is_gone_is_an_error() {
    let (fake, ec2, machine) = faults(Faults::default());
    let target = machine.launch(&ec2).unwrap();
    let found = machine.find(&ec2);
    let instance = found.there.get(..1).unwrap();
    let options = launch::ec2::RemoveOptions::default();
    ec2.remove(
        instance,
        options,
        &mut |_| {},
        &ondisk::Interrupt::default(),
    )
    .unwrap();
    // It is not found by its tags any more, and yet EC2 knows the token.
    crate::common::untag(&fake, &target.instance);
    let error = machine.launch(&ec2).unwrap_err();
    let Error::Terminated { instance, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*instance, target.instance);
    assert_eq!(fake.resources().instances.len(), 1);
}

#[test]
fn a_guest_that_does_not_answer_is_an_error_with_its_console() {
    let fields = format!("{PLAIN}launch: {{wait: status-ok}}\n");
    let (_fake, ec2, mut machine) = faults(Faults {
        impaired: Chance::every(1),
        console: Some("grub rescue> ".to_owned()),
        ..Faults::default()
    });
    machine.blueprint = crate::common::blueprint(&fields);
    let error = machine.launch(&ec2).unwrap_err();
    assert!(matches!(error, Error::DidNotComeUp { .. }), "{error}");
    assert_eq!(error.console(), Some("grub rescue>"));
    // It stays, to be looked at, and is not complete.
    let found = machine.find(&ec2);
    assert!(!found.there[0].is_complete());
}

#[test]
fn a_lack_of_capacity_says_what_to_do_and_the_same_launch_can_be_tried_again() {
    let (fake, ec2, machine) = faults(Faults {
        insufficient_capacity: Chance::next(1),
        ..Faults::default()
    });
    let error = machine.launch(&ec2).unwrap_err();
    assert!(matches!(error, Error::Capacity { .. }), "{error}");
    assert!(error.to_string().contains("availability zone") && error.may_pass());
    assert_eq!(fake.counter(Action::RunInstances).requests, 1);
    machine.launch(&ec2).unwrap();
    let resources = fake.resources();
    assert_eq!((resources.images.len(), resources.instances.len()), (1, 1));
}

#[test]
fn the_same_launch_with_another_blueprint_is_refused() {
    let (fake, ec2, mut machine) = faults(Faults::default());
    machine.launch(&ec2).unwrap();
    machine.blueprint.tags = [("a".to_owned(), "b".to_owned())].into();
    let error = machine.launch(&ec2).unwrap_err();
    assert!(matches!(error, Error::AnotherRequest { .. }), "{error}");
    assert_eq!(fake.resources().instances.len(), 1);

    // Also when the first is not found: EC2 itself compares.
    machine.launch = 2;
    let target = machine.launch(&ec2).unwrap();
    crate::common::untag(&fake, &target.instance);
    machine.blueprint.launch.key_name = Some("rehost".to_owned());
    let error = machine.launch(&ec2).unwrap_err();
    assert!(matches!(error, Error::AnotherRequest { .. }), "{error}");
    assert_eq!(fake.resources().instances.len(), 2);
    assert_eq!(fake.resources().images.len(), 2);
}

#[test]
fn what_is_missing_is_named() {
    let (_fake, ec2, mut machine) = faults(Faults::default());
    machine.blueprint.launch.key_name = Some("nobody".to_owned());
    let error = machine.launch(&ec2).unwrap_err();
    assert!(matches!(error, Error::NoSuch { .. }), "{error}");
    assert!(error.to_string().contains("nobody"), "{error}");
}

#[test]
fn credentials_are_in_no_error() {
    let mut texts = Vec::new();
    for given in [
        Faults {
            expired_credentials: true,
            ..Faults::default()
        },
        Faults {
            denied: [Action::RunInstances].into(),
            ..Faults::default()
        },
        Faults {
            launch_fails: Chance::every(1),
            ..Faults::default()
        },
    ] {
        let (_fake, ec2, machine) = faults(given);
        let error = machine.launch(&ec2).unwrap_err();
        texts.push(format!("{error} {error:?} {ec2:?}"));
    }
    let (fake, ec2, machine) = faults(Faults::default());
    fake.stop();
    let quick = connect_to_nothing();
    for ec2 in [&ec2, &quick] {
        let interrupt = ondisk::Interrupt::default();
        let soon = interrupt.clone();
        let stop = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            soon.set();
        });
        let error = machine.with(|new| ec2.launch(new, &mut |_| {}, &interrupt));
        stop.join().unwrap();
        let error = error.unwrap_err();
        texts.push(format!("{error} {error:?}"));
    }
    for text in texts {
        for secret in [KEY, SECRET, TOKEN] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

fn connect_to_nothing() -> launch::ec2::Ec2 {
    let gone = fake();
    let ec2 = connect(
        &gone,
        &Limits {
            operation: Duration::from_millis(100),
            ..limits()
        },
    );
    gone.stop();
    ec2
}
