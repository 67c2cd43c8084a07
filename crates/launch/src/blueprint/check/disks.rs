//! The disks: EC2's limits of 2026 for each volume type.

use super::Checker;
use super::arn::{Arn, partition_of};
use crate::blueprint::{Disk, Role, VolumeType};
use crate::instances::Hypervisor;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What a partition table of the MBR kind reaches, in GiB: 2 TiB less what EC2 keeps.
const MBR_GIB: u32 = 2047;
/// What an instance that is not Nitro gives to a volume.
const XEN_IOPS: u32 = 32_000;
/// What gp3 has without being asked.
const GP3_IOPS: u32 = 3000;
/// Above this AWS supports Linux "on a best effort basis" only (EBS volume limits).
const MANY: usize = 40;

/// The limits of a volume type.
struct Limits {
    gib: RangeInclusive<u32>,
    iops: Option<RangeInclusive<u32>>,
    /// The most IOPS for each GiB.
    iops_per_gib: u32,
    iops_required: bool,
    throughput: Option<RangeInclusive<u32>>,
    boots: bool,
}

fn limits(volume_type: VolumeType) -> Limits {
    let plain = |gib| Limits {
        gib,
        iops: None,
        iops_per_gib: 0,
        iops_required: false,
        throughput: None,
        boots: true,
    };
    match volume_type {
        VolumeType::Gp3 => Limits {
            iops: Some(3000..=80_000),
            iops_per_gib: 500,
            throughput: Some(125..=2000),
            ..plain(1..=65_536)
        },
        VolumeType::Gp2 => plain(1..=16_384),
        VolumeType::Io1 => Limits {
            iops: Some(100..=64_000),
            iops_per_gib: 50,
            iops_required: true,
            ..plain(4..=16_384)
        },
        VolumeType::Io2 => Limits {
            iops: Some(100..=256_000),
            iops_per_gib: 1000,
            iops_required: true,
            ..plain(4..=65_536)
        },
        VolumeType::St1 | VolumeType::Sc1 => Limits {
            boots: false,
            ..plain(125..=16_384)
        },
        VolumeType::Standard => plain(1..=1024),
    }
}

fn outside(range: &RangeInclusive<u32>) -> String {
    format!("write {} to {}", range.start(), range.end())
}

impl Checker<'_> {
    pub(super) fn disks(&mut self) {
        self.roles();
        self.sources();
        self.count();
        let root = self.blueprint.root_disk();
        for (at, disk) in self.blueprint.disks.iter().enumerate() {
            let path = format!("disks[{at}]");
            self.size(at, disk, &path);
            self.performance(at, disk, &path);
            self.encryption(disk, &path);
            if Some(at) == root && !limits(disk.volume_type()).boots {
                self.error(
                    format!("{path}.type"),
                    "volume-type-of-root",
                    format!("{} cannot be booted from", disk.volume_type().name()),
                    "write gp3",
                );
            }
        }
    }

    fn roles(&mut self) {
        let disks = &self.blueprint.disks;
        let mut roots = disks
            .iter()
            .enumerate()
            .filter(|(_, disk)| disk.role == Some(Role::Root))
            .map(|(at, _)| at);
        let first = roots.next();
        for again in roots {
            self.error(
                format!("disks[{again}].role"),
                "root-disk-twice",
                format!("disks[{}] is the root already", first.unwrap_or_default()),
                "write data",
            );
        }
        if !disks.is_empty() && self.blueprint.root_disk().is_none() {
            self.error(
                "disks",
                "root-disk-missing",
                "every disk is said to hold data, so nothing boots",
                "write `role: root` at the one with the system",
            );
        }
        let found = self.source.and_then(|source| {
            let root = source.disks.iter().position(|disk| disk.root)?;
            Some((root, source.disks.len()))
        });
        if let (Some((found, count)), Some(said)) = (found, self.blueprint.root_disk())
            && found != said
            && count == disks.len()
        {
            self.error(
                format!("disks[{said}].role"),
                "root-disk-of-source",
                format!("the system is on disks[{found}]"),
                format!("write `role: root` at disks[{found}]"),
            );
        }
    }

    fn sources(&mut self) {
        let disks = &self.blueprint.disks;
        let named = disks.iter().filter(|disk| disk.source.is_some()).count();
        let mut seen = BTreeMap::new();
        for (at, disk) in disks.iter().enumerate() {
            let path = format!("disks[{at}].source");
            match &disk.source {
                None if named > 0 => self.error(
                    path,
                    "disk-source-missing",
                    "other disks name their source, this one does not",
                    "add `source:`, or remove it from all",
                ),
                None => {}
                Some(source) => {
                    if let Some(first) = seen.insert(source, at) {
                        self.error(
                            path,
                            "disk-source-twice",
                            format!("disks[{first}] is made of it already"),
                            "name another image, or remove one of the disks",
                        );
                    }
                }
            }
        }
    }

    fn count(&mut self) {
        let count = self.blueprint.disks.len();
        if let Some(source) = self.source {
            let found = source.disks.len();
            let message = format!("the source has {found} disks, and {count} are described");
            if count > found {
                let path = format!("disks[{found}]");
                self.error(path, "disk-count", message, "remove what is too many");
            } else if count < found && count > 0 {
                let fix = "add `- {}` for each of the others";
                self.warn("disks", "disk-count", message, fix);
            }
        }
        if count > MANY {
            self.warn(
                "disks",
                "disks-many",
                format!("AWS promises nothing for Linux with more than {MANY} volumes"),
                "join volumes into fewer, or test how it boots",
            );
        }
        let Some(one) = self.instance_type else {
            return;
        };
        let interfaces = self.blueprint.network.interfaces.len().max(1);
        let most = one.volumes_beside(u32::try_from(interfaces).unwrap_or(u32::MAX));
        if usize::try_from(most).is_ok_and(|most| count > most) {
            self.error(
                format!("disks[{most}]"),
                "disks-of-type",
                format!(
                    "{} has room for {most} volumes beside {interfaces} interfaces",
                    one.name
                ),
                "choose a larger type, or have fewer disks",
            );
        }
    }

    /// The size in GiB, where it is said or known from the source.
    fn gib(&self, at: usize, disk: &Disk) -> Option<u32> {
        let of_source = || {
            let source = self.source?.disks.get(at)?;
            u32::try_from(source.size_gib()).ok()
        };
        disk.size_gib.or_else(of_source)
    }

    fn size(&mut self, at: usize, disk: &Disk, path: &str) {
        let volume_type = disk.volume_type();
        let limits = limits(volume_type);
        let field = format!("{path}.sizeGiB");
        if let Some(gib) = self.gib(at, disk).filter(|gib| !limits.gib.contains(gib)) {
            self.error(
                field.clone(),
                "disk-size-of-type",
                format!("{gib} GiB is no size of {}", volume_type.name()),
                format!("{}, or choose another type", outside(&limits.gib)),
            );
        }
        let source = self.source.and_then(|source| source.disks.get(at));
        if let (Some(gib), Some(source)) = (disk.size_gib, source)
            && u64::from(gib) < source.size_gib()
        {
            self.error(
                field.clone(),
                "disk-smaller-than-source",
                format!("{} has {} GiB", source.name, source.size_gib()),
                format!("write {} or more, or remove sizeGiB", source.size_gib()),
            );
        }
        let is_mbr_root = source.is_some_and(|source| source.mbr && source.root);
        if is_mbr_root && self.gib(at, disk).is_some_and(|gib| gib > MBR_GIB) {
            self.error(
                field,
                "disk-size-of-mbr",
                "the partition table of the root disk is an MBR, which ends at 2 TiB",
                format!("write {MBR_GIB} or less, or make its table a GPT before"),
            );
        }
    }

    fn performance(&mut self, at: usize, disk: &Disk, path: &str) {
        let volume_type = disk.volume_type();
        let (name, limits) = (volume_type.name(), limits(volume_type));
        let field = format!("{path}.iops");
        match (disk.iops, &limits.iops) {
            (Some(_), None) => self.error(
                field.clone(),
                "iops-of-type",
                format!("{name} takes no IOPS"),
                "remove iops, or write `type: gp3`",
            ),
            (None, Some(_)) if limits.iops_required => self.error(
                path,
                "iops-missing",
                format!("{name} needs IOPS"),
                "add `iops: 3000`, or write `type: gp3`",
            ),
            (Some(iops), Some(range)) if !range.contains(&iops) => self.error(
                field.clone(),
                "iops-range",
                format!("{name} cannot have {iops} IOPS"),
                outside(range),
            ),
            _ => {}
        }
        let per_gib = |gib: u32| gib.saturating_mul(limits.iops_per_gib);
        if let (Some(iops), Some(gib)) = (disk.iops, self.gib(at, disk))
            && limits.iops.is_some()
            && iops > per_gib(gib)
            && !(volume_type == VolumeType::Gp3 && iops <= GP3_IOPS)
        {
            let (most, least_gib) = (per_gib(gib), iops.div_ceil(limits.iops_per_gib.max(1)));
            self.error(
                field.clone(),
                "iops-per-gib",
                format!("{name} has at most {most} IOPS with {gib} GiB"),
                format!("write {most} or less, or `sizeGiB: {least_gib}`"),
            );
        }
        let is_xen = self
            .instance_type
            .is_some_and(|one| one.hypervisor == Hypervisor::Xen);
        if is_xen && disk.iops.is_some_and(|iops| iops > XEN_IOPS) {
            self.error(
                field,
                "iops-of-instance",
                format!("only Nitro instances have more than {XEN_IOPS} IOPS for a volume"),
                format!("write {XEN_IOPS} or less, or choose a Nitro type"),
            );
        }
        self.throughput(disk, &limits, path);
    }

    fn throughput(&mut self, disk: &Disk, limits: &Limits, path: &str) {
        let Some(throughput) = disk.throughput else {
            return;
        };
        let field = format!("{path}.throughput");
        let name = disk.volume_type().name();
        let Some(range) = &limits.throughput else {
            self.error(
                field,
                "throughput-of-type",
                format!("the throughput of {name} cannot be chosen"),
                "remove throughput, or write `type: gp3`",
            );
            return;
        };
        let iops = disk.iops.unwrap_or(GP3_IOPS);
        if !range.contains(&throughput) {
            self.error(
                field,
                "throughput-range",
                format!("{name} cannot have {throughput} MiB/s"),
                outside(range),
            );
        } else if throughput > iops / 4 {
            self.error(
                field,
                "throughput-per-iops",
                format!("{iops} IOPS allow {} MiB/s", iops / 4),
                format!("write that, or `iops: {}`", throughput.saturating_mul(4)),
            );
        }
    }

    fn encryption(&mut self, disk: &Disk, path: &str) {
        let Some(key) = disk.kms_key_id.as_deref() else {
            return;
        };
        if disk.encrypted == Some(false) {
            self.error(
                format!("{path}.encrypted"),
                "kms-key-unencrypted",
                "a key is named, but the disk is not to be encrypted",
                "write true, or remove kmsKeyId",
            );
        }
        let field = format!("{path}.kmsKeyId");
        let hex_and_dashes = |text: &str| {
            let fits = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
            text.bytes().all(fits) && text.len() >= 32
        };
        let is_name = key.starts_with("alias/") || key.starts_with("mrk-") || hex_and_dashes(key);
        let arn = Arn::parse(key).filter(|arn| {
            let of_key = arn.resource.starts_with("key/") || arn.resource.starts_with("alias/");
            arn.service == "kms" && arn.has_account() && of_key
        });
        match (arn, self.blueprint.region.as_deref()) {
            (None, _) if !is_name => self.error(
                field,
                "kms-key-form",
                format!("{key:?} is no key of KMS"),
                "write its id, alias/NAME, or arn:aws:kms:REGION:ACCOUNT:key/ID",
            ),
            (Some(arn), Some(region))
                if arn.region != region || arn.partition != partition_of(region) =>
            {
                self.error(
                    field,
                    "kms-key-of-other-region",
                    format!("the key is in {}, the disk in {region}", arn.region),
                    format!("name a key in {region}"),
                );
            }
            _ => {}
        }
    }
}
