//! Holding and resetting the n-th request.

use crate::client::{complete, eventually, get, send, started, try_send, unsigned};
use crate::query::{image, ok};
use fake_aws::{Action, Hold};
use std::net::{SocketAddr, TcpStream};

fn allocate(address: SocketAddr) -> std::io::Result<crate::client::Answer> {
    let body = b"Action=AllocateAddress&Version=2016-11-15";
    try_send(address, "POST", "/", &[], body)
}

#[test]
fn a_request_is_held_before_or_after_its_effect() {
    for after in [false, true] {
        let fake = unsigned();
        ok(&fake, "AllocateAddress", "");
        fake.hold(Hold {
            at: 2,
            after,
            actions: [Action::AllocateAddress].into(),
            reset: false,
        });
        ok(&fake, "AllocateAddress", "");
        ok(&fake, "DescribeAddresses", "");
        assert_eq!(fake.held(), None);
        let address = fake.address();
        let client = std::thread::spawn(move || allocate(address));
        let held = eventually(|| fake.held());
        assert_eq!((held.action, held.after), (Action::AllocateAddress, after));
        let effect = 2 + usize::from(after);
        assert_eq!(fake.resources().addresses.len(), effect);
        // What comes later is held too, whatever it is, and never happens.
        let later = std::thread::spawn(move || allocate(address));
        eventually(|| (fake.counter(Action::AllocateAddress).requests == 4).then_some(()));
        assert_eq!(fake.resources().addresses.len(), effect);
        fake.release();
        assert!(client.join().expect("a thread").is_err());
        assert!(later.join().expect("a thread").is_err());
        assert_eq!(fake.resources().addresses.len(), effect);
        ok(&fake, "DescribeAddresses", "");
        let faults: Vec<_> = fake.log().iter().filter_map(|entry| entry.fault).collect();
        let first = if after { "held_after" } else { "held_before" };
        assert_eq!(faults, [first, "held_before"]);
    }
}

#[test]
fn a_client_that_dies_while_it_is_held_leaves_nothing() {
    let fake = unsigned();
    fake.hold(Hold {
        at: 1,
        ..Hold::default()
    });
    let body = "Action=AllocateAddress&Version=2016-11-15";
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(fake.address()).expect("a connection");
    std::io::Write::write_all(&mut stream, format!("{head}{body}").as_bytes()).expect("sent");
    eventually(|| fake.held());
    drop(stream);
    fake.release();
    assert!(fake.resources().addresses.is_empty());
    ok(&fake, "AllocateAddress", "");
    assert_eq!(fake.resources().addresses.len(), 1);
}

#[test]
fn a_reset_meets_the_nth_request_alone() {
    for after in [false, true] {
        let fake = unsigned();
        fake.hold(Hold {
            at: 2,
            after,
            reset: true,
            ..Hold::default()
        });
        let results: Vec<bool> = (0..3).map(|_| allocate(fake.address()).is_ok()).collect();
        assert_eq!(results, [true, false, true]);
        assert_eq!(fake.resources().addresses.len(), 2 + usize::from(after));
        assert_eq!(fake.counted(), 3);
    }
}

#[test]
fn snapshots_are_held_as_well() {
    let fake = unsigned();
    let id = started(&fake);
    fake.hold(Hold {
        at: 1,
        after: true,
        ..Hold::default()
    });
    let address = fake.address();
    let path = format!("/snapshots/completion/{id}");
    let client = std::thread::spawn(move || {
        try_send(
            address,
            "POST",
            &path,
            &[("x-amz-ChangedBlocksCount", "0")],
            b"",
        )
    });
    let held = eventually(|| fake.held());
    assert_eq!(held.action, Action::CompleteSnapshot);
    assert_eq!(fake.snapshot(&id).expect("it").status, "completed");
    fake.release();
    assert!(client.join().expect("a thread").is_err());
    assert_ne!(complete(&fake, &id, 0).status, 202);
}

#[test]
fn the_control_endpoint_holds_and_shows() {
    let fake = unsigned();
    let control = |method: &str, path: &str, body: &str| {
        let answer = send(
            &fake,
            method,
            &format!("/_control/{path}"),
            &[],
            body.as_bytes(),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    control("PUT", "hold", r#"{"at":1,"actions":["AllocateAddress"]}"#);
    image(&fake, "web", "");
    assert!(control("GET", "hold", "")["held"].is_null());
    let address = fake.address();
    let client = std::thread::spawn(move || allocate(address));
    eventually(|| {
        (control("GET", "hold", "")["held"]["action"] == "AllocateAddress").then_some(())
    });
    control("DELETE", "hold", "");
    assert!(client.join().expect("a thread").is_err());
    let resources = control("GET", "resources", "");
    assert_eq!(resources["images"][0]["name"], "web");
    assert_eq!(
        resources["images"][0]["mappings"][0]["shape"]["kind"],
        "gp2"
    );
    for sort in ["instances", "volumes", "interfaces", "addresses"] {
        assert_eq!(resources[sort].as_array().map(Vec::len), Some(0), "{sort}");
    }
    assert_eq!(get(&fake, "/_control/nothing").status, 404);
}
