//! Gathering the facts.

use crate::mount::{read_fstab, resolve_fstab};
use crate::{
    Architecture, Content, Error, Facts, Firmware, Guest, GuestPath, Machine, Os, Packages,
    VolumeFact, boot, cloud_init, firmware, kernels, mdadm, network, packages, selinux,
    source_tools,
};
use std::collections::BTreeMap;

/// Reads everything that is known about a guest. Nothing is changed.
///
/// # Errors
/// What reading the guest meets. Files that are not what they should be are
/// [findings](Facts::findings).
pub fn inspect(machine: &Machine, guest: &Guest) -> Result<Facts, Error> {
    let mut findings: Vec<String> = guest.findings().to_vec();
    for (index, disk) in machine.disks().iter().enumerate() {
        let found = disk.table.findings.iter();
        findings.extend(found.map(|finding| format!("disk {}: {finding}", index + 1)));
    }
    findings.extend(machine.findings().iter().cloned());
    let mut volumes = machine.volume_facts();
    tolerate(mdadm::add_names(guest, &mut volumes), &mut findings)?;
    for mount in guest.mounts() {
        let mut volumes = volumes.iter_mut();
        if let Some(volume) = volumes.find(|volume| Some(&volume.id) == mount.volume.as_ref()) {
            volume.mounted_at = Some(mount.at.clone());
            // The journal may have held a newer label.
            volume.content = Content::FileSystem(mount.info.clone());
        }
    }
    findings.extend(odd_volumes(&volumes));

    let fstab = tolerate(read_fstab(guest), &mut findings)?;
    let (fstab, odd) = resolve_fstab(&fstab, &volumes);
    findings.extend(odd);

    let os = tolerate(Os::of(guest), &mut findings)?.unwrap_or_else(|| {
        findings.push("no file in the guest says which distribution it is".to_owned());
        Os {
            id: "linux".to_owned(),
            pretty_name: "Linux".to_owned(),
            ..Os::default()
        }
    });
    let packages = packages::inspect(guest, &mut findings);
    let packages = tolerate(packages, &mut findings)?;
    let firmware = firmware::inspect(machine)?.unwrap_or_else(|| {
        if !machine.disks().is_empty() {
            findings.push("no disk holds a boot loader that is known".to_owned());
        }
        Firmware::default()
    });
    let kernels = tolerate(kernels::inspect(guest), &mut findings)?;
    if kernels.is_empty() {
        findings.push("the guest has no kernel in /boot or its module directories".to_owned());
    }
    let boot = tolerate(boot::inspect(guest), &mut findings)?;
    Ok(Facts {
        hostname: tolerate(hostname(guest), &mut findings)?,
        architecture: tolerate(architecture(guest, &packages), &mut findings)?,
        network: tolerate(network::inspect(guest), &mut findings)?,
        cloud_init: tolerate(cloud_init::inspect(guest, &boot), &mut findings)?,
        selinux: tolerate(selinux::inspect(guest, &boot), &mut findings)?,
        boot,
        source_tools: tolerate(source_tools::inspect(guest), &mut findings)?,
        root: guest.root_volume().clone(),
        os,
        firmware,
        volumes,
        fstab,
        kernels,
        packages,
        findings,
    })
}

/// Makes a finding of what only says that one place of the guest is odd; damage stays an error.
fn tolerate<T: Default>(result: Result<T, Error>, findings: &mut Vec<String>) -> Result<T, Error> {
    match result {
        Err(error @ (Error::TooManyLinks { .. } | Error::TooLarge { .. })) => {
            findings.push(error.to_string());
            Ok(T::default())
        }
        other => other,
    }
}

/// Names that stand for two volumes, memory that was left in swap, volumes that cannot be read.
fn odd_volumes(volumes: &[VolumeFact]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut names: BTreeMap<(&str, &str), &VolumeFact> = BTreeMap::new();
    for volume in volumes {
        match &volume.content {
            Content::Unreadable(reason) => {
                findings.push(format!("{} cannot be read: {reason}", volume.id));
            }
            Content::Swap {
                hibernated: true, ..
            } => findings.push(format!(
                "{} holds the memory of a machine that hibernated",
                volume.id
            )),
            Content::Luks { version, uuid, .. } => findings.push(format!(
                "{} is encrypted (LUKS{version}{}), and what is in it is not seen: rehost does not \
                 unlock volumes. Decrypt it on the source (cryptsetup reencrypt --decrypt) or move \
                 what it holds to a plain volume, and take the disks anew",
                volume.id,
                uuid.as_ref()
                    .map_or_else(String::new, |uuid| format!(", {uuid}"))
            )),
            _ => {}
        }
        // Members of a RAID share the identifier of their array.
        let shared = matches!(volume.content, Content::MdMember { .. });
        for (tag, value) in [
            ("UUID", &volume.uuid),
            ("LABEL", &volume.label),
            ("PARTUUID", &volume.partuuid),
        ] {
            let Some(value) = value.as_deref().filter(|_| !shared) else {
                continue;
            };
            if let Some(first) = names.insert((tag, value), volume) {
                findings.push(format!(
                    "{tag}={value} stands for {} and for {}",
                    first.id, volume.id
                ));
            }
        }
    }
    findings
}

/// The host name, where the distribution keeps it: hostname(5), SUSE's and Red Hat's older places.
fn hostname(guest: &Guest) -> Result<Option<String>, Error> {
    let first_line = |text: &str| {
        let lines = text.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.next().map(str::to_owned)
    };
    for path in ["/etc/hostname", "/etc/HOSTNAME"] {
        if let Some(content) = guest.read(&path.into(), SMALL)? {
            let name = first_line(&String::from_utf8_lossy(&content));
            if name.is_some() {
                return Ok(name);
            }
        }
    }
    let content = guest.read(&"/etc/sysconfig/network".into(), SMALL)?;
    let content = content.unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let mut lines = text.lines().map(str::trim);
    let name = lines.find_map(|line| line.strip_prefix("HOSTNAME="));
    Ok(name.map(|name| name.trim_matches(['"', '\'']).to_owned()))
}

/// What the guest's programs are compiled for, by their ELF header; else by the package manager.
fn architecture(guest: &Guest, packages: &Packages) -> Result<Architecture, Error> {
    for path in ["/bin/sh", "/usr/bin/env", "/sbin/init", "/usr/bin/sh"] {
        let path = GuestPath::from(path);
        if !guest.is_regular(&path)? {
            continue;
        }
        let mut header = [0; 20];
        let read = guest.read_range(&path, 0, &mut header)?;
        if read < header.len() || !header.starts_with(b"\x7fELF") {
            continue;
        }
        // EI_DATA 1 is little-endian; `e_machine` of the ELF specification.
        let machine = match header[5] {
            1 => u16::from_le_bytes([header[18], header[19]]),
            _ => u16::from_be_bytes([header[18], header[19]]),
        };
        return Ok(match machine {
            3 => Architecture::X86,
            62 => Architecture::X86_64,
            183 => Architecture::Aarch64,
            _ => Architecture::Other,
        });
    }
    Ok(match packages.architecture.as_deref() {
        Some("amd64" | "x86_64") => Architecture::X86_64,
        Some("i386" | "i586" | "i686") => Architecture::X86,
        Some("arm64" | "aarch64") => Architecture::Aarch64,
        _ => Architecture::Other,
    })
}

/// Files of one line.
const SMALL: u64 = 64 << 10;
