//! Requests of EC2 by hand, and the machines that they make.

use crate::client::{Answer, completed, encoded, eventually, send};
use fake_aws::{FakeAws, Instance, InstanceState};

/// The default surroundings.
pub(crate) const SUBNET_A: &str = "subnet-0000000000000000a";
pub(crate) const SUBNET_B: &str = "subnet-0000000000000000b";
pub(crate) const GROUP: &str = "sg-0000000000000000b";

pub(crate) fn ec2(fake: &FakeAws, action: &str, form: &str) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("Action={action}&Version=2016-11-15&{form}");
    send(fake, "POST", "/", &headers, body.as_bytes())
}

#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16, code: &str) {
    let text = answer.text();
    assert_eq!(
        (answer.status, answer.element("Code").as_deref()),
        (status, Some(code)),
        "{text}"
    );
    assert!(answer.element("RequestID").is_some() && answer.element("Message").is_some());
}

/// Sends a request that must succeed.
#[track_caller]
pub(crate) fn ok(fake: &FakeAws, action: &str, form: &str) -> Answer {
    let answer = ec2(fake, action, form);
    assert_eq!(answer.status, 200, "{action} {form}: {}", answer.text());
    answer
}

/// Sends requests that must all be refused with 400, and that change nothing.
#[track_caller]
pub(crate) fn all_refused(fake: &FakeAws, action: &str, base: &str, table: &[(&str, &str)]) {
    let before = serde_json::to_string(&fake.resources()).expect("JSON");
    for (form, code) in table {
        let answer = ec2(fake, action, &format!("{base}&{form}"));
        assert_eq!(
            (answer.status, answer.element("Code").as_deref()),
            (400, Some(*code)),
            "{action} {form}: {}",
            answer.text()
        );
    }
    let after = serde_json::to_string(&fake.resources()).expect("JSON");
    assert_eq!(before, after);
}

/// What is between each `<name>` and its end.
pub(crate) fn all(answer: &Answer, name: &str) -> Vec<String> {
    let text = answer.text();
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let parts = text.split(&begin).skip(1);
    parts
        .filter_map(|part| part.split_once(&end))
        .map(|(value, _)| value.to_owned())
        .collect()
}

/// The pages of a list, as the elements of that name on each.
pub(crate) fn pages(fake: &FakeAws, action: &str, name: &str) -> Vec<Vec<String>> {
    let (mut pages, mut more) = (Vec::new(), String::new());
    loop {
        let answer = ok(fake, action, &format!("MaxResults=5{more}"));
        pages.push(all(&answer, name));
        match answer.element("nextToken") {
            Some(next) => more = format!("&NextToken={}", encoded(&next)),
            None => return pages,
        }
    }
}

/// What RegisterImage needs besides a name, for a snapshot.
pub(crate) fn of_snapshot(snapshot: &str) -> String {
    format!(
        "Architecture=x86_64&VirtualizationType=hvm&EnaSupport=true&RootDeviceName=/dev/sda1&\
         BlockDeviceMapping.1.DeviceName=/dev/sda1&BlockDeviceMapping.1.Ebs.SnapshotId={snapshot}"
    )
}

/// An image of an empty snapshot; `more` is added to the request.
#[track_caller]
pub(crate) fn image(fake: &FakeAws, name: &str, more: &str) -> String {
    let snapshot = completed(fake, None, &[]);
    let form = format!("Name={name}&{}&{more}", of_snapshot(&snapshot));
    ok(fake, "RegisterImage", &form)
        .element("imageId")
        .expect("an id")
}

/// RunInstances of an m5.large; `more` is added to the request.
pub(crate) fn try_run(fake: &FakeAws, image: &str, more: &str) -> Answer {
    let form = format!("ImageId={image}&InstanceType=m5.large&MinCount=1&MaxCount=1&{more}");
    ec2(fake, "RunInstances", &form)
}

/// The same when it must succeed; the instance's id.
#[track_caller]
pub(crate) fn run(fake: &FakeAws, image: &str, more: &str) -> String {
    let answer = try_run(fake, image, more);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.element("instanceId").expect("an id")
}

/// The instance as the fake sees it.
#[track_caller]
pub(crate) fn instance(fake: &FakeAws, id: &str) -> Instance {
    let mut all = fake.resources().instances.into_iter();
    all.find(|instance| instance.id == id).expect("an instance")
}

/// Waits until it stands there.
#[track_caller]
pub(crate) fn until(fake: &FakeAws, id: &str, state: InstanceState) {
    eventually(|| (instance(fake, id).state == state).then_some(()));
}

/// Terminates it, and waits until it is.
#[track_caller]
pub(crate) fn terminate(fake: &FakeAws, id: &str) {
    ok(fake, "TerminateInstances", &format!("InstanceId.1={id}"));
    until(fake, id, InstanceState::Terminated);
}
