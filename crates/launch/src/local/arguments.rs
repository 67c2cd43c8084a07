//! QEMU's command line.

use super::firmware::Uefi;
use super::qemu::with_path;
use super::{Accelerator, Architecture, Hardware, Nic, Volume};
use std::ffi::OsString;
use std::path::Path;

/// A machine with everything decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine<'a> {
    pub(super) hardware: &'a Hardware,
    pub(super) accelerator: &'a Accelerator,
    /// Absolute paths.
    pub(super) volumes: &'a [Volume],
    /// BIOS if absent.
    pub(super) uefi: Option<&'a Uefi>,
    /// Where QEMU listens for commands.
    pub(super) socket: &'a Path,
}

/// The serial number by which a guest knows its volume: what EC2 has there is the volume's id,
/// without its hyphen. `index` counts from 0.
pub(super) fn serial(index: usize) -> String {
    format!("vol{:017x}", index.saturating_add(1))
}

/// The slots of EC2's Nitro instances: display, root volume, network; further volumes are put in from
/// the end.
const DISPLAY_SLOT: usize = 3;
const ROOT_SLOT: usize = 4;
const NETWORK_SLOT: usize = 5;
const LAST_SLOT: usize = 31;

/// The target's clock counts its instructions, a nanosecond or two for each, and real time only where
/// it has nothing to do. By the host's clock a busy host makes it so slow that systemd waits in vain
/// for devices (90 s) and ends a good target in emergency mode; that was seen. It needs a machine of
/// one CPU: of two, each waits for the other for as long as it may run (Linux 6.1 took ten minutes
/// for nothing).
const EMULATION: [&str; 3] = ["tcg,thread=single", "-icount", "shift=1,sleep=on"];

impl Machine<'_> {
    /// The arguments. The serial console is QEMU's stdout.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let hardware = self.hardware;
        let mut all = Arguments::default();
        all.add(&["-no-user-config", "-nodefaults", "-display", "none"]);
        let kvm = self.accelerator.kvm;
        let machine = match (hardware.architecture, kvm) {
            // An i440FX, as Nitro has it, with both kinds of firmware.
            (Architecture::X86_64, _) => "pc",
            (Architecture::Arm64, true) => "virt,gic-version=host",
            (Architecture::Arm64, false) => "virt",
        };
        all.add(&["-machine", machine, "-accel"]);
        if kvm {
            all.add(&["kvm"]);
        } else {
            all.add(&EMULATION);
        }
        all.add(&["-cpu", self.accelerator.cpu]);
        all.add(&["-m", &format!("{}M", hardware.memory_mib)]);
        all.add(&["-smp", &hardware.cpus.to_string(), "-rtc", "base=utc"]);
        // Nothing but the root volume is booted from.
        all.add(&["-boot", "strict=on"]);
        match hardware.architecture {
            Architecture::X86_64 => {
                all.add(&["-device", &format!("VGA,addr={DISPLAY_SLOT:#x}")]);
            }
            Architecture::Arm64 => all.add(&["-device", "ramfb"]),
        }
        all.add(&["-chardev", "stdio,id=console,signal=off"]);
        all.add(&["-serial", "chardev:console", "-qmp"]);
        all.0
            .push(with_path("unix:", self.socket, ",server=on,wait=off"));
        for (index, volume) in self.volumes.iter().enumerate() {
            all.volume(index, volume);
        }
        let device = match hardware.nic {
            Nic::Virtio => Some("virtio-net-pci"),
            Nic::E1000e => Some("e1000e"),
            Nic::None => None,
        };
        if let Some(device) = device {
            // It gets an address and reaches nobody: it is a copy of a machine that may still run.
            all.add(&["-netdev", "user,id=net0,restrict=on", "-device"]);
            all.add(&[&format!(
                "{device},netdev=net0,mac=02:72:65:68:6f:01,addr={NETWORK_SLOT:#x},romfile="
            )]);
        }
        if let Some(uefi) = self.uefi {
            let code = "if=pflash,format=raw,readonly=on,file=";
            all.add(&["-drive"]);
            all.0.push(with_path(code, &uefi.code, ""));
            all.add(&["-drive"]);
            all.0
                .push(with_path("if=pflash,format=raw,file=", &uefi.variables, ""));
        }
        all.0
    }
}

#[derive(Debug, Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add(&mut self, arguments: &[&str]) {
        self.0.extend(arguments.iter().map(OsString::from));
    }

    fn volume(&mut self, index: usize, volume: &Volume) {
        let format = volume.format.name();
        let start = format!("id=disk{index},if=none,format={format},file=");
        // Losing the host's power loses the test, which is run again.
        let mut end = ",cache=unsafe,discard=unmap".to_owned();
        if !volume.own {
            end.push_str(",snapshot=on");
        }
        self.add(&["-drive"]);
        self.0.push(with_path(&start, &volume.path, &end));
        let (slot, boots) = match index.checked_sub(1) {
            None => (ROOT_SLOT, ",bootindex=0"),
            Some(further) => (LAST_SLOT.saturating_sub(further), ""),
        };
        let serial = serial(index);
        self.add(&[
            "-device",
            &format!("nvme,id=nvme{index},drive=disk{index},serial={serial},addr={slot:#x}{boots}"),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Firmware, MAX_VOLUMES, VolumeFormat};
    use super::*;
    use std::collections::BTreeSet;

    fn volume(path: &str, format: VolumeFormat, own: bool) -> Volume {
        Volume {
            path: path.into(),
            format,
            own,
        }
    }

    fn line(hardware: &Hardware, kvm: bool, volumes: &[Volume]) -> String {
        let uefi = Uefi {
            code: "/fw/code.fd".into(),
            variables: "/run/vars".into(),
        };
        let accelerator = Accelerator {
            kvm,
            cpu: if kvm { "host" } else { "max" },
            because: String::new(),
        };
        let machine = Machine {
            hardware,
            accelerator: &accelerator,
            volumes,
            uefi: (hardware.firmware == Firmware::Uefi).then_some(&uefi),
            socket: Path::new("/run/qmp"),
        };
        let arguments = machine.arguments();
        let arguments: Vec<_> = arguments.iter().map(|one| one.to_str().unwrap()).collect();
        arguments.join(" ")
    }

    #[test]
    fn a_pc_with_bios() {
        let volumes = [
            volume("/a/web1,os.raw", VolumeFormat::Raw, false),
            volume("/a/data.qcow2", VolumeFormat::Qcow2, true),
        ];
        assert_eq!(
            line(&Hardware::default(), false, &volumes),
            "-no-user-config -nodefaults -display none -machine pc -accel tcg,thread=single -icount shift=1,sleep=on -cpu max \
             -m 2048M -smp 2 -rtc base=utc -boot strict=on -device VGA,addr=0x3 \
             -chardev stdio,id=console,signal=off -serial chardev:console \
             -qmp unix:/run/qmp,server=on,wait=off \
             -drive id=disk0,if=none,format=raw,file=/a/web1,,os.raw,cache=unsafe,discard=unmap,snapshot=on \
             -device nvme,id=nvme0,drive=disk0,serial=vol00000000000000001,addr=0x4,bootindex=0 \
             -drive id=disk1,if=none,format=qcow2,file=/a/data.qcow2,cache=unsafe,discard=unmap \
             -device nvme,id=nvme1,drive=disk1,serial=vol00000000000000002,addr=0x1f \
             -netdev user,id=net0,restrict=on \
             -device virtio-net-pci,netdev=net0,mac=02:72:65:68:6f:01,addr=0x5,romfile="
        );
    }

    #[test]
    fn an_arm_with_uefi_and_kvm() {
        let hardware = Hardware {
            architecture: Architecture::Arm64,
            firmware: Firmware::Uefi,
            nic: Nic::None,
            ..Hardware::default()
        };
        let line = line(&hardware, true, &[volume("/a", VolumeFormat::Raw, false)]);
        for part in [
            "-machine virt,gic-version=host -accel kvm -cpu host",
            "-device ramfb",
            "-drive if=pflash,format=raw,readonly=on,file=/fw/code.fd",
            "-drive if=pflash,format=raw,file=/run/vars",
        ] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains("netdev") && !line.contains("VGA"), "{line}");
    }

    #[test]
    fn every_device_has_a_slot_of_its_own() {
        let volumes = vec![volume("/a", VolumeFormat::Raw, false); MAX_VOLUMES];
        let line = line(&Hardware::default(), false, &volumes);
        let slots: Vec<_> = line.split("addr=").skip(1).collect();
        let slot = |text: &&str| text.split([',', ' ']).next().unwrap().to_owned();
        let distinct: BTreeSet<String> = slots.iter().map(slot).collect();
        assert_eq!(distinct.len(), MAX_VOLUMES + 2);
        assert!(!distinct.contains("0x1") && !distinct.contains("0x2"));
        assert_eq!(
            serial(0).len(),
            20,
            "as long as an NVMe serial number may be"
        );
    }
}
