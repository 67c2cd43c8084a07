//! Machines of a project file, on a fake of AWS that checks what the real one checks.

mod cycle;
mod killed;
mod local;
mod locally;
mod origin;
mod records;
mod rights;
mod safety;
mod status;

use crate::ebs::Aws;
use crate::support::{Ran, phony, tool};
use fake_aws::{Faults, Life};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The addresses that the machines had, and have again.
const WEB: &str = "10.0.1.50";
const DB: &str = "10.0.1.60";

/// An account, and a directory with a project of two machines, one of two disks.
struct Site {
    aws: Aws,
}

impl Site {
    fn new() -> Self {
        let aws = Aws::new();
        let soon = Life {
            pending_ms: 10,
            status_ms: 10,
            stopping_ms: 10,
            shutting_down_ms: 10,
            ..Life::default()
        };
        aws.fake.set_faults(Faults {
            life: soon,
            ..Faults::default()
        });
        for (name, of) in [("web1.raw", "debian12"), ("db1.raw", "ubuntu2204")] {
            copy(&phony(&[of]), &aws.path(name));
        }
        // The data disk comes first: the order of the disks is not that of the boot.
        let data = aws.path("db1-data.raw");
        File::create(&data).unwrap().set_len(8 << 20).unwrap();
        tool(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&data));
        let site = Self { aws };
        site.write(
            "rehost.yaml",
            "apiVersion: rehost/v1\nkind: Project\nmetadata: {name: shop}\nstore: 'ebs:'\n\
             machines:\n- {name: web1, sources: [web1.raw], blueprint: web1.yaml}\n\
             - {name: db1, sources: [db1-data.raw, db1.raw], blueprint: db1.yaml}\n",
        );
        site.write(
            "web1.yaml",
            &format!(
                "metadata: {{machine: web1}}\ninstance: {{type: t3.small}}\nboot: {{mode: legacy-bios}}\n\
                 network:\n  interfaces:\n  - deviceIndex: 0\n    subnetId: subnet-0000000000000000a\n    \
                 privateIps: [{WEB}]\n    securityGroupIds: [sg-0000000000000000b]\n\
                 tags: {{tier: web}}\n"
            ),
        );
        site.write(
            "db1.yaml",
            &format!(
                "metadata: {{machine: db1}}\ninstance: {{type: m6i.large}}\nboot: {{mode: uefi}}\n\
                 network:\n  interfaces:\n  - deviceIndex: 0\n    subnetId: subnet-0000000000000000a\n    \
                 privateIps: [{DB}]\ndisks:\n- {{role: data, sizeGiB: 8, type: gp3, iops: 4000}}\n\
                 - {{role: root}}\n"
            ),
        );
        site
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.aws.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The program in the directory of the project.
    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = self.aws.program();
        command.current_dir(self.aws.path("")).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.program(arguments).output().unwrap())
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        self.run(&arguments).json()
    }

    /// The state of each machine.
    #[track_caller]
    fn states(&self) -> Vec<String> {
        let status = self.json(&["status", "--offline"]);
        let states = status.as_array().unwrap().iter();
        states
            .map(|one| one["state"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Lets a disk live on.
    fn write_to(&self, disk: &str, byte: u8) {
        let file = File::options()
            .write(true)
            .open(self.aws.path(disk))
            .unwrap();
        // Behind the last partition there is room that belongs to nobody.
        let size = file.metadata().unwrap().len();
        file.write_all_at(&[byte; 512], size - (64 << 10)).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o644)).unwrap();
}
