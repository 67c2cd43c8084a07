//! The names that EC2 gives to disks: those of HVM instances in its documents.

use super::Checker;
use std::collections::BTreeMap;

impl Checker<'_> {
    pub(super) fn device_names(&mut self) {
        let root = self.blueprint.root_disk();
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let names = self.blueprint.device_names();
        for (at, (disk, name)) in self.blueprint.disks.iter().zip(&names).enumerate() {
            let path = format!("disks[{at}].deviceName");
            let is_root = Some(at) == root;
            if disk.device_name.is_some() {
                self.name(&path, name, is_root);
            }
            if let Some(other) = seen.insert(slot(name).to_owned(), name.clone()) {
                self.error(
                    path,
                    "device-name-twice",
                    format!("{name} and {other} are the same place"),
                    "choose another of /dev/sdf to /dev/sdp, or leave the name out",
                );
            }
        }
    }

    fn name(&mut self, path: &str, name: &str, is_root: bool) {
        let fix = "write one of /dev/sdf to /dev/sdp, or leave it out";
        if is_root {
            if !matches!(name, "/dev/sda1" | "/dev/xvda") {
                self.error(
                    path,
                    "root-device-name",
                    format!("{name} is not a name that EC2 boots from"),
                    "write /dev/sda1 or /dev/xvda, or leave it out",
                );
            }
            return;
        }
        if !is_name(name) {
            let message = if is_name(name.trim_end_matches(|c: char| c.is_ascii_digit())) {
                format!("{name} names a partition, not a disk")
            } else {
                format!("{name} is no name that EC2 gives to disks")
            };
            self.error(path, "device-name", message, fix);
        } else if !matches!(name.as_bytes().last(), Some(b'f'..=b'p')) && name.len() == 8 {
            self.warn(
                path,
                "device-name-unusual",
                format!("{name} may be that of a disk which the instance has itself"),
                fix,
            );
        }
    }
}

/// Whether it names a disk: `/dev/sd[a-z]`, `/dev/xvd[a-z]`, `/dev/xvd[b-c][a-z]`.
fn is_name(name: &str) -> bool {
    let letters = |rest: &str| rest.bytes().all(|letter| letter.is_ascii_lowercase());
    if let Some(rest) = name.strip_prefix("/dev/sd") {
        return rest.len() == 1 && letters(rest);
    }
    let Some(rest) = name.strip_prefix("/dev/xvd") else {
        return false;
    };
    let two = rest.len() == 2 && rest.starts_with(['b', 'c']);
    letters(rest) && (rest.len() == 1 || two)
}

/// What two names of one disk have in common: `/dev/sda1`, `/dev/sda` and `/dev/xvda`.
fn slot(name: &str) -> &str {
    let name = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let rest = name.strip_prefix("/dev/sd");
    rest.or_else(|| name.strip_prefix("/dev/xvd"))
        .unwrap_or(name)
}
