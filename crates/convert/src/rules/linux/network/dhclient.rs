//! What dhclient is told to take instead of what DHCP says. Source: dhclient.conf(5).

use crate::{Draft, Error, Severity};
use guest::GuestPath;

/// Where distributions have it: Debian and later releases of Red Hat, earlier ones, SUSE.
const DIRECTORIES: [&str; 2] = ["/etc/dhcp", "/etc"];
/// What the VPC has to say.
const OPTIONS: [&str; 3] = ["routers", "domain-name-servers", "subnet-mask"];

/// Says which settings stand against what the VPC gives; they are left, since they may be meant.
pub(super) fn report(draft: &mut Draft<'_>) -> Result<(), Error> {
    for directory in DIRECTORIES.map(GuestPath::from) {
        for entry in draft.list(&directory)? {
            let name = entry.name.as_slice();
            if !name.starts_with(b"dhclient") || !name.ends_with(b".conf") {
                continue;
            }
            let path = directory.join(name);
            let text = draft.read(&path)?.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            for line in text.lines().map(str::trim) {
                let mut words = line.split_whitespace();
                let replaces = words.next() == Some("supersede");
                if replaces && words.next().is_some_and(|word| OPTIONS.contains(&word)) {
                    draft.find(
                        Severity::Warning,
                        format!("{path}: `{line}` stands against what DHCP gives on EC2"),
                    );
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::DHCP;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn what_is_superseded_is_reported() {
        let guest = TestGuest::of(&[(
            "/etc/dhcp/dhclient-eth0.conf",
            "timeout 300;\n  supersede domain-name-servers 10.0.0.2;\n# supersede routers 10.0.0.1;\nsupersede host-name \"a\";\n",
        )]);
        let after = guest.run(&[DHCP]);
        assert!(after.changed.is_empty());
        assert_eq!(after.findings.len(), 1, "{:?}", after.findings);
        assert!(after.findings[0].contains("domain-name-servers 10.0.0.2"));
    }
}
