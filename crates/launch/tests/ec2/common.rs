//! A fake of AWS, a connection to it, and targets to launch there.

use fake_aws::{FakeAws, Signatures};
use launch::blueprint::{Blueprint, SourceFacts, SourceFirmware};
use launch::ec2::{Ec2, Error, Event, Found, Kind, Limits, NewTarget, Target, TargetDisk};
use launch::instances::{Architecture, Table};
use ondisk::Interrupt;
use std::time::Duration;

pub(crate) const KEY: &str = "AKIAREHOSTTESTKEY";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI-a-secret-that-nobody-may-see";
pub(crate) const TOKEN: &str = "a-session-token-that-nobody-may-see";

pub(crate) const SUBNET: &str = "subnet-0000000000000000a";
pub(crate) const WEB: &str = "sg-0000000000000000b";

/// A fake that checks signatures in full.
pub(crate) fn fake() -> FakeAws {
    let credentials = fake_aws::Credentials {
        access_key: KEY.to_owned(),
        secret_key: SECRET.to_owned(),
        session_token: Some(TOKEN.to_owned()),
    };
    FakeAws::start(fake_aws::Config {
        signatures: Signatures::Verify(vec![credentials]),
        ..fake_aws::Config::default()
    })
    .unwrap()
}

/// Limits that a test can wait for.
pub(crate) fn limits() -> Limits {
    Limits {
        operation: Duration::from_secs(10),
        settled: Duration::from_secs(2),
        poll: Duration::from_millis(10),
        image: Duration::from_secs(5),
        running: Duration::from_secs(5),
        status_ok: Duration::from_secs(5),
        impaired: Duration::from_millis(200),
        stopped: Duration::from_secs(5),
        terminated: Duration::from_secs(5),
        ..Limits::default()
    }
}

pub(crate) fn connect(fake: &FakeAws, limits: &Limits) -> Ec2 {
    let config = aws::Config {
        region: Some("us-east-1".to_owned()),
        endpoint_url: Some(fake.endpoint()),
        credentials: Some(aws::Credentials {
            access_key_id: KEY.to_owned(),
            secret_access_key: SECRET.to_owned(),
            session_token: Some(TOKEN.to_owned()),
        }),
        ..aws::Config::default()
    };
    Ec2::new(aws::Connection::open(&config).unwrap(), limits)
}

/// A machine whose target is launched.
pub(crate) struct Machine {
    pub(crate) project: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) launch: u32,
    pub(crate) blueprint: Blueprint,
    pub(crate) source: SourceFacts,
    /// Name, snapshot, GiB, and whether it is booted from.
    pub(crate) disks: Vec<(&'static str, String, u32, bool)>,
}

/// Fields of a blueprint besides machine, region and type.
pub(crate) const PLAIN: &str = "network:
  interfaces:
  - {subnetId: subnet-0000000000000000a}
";

/// The same with an address.
pub(crate) const FIXED: &str = "network:
  interfaces:
  - {subnetId: subnet-0000000000000000a, privateIps: [10.0.1.20]}
";

impl Machine {
    /// One disk of 8 GiB, which boots with a PC BIOS and with UEFI.
    pub(crate) fn new(fake: &FakeAws, fields: &str) -> Self {
        Self::with_disks(fake, fields, &[("sda", 8, true)])
    }

    pub(crate) fn with_disks(
        fake: &FakeAws,
        fields: &str,
        disks: &[(&'static str, u32, bool)],
    ) -> Self {
        let snapshot = |size: u32| {
            fake.seed_snapshot(fake_aws::Seed {
                volume_size: size,
                tags: [("rehost:tool".to_owned(), "rehost".to_owned())].into(),
                ..fake_aws::Seed::default()
            })
            .unwrap()
        };
        let disks = disks.iter();
        Self {
            project: "p",
            name: "web1",
            kind: Kind::Test,
            launch: 1,
            blueprint: blueprint(fields),
            source: source(true, true, Architecture::X86_64),
            disks: disks
                .map(|(name, size, root)| (*name, snapshot(*size), *size, *root))
                .collect(),
        }
    }

    /// Does something with the target.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&NewTarget<'_>) -> T) -> T {
        let disks: Vec<TargetDisk<'_>> = self
            .disks
            .iter()
            .enumerate()
            .map(|(number, (name, snapshot, size_gib, root))| TargetDisk {
                number,
                name,
                snapshot,
                size_gib: *size_gib,
                root: *root,
            })
            .collect();
        act(&NewTarget {
            project: self.project,
            machine: self.name,
            kind: self.kind,
            launch: self.launch,
            blueprint: &self.blueprint,
            source: &self.source,
            types: Table::built_in(),
            disks: &disks,
        })
    }

    pub(crate) fn launch(&self, ec2: &Ec2) -> Result<Target, Error> {
        self.launch_told(ec2, &mut |_| {})
    }

    pub(crate) fn launch_told(
        &self,
        ec2: &Ec2,
        events: &mut dyn FnMut(Event),
    ) -> Result<Target, Error> {
        self.with(|new| ec2.launch(new, events, &Interrupt::default()))
    }

    pub(crate) fn find(&self, ec2: &Ec2) -> Found {
        let interrupt = Interrupt::default();
        ec2.find(self.project, Some(self.name), &interrupt).unwrap()
    }

    pub(crate) fn remove(&self, ec2: &Ec2) -> Result<(), Error> {
        let found = self.find(ec2);
        let options = launch::ec2::RemoveOptions::default();
        ec2.remove(&found.there, options, &mut |_| {}, &Interrupt::default())
    }
}

pub(crate) fn source(bios: bool, uefi: bool, architecture: Architecture) -> SourceFacts {
    SourceFacts {
        architecture: Some(architecture),
        firmware: SourceFirmware { bios, uefi },
        ..SourceFacts::default()
    }
}

/// A blueprint with these fields besides.
pub(crate) fn blueprint(fields: &str) -> Blueprint {
    let kind = if fields.contains("instance:") {
        ""
    } else {
        "instance: {type: m6i.large}\n"
    };
    let text = format!("metadata: {{machine: web1}}\nregion: us-east-1\n{kind}{fields}");
    let document = launch::document::read::<Blueprint>(&text).unwrap();
    document.value().clone()
}

/// The SDK's client, for what belongs to others.
pub(crate) fn others(fake: &FakeAws) -> (aws::Connection, aws_sdk_ec2::Client) {
    let config = aws::Config {
        region: Some("us-east-1".to_owned()),
        endpoint_url: Some(fake.endpoint()),
        credentials: Some(aws::Credentials {
            access_key_id: KEY.to_owned(),
            secret_access_key: SECRET.to_owned(),
            session_token: Some(TOKEN.to_owned()),
        }),
        ..aws::Config::default()
    };
    let connection = aws::Connection::open(&config).unwrap();
    let client = aws_sdk_ec2::Client::new(connection.sdk());
    (connection, client)
}

/// An Elastic IP address of somebody's.
pub(crate) fn allocate(fake: &FakeAws) -> String {
    let (connection, client) = others(fake);
    let call = client.allocate_address().domain("vpc".into()).send();
    let answer = connection.handle().block_on(call).unwrap();
    answer.allocation_id().unwrap().to_owned()
}

/// An interface of somebody's.
pub(crate) fn interface(fake: &FakeAws) -> String {
    let (connection, client) = others(fake);
    let call = client.create_network_interface().subnet_id(SUBNET).send();
    let answer = connection.handle().block_on(call).unwrap();
    let interface = answer.network_interface().unwrap();
    interface.network_interface_id().unwrap().to_owned()
}

/// Takes away our tags.
pub(crate) fn untag(fake: &FakeAws, id: &str) {
    let (connection, client) = others(fake);
    let call = client.delete_tags().resources(id).send();
    connection.handle().block_on(call).unwrap();
}
