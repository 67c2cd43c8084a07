//! Where distributions keep UEFI firmware for QEMU.

use super::{Architecture, Error};
use std::path::{Path, PathBuf};

/// The files of a firmware.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Uefi {
    /// Its code, which QEMU opens read-only.
    pub(super) code: PathBuf,
    /// Its variables: a copy with nothing in it, for this machine alone.
    pub(super) variables: PathBuf,
}

/// Code and empty variables. None has Secure Boot: what the source trusted is not known here.
const X86_64: &[[&str; 2]] = &[
    // Debian, Ubuntu
    [
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ],
    // and before 2021
    [
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ],
    // Fedora, RHEL
    [
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ],
    // Arch
    [
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ],
    // openSUSE
    [
        "/usr/share/qemu/ovmf-x86_64-code.bin",
        "/usr/share/qemu/ovmf-x86_64-vars.bin",
    ],
];
const ARM64: &[[&str; 2]] = &[
    [
        "/usr/share/AAVMF/AAVMF_CODE.fd",
        "/usr/share/AAVMF/AAVMF_VARS.fd",
    ],
    [
        "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
        "/usr/share/edk2/aarch64/vars-template-pflash.raw",
    ],
    [
        "/usr/share/qemu/aavmf-aarch64-code.bin",
        "/usr/share/qemu/aavmf-aarch64-vars.bin",
    ],
];

/// Finds the firmware, and copies its variables into `dir`.
pub(super) fn find(architecture: Architecture, dir: &Path) -> Result<Uefi, Error> {
    let (table, package) = match architecture {
        Architecture::X86_64 => (X86_64, "ovmf"),
        Architecture::Arm64 => (ARM64, "qemu-efi-aarch64"),
    };
    let mut pairs = table.iter();
    let found = pairs.find(|pair| pair.iter().all(|path| Path::new(path).exists()));
    let Some([code, empty]) = found else {
        return Err(Error::NoFirmware { package });
    };
    let (empty, variables) = (Path::new(empty), dir.join("variables"));
    let content = std::fs::read(empty).map_err(|error| Error::io(empty, "read", error))?;
    std::fs::write(&variables, content).map_err(|error| Error::io(&variables, "write", error))?;
    Ok(Uefi {
        code: code.into(),
        variables,
    })
}
