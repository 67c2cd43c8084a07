//! Machines that ran, as raw images: what inspection sees of them, and how long it takes.
//!
//! `REHOST_GUESTS` names a directory of `*.img`; without it the test says so and passes.

#[path = "support/environment.rs"]
mod environment;
mod support;

use environment::directory;
use guest::{Architecture, Content, Guest, Machine, SourceDisk, inspect};
use std::time::Instant;
use support::raw_image;

#[test]
fn machines_that_ran_are_understood() {
    let Some(guests) = directory("REHOST_GUESTS") else {
        return;
    };
    let images = std::fs::read_dir(guests).unwrap();
    let mut images: Vec<_> = images.map(|image| image.unwrap().path()).collect();
    images.retain(|image| {
        image
            .extension()
            .is_some_and(|extension| extension == "img")
    });
    images.sort();
    assert!(!images.is_empty());
    for image in images {
        let started = Instant::now();
        let machine = Machine::open(vec![SourceDisk {
            name: image.display().to_string(),
            device: raw_image(&image),
        }])
        .unwrap();
        let roots = machine.roots().unwrap();
        assert_eq!(roots.len(), 1, "{}", image.display());
        let guest = Guest::open(&machine, &roots[0].volume).unwrap();
        let facts = inspect(&machine, &guest).unwrap();
        let taken = started.elapsed();
        println!(
            "{}: {:.1} ms, {} {:?}, {:?}, {} packages, kernels {:?}, findings {:#?}",
            image.display(),
            taken.as_secs_f64() * 1000.0,
            facts.os.pretty_name,
            facts.os.point_release,
            facts.firmware,
            facts.packages.count,
            facts.kernels,
            facts.findings,
        );
        if std::env::var_os("REHOST_SHOW").is_some() {
            println!("{}", serde_json::to_string_pretty(&facts).unwrap());
        }
        assert_eq!(facts.architecture, Architecture::X86_64);
        assert!(facts.packages.count > 50);
        assert!(facts.packages.has("base-files"));
        assert!(facts.hostname.is_some());
        for kernel in &facts.kernels {
            assert!(kernel.initramfs.is_some(), "{kernel:?}");
            assert!(kernel.modules.is_some(), "{kernel:?}");
            assert!(kernel.config.is_some(), "{kernel:?}");
        }
        assert!(!facts.kernels.is_empty());
        assert!(
            facts.fstab.iter().any(|entry| entry.resolved.is_some()),
            "{:?}",
            facts.fstab
        );
        for volume in &facts.volumes {
            assert!(
                !matches!(volume.content, Content::Unreadable(_)),
                "{volume:?}"
            );
            for name in &volume.device_names {
                assert_eq!(facts.resolve(name), Some(volume.id.clone()), "{name}");
            }
        }
        // Facts are plain data: they come back from JSON as they were.
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<guest::Facts>(&json).unwrap(), facts);
    }
}
