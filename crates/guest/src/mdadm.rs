//! `/etc/mdadm/mdadm.conf`: the names that arrays get, as mdadm.conf(5) defines them.

use crate::{Error, Guest, VolumeFact};

/// Where distributions keep it.
const PLACES: [&str; 2] = ["/etc/mdadm/mdadm.conf", "/etc/mdadm.conf"];
const CAP: u64 = 1 << 20;

/// Adds the names that the guest's configuration gives its arrays.
///
/// # Errors
/// What reading the guest meets.
pub(crate) fn add_names(guest: &Guest, volumes: &mut [VolumeFact]) -> Result<(), Error> {
    for place in PLACES {
        let Some(content) = guest.read(&place.into(), CAP)? else {
            continue;
        };
        for (device, uuid) in arrays(&String::from_utf8_lossy(&content)) {
            let known = format!("/dev/disk/by-id/md-uuid-{uuid}");
            for volume in &mut *volumes {
                let part = volume.device_names.iter().find_map(|name| {
                    let rest = name.strip_prefix(&known)?;
                    Some(rest.strip_prefix("-part").map(str::to_owned))
                });
                let Some(part) = part else { continue };
                // A letter stands between two numbers.
                let digit = device.ends_with(|last: char| last.is_ascii_digit());
                let name = match part {
                    Some(number) if digit => format!("{device}p{number}"),
                    Some(number) => format!("{device}{number}"),
                    None => device.clone(),
                };
                if !volume.device_names.contains(&name) {
                    volume.device_names.push(name);
                }
            }
        }
    }
    Ok(())
}

/// The devices of arrays, each with the identifier as udev spells it.
fn arrays(text: &str) -> Vec<(String, String)> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        match lines.last_mut() {
            // A line that starts with white space goes on with the one before.
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(line),
            _ => lines.push(line.to_owned()),
        }
    }
    let array = |line: &String| {
        let mut words = line.split_whitespace();
        let keyword = words.next()?;
        let device = words.next()?;
        let uuid = words.find_map(|word| {
            let (key, value) = word.split_once('=')?;
            key.eq_ignore_ascii_case("uuid").then_some(value)
        })?;
        let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).collect();
        let groups: Option<Vec<&str>> = (0..4).map(|at| digits.get(at * 8..at * 8 + 8)).collect();
        let device = match device.starts_with('/') {
            true => device.to_owned(),
            false => format!("/dev/md/{device}"),
        };
        (keyword.eq_ignore_ascii_case("array") && digits.len() == 32)
            .then_some((device, groups?.join(":").to_ascii_lowercase()))
    };
    lines.iter().filter_map(array).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VolumeId;
    use crate::testing::guest;

    #[test]
    fn arrays_get_the_names_of_the_configuration() {
        let conf = "# mdadm.conf\nHOMEHOST <system>\nARRAY /dev/md/7 metadata=1.2\n  \
            UUID=01020304:05060708:090A0B0C:0d0e0f10 name=web1:boot # here\n\
            ARRAY /dev/md9 UUID=ffffffff:ffffffff:ffffffff:ffffffff\nARRAY <ignore> UUID=1\n\
            ARRAY root UUID=01020304:05060708:090a0b0c:0d0e0f10\n";
        let volume = |partition, end: &str| VolumeFact {
            id: VolumeId::Array {
                array: "md/boot".to_owned(),
                partition,
            },
            device_names: vec![format!(
                "/dev/disk/by-id/md-uuid-01020304:05060708:090a0b0c:0d0e0f10{end}"
            )],
            ..VolumeFact::default()
        };
        let mut volumes = [volume(None, ""), volume(Some(1), "-part1")];
        add_names(&guest(&[("/etc/mdadm/mdadm.conf", conf)]), &mut volumes).unwrap();
        let added: Vec<_> = volumes.iter().map(|it| &it.device_names[1..]).collect();
        assert_eq!(
            added,
            [
                ["/dev/md/7", "/dev/md/root"],
                ["/dev/md/7p1", "/dev/md/root1"]
            ]
        );
    }
}
