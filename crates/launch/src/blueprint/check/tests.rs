//! A broken blueprint for each rule.

use super::*;
use crate::blueprint::{SourceDisk, SourceFirmware};
use crate::document::{Severity, read};
use crate::instances::Architecture;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// A text before which stands what every blueprint has, in line 1.
fn text(rest: &str) -> String {
    format!("metadata: {{machine: web1}}\n{rest}\n")
}

fn check(text: &str, source: Option<&SourceFacts>) -> Vec<Problem> {
    let context = Context {
        source,
        ..Context::default()
    };
    match read::<Blueprint>(text) {
        Ok(document) => Blueprint::check(&document, &context),
        Err(problems) => problems,
    }
}

fn disk(gib: u64, root: bool) -> SourceDisk {
    SourceDisk {
        name: "web1.vmdk".to_owned(),
        size: (gib << 30) - 512,
        mbr: true,
        root,
    }
}

/// A machine of one disk with an MBR that a BIOS boots.
fn bios() -> SourceFacts {
    SourceFacts {
        architecture: Some(Architecture::X86_64),
        firmware: SourceFirmware {
            bios: true,
            uefi: false,
        },
        disks: vec![disk(20, true)],
        vcpus: Some(4),
        memory_mib: Some(16_384),
        addresses: Vec::new(),
    }
}

const NITRO: &str = "instance: {type: m7i.large}\n";

/// What is wrong (without `metadata`), the rule, the field, and its line.
const BROKEN: &[(&str, &str, &str, usize)] = &[
    // What is wrong with a field alone.
    ("flavour: large", "unknown-field", "flavour", 2),
    ("Region: eu-west-1", "unknown-field", "Region", 2),
    ("postLaunch: []", "unknown-field", "postLaunch", 2),
    ("boot: {mode: bios}", "not-in-enum", "boot.mode", 2),
    ("apiVersion: rehost/v2", "not-in-enum", "apiVersion", 2),
    ("kind: Project", "not-in-enum", "kind", 2),
    ("region: Frankfurt", "pattern", "region", 2),
    (
        "region: eu-west-1\navailabilityZone: a",
        "pattern",
        "availabilityZone",
        3,
    ),
    ("disks:\n- {type: gp4}", "not-in-enum", "disks[0].type", 3),
    (
        "disks:\n- {sizeGiB: '20'}",
        "wrong-type",
        "disks[0].sizeGiB",
        3,
    ),
    (
        "disks:\n- {sizeGiB: 0}",
        "out-of-range",
        "disks[0].sizeGiB",
        3,
    ),
    (
        "disks:\n- {sizeGiB: 70000}",
        "out-of-range",
        "disks[0].sizeGiB",
        3,
    ),
    (
        "disks:\n- {volumeInitializationRate: 50}",
        "out-of-range",
        "disks[0].volumeInitializationRate",
        3,
    ),
    (
        "instance: {type: {minVcpu: 2}}",
        "missing-field",
        "instance.type.minMemMiB",
        2,
    ),
    (
        "instance: {type: [m7i.large]}",
        "wrong-type",
        "instance.type",
        2,
    ),
    (
        "instance: {tenancy: shared}",
        "not-in-enum",
        "instance.tenancy",
        2,
    ),
    ("instance: {hostId: i-1}", "pattern", "instance.hostId", 2),
    (
        "instance: {type: m7i.large, placementGroup: {name: a, partition: 8}}",
        "out-of-range",
        "instance.placementGroup.partition",
        2,
    ),
    (
        "network:\n  interfaces:\n  - {subnetId: vpc-0123456789abcdef0}",
        "pattern",
        "network.interfaces[0].subnetId",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {securityGroupIds: [web]}",
        "pattern",
        "network.interfaces[0].securityGroupIds[0]",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {privateIps: [10.0.0.256]}",
        "pattern",
        "network.interfaces[0].privateIps[0]",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {publicIp: true}",
        "not-in-enum",
        "network.interfaces[0].publicIp",
        4,
    ),
    (
        "metadataOptions: {hopLimit: 65}",
        "out-of-range",
        "metadataOptions.hopLimit",
        2,
    ),
    (
        "metadataOptions: {hopLimit: 0}",
        "out-of-range",
        "metadataOptions.hopLimit",
        2,
    ),
    (
        "tags: {cost-centre: 4711}",
        "wrong-type",
        "tags.cost-centre",
        2,
    ),
    (
        "upload: {timeoutMinutes: 5}",
        "out-of-range",
        "upload.timeoutMinutes",
        2,
    ),
    (
        "upload: {maxRequestsPerSecond: 2000}",
        "out-of-range",
        "upload.maxRequestsPerSecond",
        2,
    ),
    ("launch: {wait: forever}", "not-in-enum", "launch.wait", 2),
    // Where the target is.
    ("region: eu-wets-1", "region-unknown", "region", 2),
    (
        "availabilityZone: us-west-2-lax-1a",
        "zone-without-region",
        "availabilityZone",
        2,
    ),
    (
        "region: eu-west-1\navailabilityZone: eu-west-2a",
        "zone-of-other-region",
        "availabilityZone",
        3,
    ),
    // The hardware.
    (
        "instance: {tenancy: default}",
        "instance-type-missing",
        "instance.type",
        2,
    ),
    (
        "instance: {type: m7i.lage}",
        "instance-type-unknown",
        "instance.type",
        2,
    ),
    (
        "instance: {type: {minVcpu: 4000, minMemMiB: 1}}",
        "instance-type-too-large",
        "instance.type",
        2,
    ),
    (
        "instance: {type: copy-origin}",
        "copy-origin-unknown",
        "instance.type",
        2,
    ),
    (
        "instance: {type: mac2.metal}",
        "architecture",
        "instance.type",
        2,
    ),
    (
        "instance: {type: m7i.large, hostId: h-0123456789abcdef0}",
        "host-needs-tenancy",
        "instance.hostId",
        2,
    ),
    (
        "instance: {type: t2.micro, tenancy: host}",
        "host-of-type",
        "instance.tenancy",
        2,
    ),
    (
        "instance: {type: m7i.large, tenancy: host, placementGroup: {name: a}}",
        "placement-on-host",
        "instance.placementGroup",
        2,
    ),
    (
        "instance: {type: m7i.large, creditSpecification: unlimited}",
        "credits-of-type",
        "instance.creditSpecification",
        2,
    ),
    (
        "instance: {type: c7a.large, cpuOptions: {coreCount: 3, threadsPerCore: 1}}",
        "cpu-options-of-type",
        "instance.cpuOptions.coreCount",
        2,
    ),
    (
        "instance: {type: t2.micro, cpuOptions: {coreCount: 1, threadsPerCore: 1}}",
        "cpu-options-of-type",
        "instance.cpuOptions",
        2,
    ),
    (
        "instance: {type: m7i.large}\nconversion: {target: xen}",
        "conversion-target-of-type",
        "conversion.target",
        3,
    ),
    (
        "instance: {type: m7i.large}\nboot: {enaSupport: false}",
        "ena-of-type",
        "boot.enaSupport",
        3,
    ),
    (
        "instance: {type: t2.micro, ebsOptimized: true}",
        "ebs-optimized-of-type",
        "instance.ebsOptimized",
        2,
    ),
    (
        "instance: {type: m7i.large, ebsOptimized: false}",
        "ebs-optimized-of-type",
        "instance.ebsOptimized",
        2,
    ),
    // Firmware.
    (
        "instance: {type: t2.micro}\nboot: {mode: uefi}",
        "boot-mode-of-type",
        "boot.mode",
        3,
    ),
    (
        "instance: {type: m7g.large}\nboot: {mode: legacy-bios}",
        "boot-mode-of-architecture",
        "boot.mode",
        3,
    ),
    (
        "instance: {type: m7g.large}\nboot: {mode: uefi-preferred}",
        "boot-mode-of-architecture",
        "boot.mode",
        3,
    ),
    (
        "instance: {type: m7i.large}\nboot: {mode: uefi-preferred, tpm: v2.0}",
        "tpm-needs-uefi",
        "boot.tpm",
        3,
    ),
    (
        "instance: {type: m5.large}\nboot: {mode: uefi, uefiData: '*'}",
        "uefi-data-form",
        "boot.uefiData",
        3,
    ),
    (
        "instance: {type: m5.large}\nboot: {mode: legacy-bios, uefiData: QU1a}",
        "uefi-data-without-uefi",
        "boot.uefiData",
        3,
    ),
    (
        "instance: {type: m7i.large}\nboot: {rootDeviceName: /dev/sdf}",
        "root-device-name",
        "boot.rootDeviceName",
        3,
    ),
    (
        "instance: {type: m7i.large}\nboot: {rootDeviceName: /dev/xvda}\ndisks: [{deviceName: /dev/sda1}]",
        "root-device-name-differs",
        "boot.rootDeviceName",
        3,
    ),
    (
        "instance: {type: m7i.large}\nboot: {imdsSupport: v2.0}\nmetadataOptions: {httpTokens: optional}",
        "imds-contradiction",
        "boot.imdsSupport",
        3,
    ),
    (
        "instance: {type: m7i.large}\nboot: {sriovNetSupport: simple}",
        "sriov-of-type",
        "boot.sriovNetSupport",
        3,
    ),
    // Disks.
    (
        "disks:\n- {role: root}\n- {role: root}",
        "root-disk-twice",
        "disks[1].role",
        4,
    ),
    ("disks:\n- {role: data}", "root-disk-missing", "disks", 2),
    (
        "disks:\n- {source: a}\n- {type: gp3}",
        "disk-source-missing",
        "disks[1].source",
        4,
    ),
    (
        "disks:\n- {source: a}\n- {source: a}",
        "disk-source-twice",
        "disks[1].source",
        4,
    ),
    (
        "disks:\n- {type: gp2, sizeGiB: 16385}",
        "disk-size-of-type",
        "disks[0].sizeGiB",
        3,
    ),
    (
        "disks:\n- {}\n- {type: st1, sizeGiB: 100}",
        "disk-size-of-type",
        "disks[1].sizeGiB",
        4,
    ),
    (
        "disks:\n- {type: standard, sizeGiB: 1025}",
        "disk-size-of-type",
        "disks[0].sizeGiB",
        3,
    ),
    (
        "disks:\n- {type: sc1, sizeGiB: 200}",
        "volume-type-of-root",
        "disks[0].type",
        3,
    ),
    (
        "disks:\n- {type: gp2, iops: 3000}",
        "iops-of-type",
        "disks[0].iops",
        3,
    ),
    (
        "disks:\n- {type: io2, sizeGiB: 10}",
        "iops-missing",
        "disks[0]",
        3,
    ),
    ("disks:\n- {iops: 2999}", "iops-range", "disks[0].iops", 3),
    ("disks:\n- {iops: 80001}", "iops-range", "disks[0].iops", 3),
    (
        "disks:\n- {iops: 3500, sizeGiB: 6}",
        "iops-per-gib",
        "disks[0].iops",
        3,
    ),
    (
        "disks:\n- {type: io1, iops: 501, sizeGiB: 10}",
        "iops-per-gib",
        "disks[0].iops",
        3,
    ),
    (
        "instance: {type: t2.large}\ndisks:\n- {type: io1, iops: 40000, sizeGiB: 1000}",
        "iops-of-instance",
        "disks[0].iops",
        4,
    ),
    (
        "disks:\n- {type: io2, iops: 500, throughput: 500}",
        "throughput-of-type",
        "disks[0].throughput",
        3,
    ),
    (
        "disks:\n- {throughput: 100}",
        "throughput-range",
        "disks[0].throughput",
        3,
    ),
    (
        "disks:\n- {throughput: 751}",
        "throughput-per-iops",
        "disks[0].throughput",
        3,
    ),
    (
        "disks:\n- {encrypted: false, kmsKeyId: alias/a}",
        "kms-key-unencrypted",
        "disks[0].encrypted",
        3,
    ),
    (
        "disks:\n- {kmsKeyId: mine}",
        "kms-key-form",
        "disks[0].kmsKeyId",
        3,
    ),
    (
        "region: eu-west-1\ndisks:\n- {kmsKeyId: 'arn:aws:kms:us-east-1:111122223333:key/1'}",
        "kms-key-of-other-region",
        "disks[0].kmsKeyId",
        4,
    ),
    (
        "disks:\n- {}\n- {deviceName: /dev/sdf1}",
        "device-name",
        "disks[1].deviceName",
        4,
    ),
    (
        "disks:\n- {}\n- {deviceName: /dev/nvme1n1}",
        "device-name",
        "disks[1].deviceName",
        4,
    ),
    (
        "disks:\n- {}\n- {deviceName: /dev/xvda}",
        "device-name-twice",
        "disks[1].deviceName",
        4,
    ),
    (
        "disks:\n- {deviceName: /dev/sda}",
        "root-device-name",
        "disks[0].deviceName",
        3,
    ),
    (
        "disks:\n- {}\n- {deviceName: /dev/sdb}",
        "device-name-unusual",
        "disks[1].deviceName",
        4,
    ),
    // The network.
    (
        "network:\n  interfaces:\n  - {}\n  - {deviceIndex: 0}",
        "interface-number-twice",
        "network.interfaces[1].deviceIndex",
        5,
    ),
    (
        "network:\n  interfaces:\n  - {deviceIndex: 1}",
        "interface-primary-missing",
        "network.interfaces",
        3,
    ),
    (
        "instance: {type: t3.micro}\nnetwork:\n  interfaces:\n  - {}\n  - {}\n  - {}",
        "interfaces-of-type",
        "network.interfaces[2]",
        7,
    ),
    (
        "instance: {type: t3.micro}\nnetwork:\n  interfaces:\n  - subnetId: subnet-01234567\n    \
         privateIps: [10.0.0.4, 10.0.0.5, 10.0.0.6]",
        "addresses-of-type",
        "network.interfaces[0].privateIps",
        6,
    ),
    (
        "network:\n  interfaces:\n  - {eniId: eni-01234567, subnetId: subnet-01234567}",
        "eni-excludes",
        "network.interfaces[0].subnetId",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {privateIpAction: use-eni}",
        "eni-missing",
        "network.interfaces[0].privateIpAction",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {privateIpAction: create-new, eniId: eni-01234567}",
        "ip-action-with-eni",
        "network.interfaces[0].privateIpAction",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {subnetId: subnet-01234567, privateIpAction: custom}",
        "ip-missing",
        "network.interfaces[0].privateIpAction",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {privateIpAction: create-new, privateIps: [10.0.0.4]}",
        "ip-action-with-ips",
        "network.interfaces[0].privateIps",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {privateIps: [10.0.0.4]}",
        "ip-without-subnet",
        "network.interfaces[0]",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {subnetId: subnet-01234567, privateIps: [127.0.0.1]}",
        "ip-unusable",
        "network.interfaces[0].privateIps[0]",
        4,
    ),
    (
        "network:\n  interfaces:\n  - subnetId: subnet-01234567\n    subnetCidr: 10.0.1.0/24\n    \
         privateIps: [10.0.2.4]",
        "ip-outside-subnet",
        "network.interfaces[0].privateIps[0]",
        6,
    ),
    (
        "network:\n  interfaces:\n  - subnetId: subnet-01234567\n    subnetCidr: 10.0.1.0/24\n    \
         privateIps: [10.0.1.3]",
        "ip-reserved",
        "network.interfaces[0].privateIps[0]",
        6,
    ),
    (
        "network:\n  interfaces:\n  - subnetId: subnet-01234567\n    subnetCidr: 10.0.1.0/24\n    \
         privateIps: [10.0.1.255]",
        "ip-reserved",
        "network.interfaces[0].privateIps[0]",
        6,
    ),
    (
        "network:\n  interfaces:\n  - {subnetId: subnet-01234567, privateIps: [10.0.1.4, 10.0.1.4]}",
        "ip-twice",
        "network.interfaces[0].privateIps[1]",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {subnetCidr: 10.0.1.5/24}",
        "cidr-form",
        "network.interfaces[0].subnetCidr",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {subnetCidr: 10.0.0.0/8}",
        "cidr-size",
        "network.interfaces[0].subnetCidr",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {securityGroupIds: [sg-01234567, sg-01234567]}",
        "security-group-twice",
        "network.interfaces[0].securityGroupIds[1]",
        4,
    ),
    (
        "network:\n  interfaces:\n  - securityGroupIds:\n    - sg-00000001\n    - sg-00000002\n    \
         - sg-00000003\n    - sg-00000004\n    - sg-00000005\n    - sg-00000006",
        "security-groups-many",
        "network.interfaces[0].securityGroupIds",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {publicIp: 'yes'}\n  - {}",
        "public-ip-of-several",
        "network.interfaces[0].publicIp",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {publicIp: 'yes', eipAllocationId: eipalloc-01234567}",
        "public-ip-with-eip",
        "network.interfaces[0].publicIp",
        4,
    ),
    (
        "network:\n  interfaces:\n  - {eniId: eni-01234567}\n  - {eniId: eni-01234567}",
        "network-id-twice",
        "network.interfaces[1].eniId",
        5,
    ),
    // Rights, tags, licenses, launch.
    (
        "iam: {instanceProfile: 'a b'}",
        "instance-profile-form",
        "iam.instanceProfile",
        2,
    ),
    (
        "iam: {instanceProfile: 'arn:aws:iam::111122223333:role/web'}",
        "instance-profile-form",
        "iam.instanceProfile",
        2,
    ),
    (
        "region: cn-north-1\niam: {instanceProfile: 'arn:aws:iam::111122223333:instance-profile/web'}",
        "instance-profile-of-other-partition",
        "iam.instanceProfile",
        3,
    ),
    ("tags:\n  '': a", "tag-key-length", "tags[\"\"]", 3),
    (
        "tags: {'aws:cloud': a}",
        "tag-key-of-aws",
        "tags[\"aws:cloud\"]",
        2,
    ),
    (
        "tags: {'rehost:tool': a}",
        "tag-key-of-rehost",
        "tags[\"rehost:tool\"]",
        2,
    ),
    (
        "tags: {a b: c}\nmetadataOptions: {instanceTags: true}",
        "tag-key-in-metadata",
        "tags[\"a b\"]",
        2,
    ),
    (
        "licensing: {osType: rhel, byol: false}",
        "license-included",
        "licensing.byol",
        2,
    ),
    (
        "licensing: {osType: rhel, usageOperation: 'RunInstances:0010'}",
        "usage-operation",
        "licensing.usageOperation",
        2,
    ),
    (
        "licensing: {osType: windows}",
        "license-windows-tenancy",
        "licensing.osType",
        2,
    ),
    (
        "launch: {disposition: stopped, wait: status-ok}",
        "wait-for-stopped",
        "launch.wait",
        2,
    ),
    (
        "conversion: {skip: [fstab]}",
        "conversion-rule",
        "conversion.skip[0]",
        2,
    ),
];

/// The same against what the source is.
fn broken_by_source() -> Vec<(SourceFacts, &'static str, &'static str, &'static str, usize)> {
    let base = bios;
    vec![
        (
            base(),
            "boot: {mode: uefi}",
            "boot-mode-of-source",
            "boot.mode",
            3,
        ),
        (
            base(),
            "boot: {mode: uefi-preferred}",
            "boot-mode-of-source",
            "boot.mode",
            3,
        ),
        (
            SourceFacts {
                architecture: Some(Architecture::Arm64),
                ..base()
            },
            "",
            "architecture",
            "instance.type",
            2,
        ),
        (
            SourceFacts {
                architecture: None,
                ..base()
            },
            "",
            "architecture-of-guest",
            "metadata.machine",
            1,
        ),
        (
            base(),
            "disks:\n- {sizeGiB: 19}",
            "disk-smaller-than-source",
            "disks[0].sizeGiB",
            4,
        ),
        (
            base(),
            "disks:\n- {sizeGiB: 2048}",
            "disk-size-of-mbr",
            "disks[0].sizeGiB",
            4,
        ),
        (base(), "disks:\n- {}\n- {}", "disk-count", "disks[1]", 5),
        (
            SourceFacts {
                disks: vec![disk(20, true), disk(5, false)],
                ..base()
            },
            "disks:\n- {}",
            "disk-count",
            "disks",
            3,
        ),
        (
            SourceFacts {
                disks: vec![disk(20, false), disk(5, true)],
                ..base()
            },
            "disks:\n- {role: root}\n- {}",
            "root-disk-of-source",
            "disks[0].role",
            4,
        ),
        (
            SourceFacts {
                disks: vec![disk(20, true), disk(20_000, false)],
                ..base()
            },
            "disks:\n- {}\n- {type: gp2}",
            "disk-size-of-type",
            "disks[1]",
            5,
        ),
        (
            base(),
            "network:\n  interfaces:\n  - {subnetId: subnet-01234567, privateIpAction: copy-origin}",
            "copy-origin-address",
            "network.interfaces[0].privateIpAction",
            5,
        ),
    ]
}

/// What is long, and so made.
fn long() -> Vec<(String, &'static str, &'static str, usize)> {
    let tags: String = (0..41).map(|n| format!("  t{n}: a\n")).collect();
    let disks: String = (0..28).map(|_| "- {}\n".to_owned()).collect();
    let many: String = (0..41).map(|_| "- {}\n".to_owned()).collect();
    vec![
        (format!("tags:\n{tags}"), "tag-count", "tags", 2),
        (
            format!("tags: {{{}: a}}", "k".repeat(129)),
            "tag-key-length",
            "tags",
            2,
        ),
        (
            format!("tags: {{a: {}}}", "v".repeat(257)),
            "tag-value-length",
            "tags.a",
            2,
        ),
        (
            format!("launch: {{userData: {}}}", "u".repeat(16_385)),
            "user-data-size",
            "launch.userData",
            2,
        ),
        (
            format!("instance: {{type: m6i.large}}\ndisks:\n{disks}"),
            "disks-of-type",
            "disks[26]",
            30,
        ),
        (format!("disks:\n{many}"), "disks-many", "disks", 2),
    ]
}

#[track_caller]
fn is_refused(problems: &[Problem], rule: &str, path: &str, line: usize, text: &str) {
    let found: Vec<_> = problems.iter().filter(|one| one.rule == rule).collect();
    let [problem] = found.as_slice() else {
        panic!("{rule} is wanted once: {problems:#?}\n{text}");
    };
    assert!(problem.path.starts_with(path), "{problem}, not {path}");
    assert_eq!(problem.line, line, "{problem}\n{text}");
    assert!(
        !problem.fix.is_empty() && !problem.message.is_empty(),
        "{problem}"
    );
    // Messages are read after `file:line:col: path: `.
    assert!(
        !problem.message.ends_with('.') && !problem.fix.ends_with('.'),
        "{problem}"
    );
    let others = problems
        .iter()
        .filter(|one| one.severity == Severity::Error);
    let others: Vec<_> = others.filter(|one| one.rule != rule).collect();
    assert!(
        others.is_empty(),
        "{rule} alone is broken: {others:#?}\n{text}"
    );
}

#[test]
fn every_rule_refuses_its_blueprint_and_says_how_to_mend_it() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for (rest, rule, path, line) in BROKEN {
        is_refused(&check(&text(rest), None), rule, path, *line, rest);
        seen.insert(*rule);
        count += 1;
    }
    for (rest, rule, path, line) in long() {
        is_refused(&check(&text(&rest), None), rule, path, line, &rest);
        seen.insert(rule);
        count += 1;
    }
    for (source, rest, rule, path, line) in broken_by_source() {
        let text = text(&format!("{NITRO}{rest}"));
        is_refused(&check(&text, Some(&source)), rule, path, line, rest);
        seen.insert(rule);
        count += 1;
    }
    assert!(count >= 60, "{count}");
    // Those about several blueprints and about sizes have tests of their own below.
    for elsewhere in [
        "machine-twice",
        "ip-twice-in-project",
        "network-id-twice-in-project",
        "smaller-than-source",
        "tpm-of-type",
    ] {
        seen.insert(elsewhere);
    }
    let untested: Vec<_> = RULES
        .iter()
        .filter(|(rule, _)| !seen.contains(rule))
        .collect();
    assert!(untested.is_empty(), "{untested:?}");
    let structural = [
        "length",
        "missing-field",
        "not-in-enum",
        "out-of-range",
        "pattern",
        "unknown-field",
        "wrong-type",
    ];
    let known =
        |rule: &str| structural.contains(&rule) || RULES.iter().any(|(known, _)| *known == rule);
    let unlisted: Vec<_> = seen.into_iter().filter(|rule| !known(rule)).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
}

#[test]
fn a_type_without_a_tpm_is_refused() {
    let text = text("instance: {type: t2.micro}\nboot: {mode: uefi, tpm: v2.0}");
    let rules: Vec<_> = check(&text, None).into_iter().map(|one| one.rule).collect();
    assert_eq!(rules, ["boot-mode-of-type", "tpm-of-type"]);
}

#[test]
fn a_type_that_is_smaller_than_the_source_is_a_warning() {
    let problems = check(&text(NITRO), Some(&bios()));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].severity, Severity::Warning);
    assert_eq!(problems[0].rule, "smaller-than-source");
    let origin = check(&text("instance: {type: copy-origin}"), Some(&bios()));
    assert_eq!(origin, []);
    let document = read::<Blueprint>(&text("instance: {type: copy-origin}")).unwrap();
    let source = bios();
    let context = Context {
        source: Some(&source),
        ..Context::default()
    };
    let found = document.value().instance_type(&context).unwrap();
    assert_eq!((found.vcpus, found.memory_mib), (4, 16_384));
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_text() {
    let text = text(
        "region: eu-wets-1\ninstance: {type: t2.micro}\nboot: {mode: uefi}\n\
         disks:\n- {type: st1, sizeGiB: 10, iops: 5}\n",
    );
    let told: Vec<_> = check(&text, None)
        .iter()
        .map(|problem| (problem.line, problem.rule))
        .collect();
    assert_eq!(
        told,
        [
            (2, "region-unknown"),
            (4, "boot-mode-of-type"),
            (6, "volume-type-of-root"),
            (6, "disk-size-of-type"),
            (6, "iops-of-type"),
        ]
    );
}

#[test]
fn machines_of_one_project_share_nothing() {
    let blueprint = |machine: &str, interface: &str| {
        let text =
            format!("metadata: {{machine: {machine}}}\nnetwork:\n  interfaces:\n  - {interface}\n");
        read::<Blueprint>(&text).unwrap()
    };
    let a =
        "{subnetId: subnet-0000000a, privateIps: [10.0.0.4], eipAllocationId: eipalloc-00000001}";
    let b = "{subnetId: subnet-0000000b, privateIps: [10.0.0.4]}";
    let documents = [
        blueprint("one", a),
        blueprint("two", a),
        blueprint("one", b),
        blueprint("four", "{eniId: eni-00000001}"),
        blueprint("five", "{eniId: eni-00000001}"),
    ];
    let references: Vec<_> = documents.iter().collect();
    let told: Vec<_> = check_together(&references)
        .into_iter()
        .map(|(at, problem)| (at, problem.rule, problem.line, problem.severity))
        .collect();
    assert_eq!(
        told,
        [
            (1, "ip-twice-in-project", 4, Severity::Error),
            (1, "network-id-twice-in-project", 4, Severity::Error),
            (2, "machine-twice", 1, Severity::Error),
            (2, "ip-twice-in-project", 4, Severity::Warning),
            (4, "network-id-twice-in-project", 4, Severity::Error),
        ]
    );
    assert_eq!(check_together(&references[..1]), []);
}

/// Blueprints that are right, with every field somewhere.
const GOOD: [&str; 5] = [
    include_str!("good/minimal.yaml"),
    include_str!("good/web1.yaml"),
    include_str!("good/database.yaml"),
    include_str!("good/old.yaml"),
    include_str!("good/existing.json"),
];

#[test]
fn good_blueprints_pass_and_survive_being_written() {
    for text in GOOD {
        let document = read::<Blueprint>(text).unwrap();
        assert_eq!(
            Blueprint::check(&document, &Context::default()),
            [],
            "{text}"
        );
        let written = document.value().to_yaml().unwrap();
        let again = read::<Blueprint>(&written).unwrap();
        assert_eq!(again.value(), document.value(), "{written}");
    }
}

#[test]
fn good_blueprints_hold_every_field_of_the_schema() {
    let schema = crate::document::schema::<Blueprint>();
    let mut fields = BTreeSet::new();
    let definitions = schema["$defs"].as_object().unwrap().values();
    for definition in definitions.chain([&schema]) {
        let properties = definition.get("properties").and_then(|map| map.as_object());
        fields.extend(properties.into_iter().flat_map(|map| map.keys().cloned()));
    }
    let all = GOOD.join("\n");
    let missing: Vec<_> = fields
        .iter()
        .filter(|field| {
            !all.contains(&format!("{field}:")) && !all.contains(&format!("\"{field}\""))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_schema_is_read_whole_and_describes_every_field() {
    assert_eq!(
        crate::document::unread_keywords::<Blueprint>(),
        BTreeSet::new()
    );
    let schema = crate::document::schema::<Blueprint>();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let definitions = schema["$defs"].as_object().unwrap().values();
    for definition in definitions.chain([&schema]) {
        let properties = definition.get("properties").and_then(|map| map.as_object());
        for (name, field) in properties.into_iter().flatten() {
            assert!(field["description"].is_string(), "{name}");
        }
    }
}

#[test]
fn addresses_are_copied_in_their_order() {
    let text = text(
        "network:\n  interfaces:\n  - {subnetId: subnet-01234567, privateIpAction: copy-origin}\n  \
         - {}\n  - {subnetId: subnet-01234567, privateIpAction: copy-origin}",
    );
    let blueprint = read::<Blueprint>(&text).unwrap().into_value();
    let (first, second) = (Ipv4Addr::new(10, 0, 0, 4), Ipv4Addr::new(10, 0, 0, 5));
    let source = SourceFacts {
        addresses: vec![first, second],
        ..bios()
    };
    assert_eq!(blueprint.private_ips(0, &source).unwrap(), [first]);
    assert!(blueprint.private_ips(1, &source).unwrap().is_empty());
    assert_eq!(blueprint.private_ips(2, &source).unwrap(), [second]);
}

#[test]
fn disks_get_names_that_are_free() {
    let names = |disks: &str| {
        let text = text(&format!("disks: {disks}"));
        read::<Blueprint>(&text).unwrap().value().device_names()
    };
    assert_eq!(names("[{}, {}, {}]"), ["/dev/sda1", "/dev/sdf", "/dev/sdg"]);
    assert_eq!(
        names("[{role: data}, {deviceName: /dev/xvda}, {deviceName: /dev/sdf}]"),
        ["/dev/sdg", "/dev/xvda", "/dev/sdf"]
    );
    let many = format!("[{}]", "{},".repeat(78));
    let names = names(&many);
    let different: BTreeSet<_> = names.iter().collect();
    assert_eq!(different.len(), 78);
    assert!(!names.iter().any(String::is_empty));
}
