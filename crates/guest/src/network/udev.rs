//! udev rules that name network interfaces. Source: udev(7).

use super::mac;

/// A rules file, losslessly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UdevRules {
    /// With their ends; lines joined by `\` are one.
    lines: Vec<Vec<u8>>,
}

/// A rule that gives a network interface its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamingRule {
    /// The name that it gives.
    pub name: String,
    /// The hardware address that it looks for, in lower case with colons; none where it looks for
    /// a place in the machine.
    pub mac: Option<String>,
}

impl UdevRules {
    /// Reads a file; whatever bytes it holds, it can be read.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for raw in bytes.split_inclusive(|byte| *byte == b'\n') {
            match lines.last_mut() {
                Some(open) if !is_comment(open) && open.ends_with(b"\\\n") => {
                    open.extend_from_slice(raw);
                }
                _ => lines.push(raw.to_vec()),
            }
        }
        Self { lines }
    }

    /// The file's bytes.
    pub fn render(&self) -> Vec<u8> {
        self.lines.concat()
    }

    /// The rules that tie the name of an interface to a hardware address or a place in the
    /// machine, in order.
    pub fn naming(&self) -> Vec<NamingRule> {
        self.lines.iter().filter_map(|line| naming(line)).collect()
    }

    /// Removes those rules.
    pub fn remove_naming(&mut self) {
        self.lines.retain(|line| naming(line).is_none());
    }

    /// Whether nothing but comments and blank lines is left.
    pub fn is_empty(&self) -> bool {
        self.lines
            .iter()
            .all(|line| is_comment(line) || line.iter().all(u8::is_ascii_whitespace))
    }
}

fn is_comment(line: &[u8]) -> bool {
    line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'#')
}

fn naming(line: &[u8]) -> Option<NamingRule> {
    if is_comment(line) {
        return None;
    }
    let text = String::from_utf8_lossy(line).replace("\\\n", " ");
    let pairs = pairs(&text);
    let other = |(key, operator, value): &(&str, &str, &str)| {
        *key == "SUBSYSTEM" && *operator == "==" && *value != "net"
    };
    if pairs.iter().any(other) {
        return None;
    }
    let (_, _, name) = pairs
        .iter()
        .find(|(key, operator, _)| *key == "NAME" && matches!(*operator, "=" | ":="))?;
    let matched = |wanted: &[&str]| {
        pairs
            .iter()
            .find(|(key, operator, _)| *operator == "==" && wanted.contains(key))
            .map(|(_, _, value)| *value)
    };
    let address = matched(&["ATTR{address}", "ATTRS{address}", "SYSFS{address}"]);
    let place = matched(&[
        "KERNELS",
        "ID",
        "BUS",
        "DEVPATH",
        "ENV{ID_PATH}",
        "ENV{ID_NET_NAME_PATH}",
        "ENV{ID_NET_NAME_MAC}",
        "ATTR{dev_id}",
    ]);
    // A rule without SUBSYSTEM that looks for no address names some other kind of device.
    if address.is_none() && (place.is_none() || matched(&["SUBSYSTEM"]).is_none()) {
        return None;
    }
    Some(NamingRule {
        name: (*name).to_owned(),
        mac: address.map(mac),
    })
}

/// The `KEY op "value"` parts of a rule.
fn pairs(rule: &str) -> Vec<(&str, &str, &str)> {
    let mut pairs = Vec::new();
    let mut rest = rule;
    // Every turn takes an opening and a closing quote.
    while let Some((head, tail)) = rest.split_once('"') {
        let Some((value, tail)) = tail.split_once('"') else {
            break;
        };
        let head = head.trim_matches(|c: char| c == ',' || c.is_whitespace());
        let key = head.trim_end_matches(['=', '!', '+', ':', '-']);
        let operator = &head[key.len()..];
        pairs.push((key.trim(), operator, value));
        rest = tail;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "# PCI device 0x15ad:0x07b0 (vmxnet3)\n\
        SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"00:0C:29:4a:5b:6c\", \\\n\
        \tATTR{type}==\"1\", KERNEL==\"eth*\", NAME=\"eth0\"\n\
        SUBSYSTEM==\"net\", KERNELS==\"0000:02:01.0\", NAME=\"eth1\"\n\
        KERNEL==\"fuse\", NAME=\"fuse\", MODE=\"0666\"\n\
        SUBSYSTEM==\"net\", ACTION==\"add\", RUN+=\"/bin/true\"\n";

    #[test]
    fn what_is_not_edited_survives() {
        for text in [RULES, "", "\\\n", "A==\"", "NAME=\"x\\"] {
            assert_eq!(UdevRules::parse(text.as_bytes()).render(), text.as_bytes());
        }
    }

    #[test]
    fn rules_that_tie_names_to_hardware_are_told_from_others() {
        let mut rules = UdevRules::parse(RULES.as_bytes());
        let naming = |name: &str, mac: Option<&str>| NamingRule {
            name: name.to_owned(),
            mac: mac.map(str::to_owned),
        };
        let expected = [
            naming("eth0", Some("00:0c:29:4a:5b:6c")),
            naming("eth1", None),
        ];
        assert_eq!(rules.naming(), expected);
        rules.remove_naming();
        let text = String::from_utf8(rules.render()).unwrap();
        assert!(
            text.contains("fuse") && text.contains("RUN+=") && !text.contains("eth"),
            "{text}"
        );
        assert!(!rules.is_empty());
        let mut rules =
            UdevRules::parse(b"# only\n\nSUBSYSTEM==\"net\", ATTR{address}==\"a\", NAME=\"b\"\n");
        rules.remove_naming();
        assert!(rules.is_empty());
    }
}
