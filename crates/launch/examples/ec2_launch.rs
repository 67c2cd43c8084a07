//! Launches a target of a snapshot and a blueprint, without a project: by it `scripts/lab moto` has
//! requests parsed by somebody else's reading of the API.
//!
//! usage: `ec2_launch BLUEPRINT SNAPSHOT GIB`; where EC2 is, and who asks, is in the environment of AWS.
//! Prints the instance and its image, which the tags call launch 1 of the project `lab`.

use launch::blueprint::{Blueprint, SourceFacts, SourceFirmware};
use launch::document;
use launch::ec2::{Ec2, Event, Kind, Level, Limits, NewTarget, TargetDisk};
use launch::instances::{Architecture, Table};
use ondisk::Interrupt;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [blueprint, snapshot, gib] = arguments.as_slice() else {
        return Err("usage: ec2_launch BLUEPRINT SNAPSHOT GIB".into());
    };
    let document = document::load::<Blueprint>(Path::new(blueprint))?;
    let blueprint = document.value();
    let source = SourceFacts {
        architecture: Some(Architecture::X86_64),
        firmware: SourceFirmware {
            bios: true,
            uefi: true,
        },
        ..SourceFacts::default()
    };
    let disks = [TargetDisk {
        number: 0,
        name: "sda",
        snapshot,
        size_gib: gib.parse()?,
        root: true,
    }];
    let new = NewTarget {
        project: "lab",
        machine: &blueprint.metadata.machine,
        kind: Kind::Test,
        launch: 1,
        blueprint,
        source: &source,
        types: Table::built_in(),
        disks: &disks,
    };
    let limits = Limits {
        operation: Duration::from_secs(20),
        poll: Duration::from_millis(200),
        running: Duration::from_secs(30),
        ..Limits::default()
    };
    let ec2 = Ec2::new(aws::Connection::open(&aws::Config::default())?, &limits);
    let interrupt = Interrupt::default();
    for finding in ec2.dry_run(&new, &interrupt)? {
        let level = match finding.level {
            Level::Good => "good",
            Level::Hint => "hint",
            Level::Problem => "problem",
        };
        eprintln!("{level}: {}: {}", finding.subject, finding.message);
    }
    let mut tell = |event: Event| eprintln!("{event}");
    let target = ec2.launch(&new, &mut tell, &interrupt)?;
    println!("{} {}", target.instance, target.image);
    Ok(())
}
