//! The files that name a release.

use super::{Family, Os};
use std::collections::BTreeMap;

/// What the release files of a guest say, before it is weighed.
#[derive(Clone, Debug, Default)]
pub(super) struct Release {
    os_release: BTreeMap<String, String>,
    lsb_release: BTreeMap<String, String>,
    debian_version: Option<String>,
    /// The first line of redhat-release and its like.
    red_hat: Option<String>,
    suse: Option<String>,
    arch: bool,
    alpine: Option<String>,
    gentoo: Option<String>,
}

impl Release {
    /// Reads the files through `read`, which says `None` for what is not there.
    pub(super) fn gather<E>(read: impl Fn(&str) -> Result<Option<String>, E>) -> Result<Self, E> {
        let first = |paths: &[&str]| -> Result<Option<String>, E> {
            for path in paths {
                if let Some(text) = read(path)? {
                    return Ok(Some(text));
                }
            }
            Ok(None)
        };
        let line = |text: Option<String>| {
            let text = text?;
            let line = text.lines().map(str::trim).find(|line| !line.is_empty());
            line.map(str::to_owned)
        };
        let assignments = |text: Option<String>| parse(&text.unwrap_or_default());
        Ok(Self {
            os_release: assignments(first(&["/etc/os-release", "/usr/lib/os-release"])?),
            lsb_release: assignments(read("/etc/lsb-release")?),
            debian_version: line(read("/etc/debian_version")?),
            red_hat: line(first(&[
                "/etc/oracle-release",
                "/etc/centos-release",
                "/etc/redhat-release",
                "/etc/system-release",
            ])?),
            suse: read("/etc/SuSE-release")?,
            arch: read("/etc/arch-release")?.is_some(),
            alpine: line(read("/etc/alpine-release")?),
            gentoo: line(read("/etc/gentoo-release")?),
        })
    }

    /// Weighs what the files say; none if they say nothing.
    pub(super) fn into_os(self) -> Option<Os> {
        let mut os = self
            .by_os_release()
            .or_else(|| self.by_red_hat())
            .or_else(|| self.by_suse())
            .or_else(|| self.by_lsb_release())
            .or_else(|| self.by_other_files())?;
        os.family = Family::of(&os.id, &os.id_like);
        os.point_release = self.point_release(&os);
        if os.version.is_none() && os.family == Family::Debian {
            os.version = os.point_release.as_ref().map(|point| {
                let major = point.split('.').next();
                major.unwrap_or(point).to_owned()
            });
        }
        Some(os)
    }

    fn by_os_release(&self) -> Option<Os> {
        let id = self.os_release.get("ID")?.to_ascii_lowercase();
        let text = |key: &str| {
            let value = self.os_release.get(key)?;
            (!value.is_empty()).then(|| value.clone())
        };
        let id_like = text("ID_LIKE").unwrap_or_default();
        let pretty_name = text("PRETTY_NAME").or_else(|| text("NAME"));
        Some(Os {
            id_like: id_like
                .split_ascii_whitespace()
                .map(str::to_ascii_lowercase)
                .collect(),
            version: text("VERSION_ID"),
            codename: text("VERSION_CODENAME")
                .or_else(|| in_parentheses(self.os_release.get("VERSION")?)),
            pretty_name: pretty_name.unwrap_or_else(|| id.clone()),
            id,
            ..Os::default()
        })
    }

    /// As "Red Hat Enterprise Linux Server release 6.10 (Santiago)".
    fn by_red_hat(&self) -> Option<Os> {
        let line = self.red_hat.as_ref()?;
        let lower = line.to_ascii_lowercase();
        let names = [
            ("red hat", "rhel", ""),
            ("centos", "centos", "rhel fedora"),
            ("scientific", "scientific", "rhel centos fedora"),
            ("oracle", "ol", "fedora"),
            ("enterprise linux enterprise linux", "ol", "fedora"),
            ("amazon", "amzn", "centos rhel fedora"),
            ("rocky", "rocky", "rhel centos fedora"),
            ("alma", "almalinux", "rhel centos fedora"),
            ("fedora", "fedora", ""),
        ];
        let known = names.iter().find(|(word, ..)| lower.starts_with(word));
        let (_, id, like) = known.copied().unwrap_or(("", "", "rhel"));
        let first_word = lower.split_ascii_whitespace().next().unwrap_or_default();
        Some(Os {
            id: if id.is_empty() { first_word } else { id }.to_owned(),
            id_like: like.split_ascii_whitespace().map(str::to_owned).collect(),
            version: first_number(line),
            codename: in_parentheses(line),
            pretty_name: line.clone(),
            ..Os::default()
        })
    }

    /// As "SUSE Linux Enterprise Server 11 (x86_64)", with `VERSION = 11` and `PATCHLEVEL = 3`.
    fn by_suse(&self) -> Option<Os> {
        let text = self.suse.as_ref()?;
        let name = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        let values = parse(text);
        let version = values
            .get("VERSION")
            .cloned()
            .or_else(|| first_number(name));
        let version = version.map(|version| match values.get("PATCHLEVEL") {
            Some(patch) if patch != "0" && !version.contains('.') => format!("{version}.{patch}"),
            _ => version,
        });
        let open = name.to_ascii_lowercase().starts_with("opensuse");
        Some(Os {
            id: if open { "opensuse" } else { "sles" }.to_owned(),
            id_like: vec!["suse".to_owned()],
            version,
            codename: values.get("CODENAME").cloned(),
            pretty_name: name.to_owned(),
            ..Os::default()
        })
    }

    fn by_lsb_release(&self) -> Option<Os> {
        let text = |key: &str| self.lsb_release.get(key).cloned();
        let id = text("DISTRIB_ID")?.to_ascii_lowercase();
        Some(Os {
            version: text("DISTRIB_RELEASE").filter(|version| version != "rolling"),
            codename: text("DISTRIB_CODENAME"),
            pretty_name: text("DISTRIB_DESCRIPTION").unwrap_or_else(|| id.clone()),
            id,
            ..Os::default()
        })
    }

    fn by_other_files(&self) -> Option<Os> {
        let named = |id: &str, name: &str, version: Option<String>| Os {
            id: id.to_owned(),
            pretty_name: match &version {
                Some(version) => format!("{name} {version}"),
                None => name.to_owned(),
            },
            version,
            ..Os::default()
        };
        if let Some(version) = &self.alpine {
            return Some(named("alpine", "Alpine Linux", Some(version.clone())));
        }
        if let Some(line) = &self.gentoo {
            return Some(named("gentoo", "Gentoo", first_number(line)));
        }
        if self.arch {
            return Some(named("arch", "Arch Linux", None));
        }
        let version = self.debian_version.as_ref()?;
        let mut os = named("debian", "Debian GNU/Linux", None);
        os.pretty_name = format!("{} {version}", os.pretty_name);
        // Testing and unstable say "trixie/sid".
        if first_number(version).is_none() {
            os.codename = version.split('/').next().map(str::to_owned);
        }
        Some(os)
    }

    /// The version with its point release, where a second file has one that fits.
    fn point_release(&self, os: &Os) -> Option<String> {
        let source = match os.family {
            Family::Debian => self.debian_version.as_ref(),
            Family::Rhel | Family::Centos | Family::Oracle | Family::Rocky | Family::Alma => {
                self.red_hat.as_ref()
            }
            _ => None,
        };
        let point = first_number(source?)?;
        let fits = match &os.version {
            Some(version) => {
                point == *version
                    || (point.starts_with(version.as_str())
                        && point[version.len()..].starts_with('.'))
            }
            None => true,
        };
        fits.then_some(point)
    }
}

/// Reads `KEY=value` lines of shell assignments, quotes and backslashes removed, as os-release(5)
/// defines them; the first assignment of a key that is repeated does not count.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        if let Some((key, value)) = line.split_once('=') {
            values.insert(key.trim().to_owned(), unquote(value.trim()));
        }
    }
    values
}

/// Removes the quotes of a shell word and the backslashes that escape.
fn unquote(word: &str) -> String {
    let mut plain = String::with_capacity(word.len());
    let mut quote = None;
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\'' | '"', None) => quote = Some(character),
            (_, Some(open)) if character == open => quote = None,
            ('\\', None | Some('"')) => plain.extend(characters.next()),
            _ => plain.push(character),
        }
    }
    plain
}

/// The first run of digits and dots, as "6.10" in "release 6.10 (Santiago)".
fn first_number(text: &str) -> Option<String> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let number = text[start..]
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next()?;
    Some(number.trim_end_matches('.').to_owned())
}

fn in_parentheses(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('(')?;
    let (inner, _) = rest.split_once(')')?;
    Some(inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(files: &[(&str, &str)]) -> Os {
        let read = |path: &str| -> Result<Option<String>, ()> {
            let found = files.iter().find(|(name, _)| *name == path);
            Ok(found.map(|(_, text)| (*text).to_owned()))
        };
        Release::gather(read).unwrap().into_os().unwrap()
    }

    #[test]
    fn debian_takes_its_point_release_from_the_second_file() {
        let os = os(&[
            (
                "/usr/lib/os-release",
                "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\n\
                 VERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
            ),
            ("/etc/debian_version", "12.5\n"),
        ]);
        assert_eq!(os.family, Family::Debian);
        assert_eq!(os.version.as_deref(), Some("12"));
        assert_eq!(os.point_release.as_deref(), Some("12.5"));
        assert_eq!(os.codename.as_deref(), Some("bookworm"));
        assert_eq!(os.pretty_name, "Debian GNU/Linux 12 (bookworm)");
    }

    #[test]
    fn systems_older_than_os_release_are_known_by_their_own_files() {
        for (path, text, family, version) in [
            (
                "/etc/redhat-release",
                "Red Hat Enterprise Linux Server release 6.10 (Santiago)\n",
                Family::Rhel,
                "6.10",
            ),
            (
                "/etc/redhat-release",
                "CentOS release 6.9 (Final)\n",
                Family::Centos,
                "6.9",
            ),
            (
                "/etc/system-release",
                "Amazon Linux AMI release 2018.03\n",
                Family::Amazon,
                "2018.03",
            ),
            (
                "/etc/SuSE-release",
                "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 3\n",
                Family::Sles,
                "11.3",
            ),
            (
                "/etc/lsb-release",
                "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=10.04\n",
                Family::Ubuntu,
                "10.04",
            ),
            ("/etc/debian_version", "5.0.1\n", Family::Debian, "5"),
            ("/etc/alpine-release", "3.4.6\n", Family::Alpine, "3.4.6"),
        ] {
            let os = os(&[(path, text)]);
            assert_eq!(os.family, family, "{path}: {text}");
            assert_eq!(os.version.as_deref(), Some(version), "{path}: {text}");
        }
    }

    #[test]
    fn no_release_file_is_no_system() {
        let none = Release::gather(|_| Ok::<_, ()>(None)).unwrap();
        assert!(none.into_os().is_none());
    }

    #[test]
    fn shell_quoting_is_removed() {
        assert_eq!(unquote(r#""a \"b\" $c""#), r#"a "b" $c"#);
        assert_eq!(unquote(r"'a \b'"), r"a \b");
        assert_eq!(unquote(r"a\ b"), "a b");
    }
}
