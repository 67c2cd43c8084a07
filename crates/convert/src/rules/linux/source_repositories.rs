//! Package repositories of the old platform: its tools are not updated any more, and a repository
//! that cannot be reached fails every update.
//!
//! VMware's are switched off, as virt-v2v does (linux-guests.md, item 49). Those of another
//! cloud's update servers answer only there, and which ones take their place is the
//! administrator's decision: they are reported.

use crate::{Draft, Error, Rule, Severity};
use guest::ini::Ini;
use guest::{Family, GuestPath};

/// Switches them off.
pub(super) const RULE: Rule = Rule {
    id: "source-repositories",
    summary: "switch off yum repositories of VMware's tools",
    // Photon is VMware's own: all of it comes from there.
    applies: |facts, _| facts.os.family != Family::Photon,
    run,
};

const DIRECTORIES: [&str; 2] = ["/etc/yum.repos.d", "/etc/zypp/repos.d"];
/// Keys that say where a repository is.
const PLACES: [&str; 3] = ["baseurl", "mirrorlist", "metalink"];

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    for directory in DIRECTORIES.map(GuestPath::from) {
        for entry in draft.list(&directory)? {
            let path = directory.join(&entry.name);
            if path.has_suffix(".repo") {
                repository(draft, &path)?;
            }
        }
    }
    Ok(())
}

fn repository(draft: &mut Draft<'_>, path: &GuestPath) -> Result<(), Error> {
    let Some(bytes) = draft.read(path)? else {
        return Ok(());
    };
    let mut file = Ini::parse(&bytes);
    let sections: Vec<String> = file.sections().map(str::to_owned).collect();
    for section in sections {
        let on = !matches!(
            file.value(&section, "enabled")
                .map(str::to_lowercase)
                .as_deref(),
            Some("0" | "no" | "false" | "off")
        );
        let hosts: Vec<String> = PLACES
            .iter()
            .flat_map(|key| file.values(&section, key))
            .flat_map(|value| value.split([' ', ',', '\t']))
            .filter_map(host)
            .collect();
        if !on {
            continue;
        }
        if hosts.iter().any(|host| is_in(host, "vmware.com")) {
            file.set(&section, "enabled", "0");
        } else if let Some(host) = hosts.iter().find(|host| is_update_server(host)) {
            let text = format!(
                "{path}: the repository {section} is on {host}, which answers on the old platform only"
            );
            draft.find(Severity::Warning, text);
        }
    }
    let new = file.render();
    if new != bytes {
        draft.write(
            path,
            new,
            "it holds tools of a hypervisor that is not there",
        )?;
    }
    Ok(())
}

/// The host of a URL, in lower case.
fn host(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    Some(host.to_ascii_lowercase())
}

fn is_in(host: &str, domain: &str) -> bool {
    let rest = host.strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Red Hat's update servers inside Azure and Google's cloud.
fn is_update_server(host: &str) -> bool {
    (host.contains("rhui") && (is_in(host, "microsoft.com") || is_in(host, "azure.com")))
        || is_in(host, "rhui.googlecloud.com")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    const TOOLS: &str = "/etc/yum.repos.d/vmware-tools.repo";

    #[test]
    fn repositories_of_vmware_are_switched_off() {
        let guest = TestGuest::of(&[
            (
                TOOLS,
                "[vmware-tools]\nname=VMware Tools\nbaseurl=http://packages.vmware.com/tools/esx/6.0/rhel6/$basearch\nenabled = 1\ngpgcheck=1\n",
            ),
            (
                "/etc/yum.repos.d/more.repo",
                "[a]\nbaseurl=https://notvmware.com/x\n[b]\nbaseurl=https://a.vmware.com:443/x\n",
            ),
            (
                "/etc/yum.repos.d/rhui.repo",
                "[rhui]\nbaseurl=https://rhui-1.microsoft.com/pulp https://rhui-2.microsoft.com/pulp\n",
            ),
            (
                "/etc/yum.repos.d/off.repo",
                "[c]\nbaseurl=https://packages.vmware.com/x\nenabled=False\n",
            ),
            (
                "/etc/yum.repos.d/a.repo.rpmnew",
                "[d]\nbaseurl=https://a.vmware.com/\n",
            ),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(after.changed, ["/etc/yum.repos.d/more.repo", TOOLS]);
        assert!(
            after
                .text(TOOLS)
                .ends_with("$basearch\nenabled=0\ngpgcheck=1\n"),
            "{}",
            after.text(TOOLS)
        );
        assert_eq!(
            after.text("/etc/yum.repos.d/more.repo"),
            "[a]\nbaseurl=https://notvmware.com/x\n[b]\nbaseurl=https://a.vmware.com:443/x\nenabled=0\n"
        );
        assert_eq!(after.findings.len(), 1);
        assert!(after.findings[0].contains("rhui-1.microsoft.com"));
    }

    #[test]
    fn photon_keeps_its_own() {
        let guest = TestGuest::of(&[(
            "/etc/yum.repos.d/photon.repo",
            "[photon]\nbaseurl=https://packages.vmware.com/photon/5.0\nenabled=1\n",
        )])
        .with_facts(|facts| facts.os.family = Family::Photon);
        assert!(guest.run(&[RULE]).changed.is_empty());
    }
}
