//! The table that is built in.

use super::{Architecture, Hypervisor, InstanceType, Support, Table};
use std::str::SplitAsciiWhitespace;
use std::sync::OnceLock;

const TEXT: &str = include_str!("table.txt");

/// The longest list that a run like `2-64/2` may stand for.
const MAX_RUN: u32 = 1024;

impl Table {
    /// The table that is built in.
    pub fn built_in() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        // A test reads every line; one that could not be read would be missing here.
        TABLE.get_or_init(|| Self::new(lines().filter_map(parse)))
    }
}

fn lines() -> impl Iterator<Item = &'static str> {
    TEXT.lines().filter(|line| !line.starts_with('#'))
}

fn parse(line: &str) -> Option<InstanceType> {
    let mut words = line.split_ascii_whitespace();
    let number = |words: &mut SplitAsciiWhitespace<'_>| words.next()?.parse().ok();
    let name = words.next()?.to_owned();
    let vcpus = number(&mut words)?;
    let memory_mib = words.next()?.parse().ok()?;
    let architectures = words
        .next()?
        .split(',')
        .map(Architecture::named)
        .collect::<Option<_>>()?;
    let hypervisor = match words.next()? {
        "nitro" => Hypervisor::Nitro,
        "xen" => Hypervisor::Xen,
        "metal" => Hypervisor::Metal,
        _ => return None,
    };
    let modes = words.next()?;
    let nvme = support(words.next()?)?;
    let ena = support(words.next()?)?;
    let ebs_optimized = support(words.next()?)?;
    let max_volumes = number(&mut words)?;
    let shares_attachments = words.next()? == "shared";
    let max_interfaces = number(&mut words)?;
    let ipv4_per_interface = number(&mut words)?;
    let ipv6_per_interface = number(&mut words)?;
    let instance_disks = number(&mut words)?;
    let threads = numbers(words.next()?)?;
    let cores = numbers(words.next()?)?;
    let flags = words.next()?;
    Some(InstanceType {
        name,
        vcpus,
        memory_mib,
        architectures,
        hypervisor,
        legacy_bios: modes.contains('b'),
        uefi: modes.contains('u'),
        nvme,
        ena,
        ebs_optimized,
        max_volumes,
        shares_attachments,
        max_interfaces,
        ipv4_per_interface,
        ipv6_per_interface,
        instance_disks,
        threads,
        cores,
        nitro_tpm: flags.contains('t'),
        current: flags.contains('c'),
        burstable: flags.contains('u'),
        dedicated_hosts: flags.contains('h'),
    })
}

impl Architecture {
    /// By the word of EC2's API.
    pub(super) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "i386" => Self::I386,
            "x86_64" => Self::X86_64,
            "arm64" => Self::Arm64,
            "x86_64_mac" | "arm64_mac" => Self::Mac,
            _ => return None,
        })
    }
}

fn support(letter: &str) -> Option<Support> {
    Some(match letter {
        "r" | "d" => Support::Required,
        "s" => Support::Supported,
        "-" => Support::Unsupported,
        _ => return None,
    })
}

/// Numbers as `1,2,4-64/2`, or `-` for none.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    if text == "-" {
        return Some(numbers);
    }
    for part in text.split(',') {
        match part.split_once('-') {
            None => numbers.push(part.parse().ok()?),
            Some((first, rest)) => {
                let (last, step) = rest.split_once('/')?;
                let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
                let step: usize = step.parse().ok().filter(|step| *step > 0)?;
                if last.checked_sub(first)? > MAX_RUN {
                    return None;
                }
                numbers.extend((first..=last).step_by(step));
            }
        }
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        for line in lines() {
            assert!(parse(line).is_some(), "{line}");
        }
        assert_eq!(Table::built_in().len(), lines().count());
        assert!(Table::built_in().len() > 1000);
    }

    #[test]
    fn lines_say_what_ec2_says() {
        let table = Table::built_in();
        let nitro = table.get("m7i.large").unwrap();
        assert_eq!((nitro.vcpus, nitro.memory_mib), (2, 8192));
        assert!(nitro.legacy_bios && nitro.uefi && nitro.current && nitro.nitro_tpm);
        assert_eq!(nitro.hypervisor, Hypervisor::Nitro);
        assert_eq!((nitro.max_volumes, nitro.volumes_beside(3)), (32, 32));
        let shared = table.get("m6i.large").unwrap();
        assert_eq!((shared.max_volumes, shared.volumes_beside(1)), (27, 26));
        let xen = table.get("t2.micro").unwrap();
        assert_eq!(xen.hypervisor, Hypervisor::Xen);
        assert!(xen.burstable && !xen.uefi && xen.runs(Architecture::I386));
        let arm = table.get("m7g.large").unwrap();
        assert!(arm.runs(Architecture::Arm64) && !arm.legacy_bios);
        assert_eq!(table.get("c7a.large").unwrap().cores, [1, 2]);
    }

    #[test]
    fn runs_of_numbers_are_bounded() {
        assert_eq!(numbers("1,4-8/2").unwrap(), [1, 4, 6, 8]);
        for bad in ["1-4", "4-1/1", "1-4/0", "0-4000000000/1", "x", ""] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_that_is_nearly_right_is_found() {
        let table = Table::built_in();
        assert_eq!(table.nearest("m7i.lage"), Some("m7i.large"));
        assert_eq!(table.nearest("m7ii.large"), Some("m7i.large"));
        assert_eq!(table.nearest("large"), None);
    }
}
