//! Files of sections and `key=value` lines: systemd units and network files, NetworkManager
//! keyfiles, cloud and agent settings.
//!
//! The model keeps every line as it is, so that what is not edited survives byte for byte. A line
//! that ends in `\` continues on the next one (systemd.syntax(7)).

/// A file of sections and keys, losslessly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ini {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    raw: Vec<u8>,
    content: Content,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Content {
    Section(String),
    Entry { key: String, value: String },
    Other,
}

impl Ini {
    /// Reads a file; whatever bytes it holds, it can be read.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut raws: Vec<Vec<u8>> = Vec::new();
        for raw in bytes.split_inclusive(|byte| *byte == b'\n') {
            match raws.last_mut() {
                Some(open) if continues(open) => open.extend_from_slice(raw),
                _ => raws.push(raw.to_vec()),
            }
        }
        let line = |raw: Vec<u8>| Line {
            content: understand(&raw),
            raw,
        };
        let lines = raws.into_iter().map(line).collect();
        Self { lines }
    }

    /// The file's bytes.
    pub fn render(&self) -> Vec<u8> {
        self.lines
            .iter()
            .flat_map(|line| line.raw.iter().copied())
            .collect()
    }

    /// Names of all sections, in order, repeated ones too.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match &line.content {
            Content::Section(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Keys and values of all sections of this name, in order.
    pub fn entries(&self, section: &str) -> impl Iterator<Item = (&str, &str)> {
        self.places(section)
            .filter_map(|index| match &self.lines[index].content {
                Content::Entry { key, value } => Some((key.as_str(), value.as_str())),
                _ => None,
            })
    }

    /// All values of a key, in order.
    pub fn values(&self, section: &str, key: &str) -> impl Iterator<Item = &str> {
        self.entries(section)
            .filter(move |(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// The last value of a key.
    pub fn value(&self, section: &str, key: &str) -> Option<&str> {
        self.values(section, key).last()
    }

    /// Gives a key one value: the last line of that key is changed where it stands, others of it
    /// go; a new key is put at the end of the section's first part, a new section at the end of
    /// the file.
    pub fn set(&mut self, section: &str, key: &str, value: &str) {
        let mut line = Line {
            raw: format!("{key}={value}\n").into_bytes(),
            content: Content::Entry {
                key: key.to_owned(),
                value: value.to_owned(),
            },
        };
        let mut own: Vec<usize> = self
            .places(section)
            .filter(|index| self.has_key(*index, |name| name == key))
            .collect();
        if let Some(last) = own.pop() {
            if self.value(section, key) != Some(value) {
                let indent = self.lines[last].raw.iter();
                let indent: Vec<u8> = indent
                    .take_while(|byte| matches!(byte, b' ' | b'\t'))
                    .copied()
                    .collect();
                line.raw.splice(..0, indent);
                self.lines[last] = line;
            }
            self.remove_lines(&own);
            return;
        }
        let header = self.lines.iter().position(|line| line.is_section(section));
        self.end_last_line();
        let Some(header) = header else {
            if !self.lines.is_empty() {
                self.lines.push(Line::other(b"\n"));
            }
            self.lines.push(Line {
                raw: format!("[{section}]\n").into_bytes(),
                content: Content::Section(section.to_owned()),
            });
            self.lines.push(line);
            return;
        };
        let end = self.lines[header + 1..]
            .iter()
            .position(|line| matches!(line.content, Content::Section(_)))
            .map_or(self.lines.len(), |length| header + 1 + length);
        let blank = self.lines[header + 1..end]
            .iter()
            .rev()
            .take_while(|line| line.raw.iter().all(u8::is_ascii_whitespace))
            .count();
        self.lines.insert(end - blank, line);
    }

    /// Removes the keys of a section for which `gone` says so, and returns whether there were any.
    pub fn remove(&mut self, section: &str, gone: impl Fn(&str) -> bool) -> bool {
        let places: Vec<usize> = self
            .places(section)
            .filter(|index| self.has_key(*index, &gone))
            .collect();
        self.remove_lines(&places);
        !places.is_empty()
    }

    /// Removes whole sections of this name whose keys and values satisfy `gone`, with what stands
    /// in them, and returns whether there were any.
    pub fn remove_sections(
        &mut self,
        section: &str,
        gone: impl Fn(&[(&str, &str)]) -> bool,
    ) -> bool {
        let mut removed = Vec::new();
        let mut start = self.lines.len();
        for index in (0..self.lines.len()).rev() {
            if !matches!(self.lines[index].content, Content::Section(_)) {
                continue;
            }
            let end = std::mem::replace(&mut start, index);
            let entries: Vec<(&str, &str)> = self.lines[index..end]
                .iter()
                .filter_map(|line| match &line.content {
                    Content::Entry { key, value } => Some((key.as_str(), value.as_str())),
                    _ => None,
                })
                .collect();
            if self.lines[index].is_section(section) && gone(&entries) {
                removed.extend((index..end).rev());
            }
        }
        removed.reverse();
        self.remove_lines(&removed);
        !removed.is_empty()
    }

    /// Removes the lines at these indexes, which ascend.
    fn remove_lines(&mut self, indexes: &[usize]) {
        let mut gone = indexes.iter().copied().peekable();
        let mut index = 0usize;
        self.lines.retain(|_| {
            let keep = gone.next_if_eq(&index).is_none();
            index = index.saturating_add(1);
            keep
        });
    }

    /// Indexes of the lines inside sections of this name.
    fn places(&self, section: &str) -> impl Iterator<Item = usize> {
        let mut inside = false;
        self.lines
            .iter()
            .enumerate()
            .filter(move |(_, line)| {
                if let Content::Section(name) = &line.content {
                    inside = name == section;
                }
                inside
            })
            .map(|(index, _)| index)
    }

    fn has_key(&self, index: usize, wanted: impl Fn(&str) -> bool) -> bool {
        matches!(&self.lines[index].content, Content::Entry { key, .. } if wanted(key))
    }

    fn end_last_line(&mut self) {
        if let Some(line) = self.lines.last_mut()
            && !line.raw.ends_with(b"\n")
        {
            line.raw.push(b'\n');
        }
    }
}

impl Line {
    fn other(raw: &[u8]) -> Self {
        Self {
            raw: raw.to_vec(),
            content: Content::Other,
        }
    }

    fn is_section(&self, section: &str) -> bool {
        matches!(&self.content, Content::Section(name) if name == section)
    }
}

/// Whether the next line belongs to this one; comments and section names never go on.
fn continues(raw: &[u8]) -> bool {
    let first = raw.iter().find(|byte| !byte.is_ascii_whitespace());
    raw.ends_with(b"\\\n") && !matches!(first, Some(b'#' | b';' | b'['))
}

fn understand(raw: &[u8]) -> Content {
    let text = String::from_utf8_lossy(raw).replace("\\\n", " ");
    let text = text.trim();
    if text.starts_with(['#', ';']) {
        return Content::Other;
    }
    if let Some(name) = text
        .strip_prefix('[')
        .and_then(|rest| rest.split(']').next())
    {
        return Content::Section(name.to_owned());
    }
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Content::Entry {
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
        },
        _ => Content::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: &str = "# wired\n[Match]\nName = ens33\n\n[Network]\nAddress=10.0.0.2/24\n\
        Address=10.0.0.3/24\nDNS=10.0.0.1\n\n[Route]\nGateway=10.0.0.1\n\n[Route]\nDestination=10.9.0.0/16\n";

    #[test]
    fn what_is_not_edited_survives() {
        for text in [NETWORK, "", "[a", "x=1", "[a]\nk=1\\\n 2\\"] {
            assert_eq!(Ini::parse(text.as_bytes()).render(), text.as_bytes());
        }
        assert_eq!(Ini::parse(b"=\n\xff\n").render(), b"=\n\xff\n");
    }

    #[test]
    fn keys_are_read_in_their_section() {
        let ini = Ini::parse(NETWORK.as_bytes());
        assert_eq!(ini.value("Match", "Name"), Some("ens33"));
        assert_eq!(ini.values("Network", "Address").count(), 2);
        assert_eq!(ini.value("Match", "DNS"), None);
        let ini = Ini::parse(b"[a]\nk=1 \\\n 2\nl=3\n");
        assert_eq!(ini.value("a", "k"), Some("1   2"));
        assert_eq!(ini.value("a", "l"), Some("3"));
    }

    #[test]
    fn a_key_is_set_where_it_stands() {
        let mut ini = Ini::parse(NETWORK.as_bytes());
        ini.set("Network", "Address", "::1");
        ini.set("Network", "DHCP", "yes");
        ini.set("Link", "MTU", "1500");
        let text = String::from_utf8(ini.render()).unwrap();
        assert!(
            text.contains("[Network]\nAddress=::1\nDNS=10.0.0.1\nDHCP=yes\n\n[Route]"),
            "{text}"
        );
        assert!(text.ends_with("\n\n[Link]\nMTU=1500\n"), "{text}");
        let again = ini.clone();
        ini.set("Network", "DHCP", "yes");
        assert_eq!(ini, again);
    }

    #[test]
    fn sections_go_by_what_they_hold() {
        let mut ini = Ini::parse(NETWORK.as_bytes());
        let gateway = |entries: &[(&str, &str)]| entries.iter().any(|(key, _)| *key == "Gateway");
        assert!(ini.remove_sections("Route", gateway));
        assert!(!ini.remove_sections("Route", gateway));
        assert!(ini.remove("Network", |key| key == "Address"));
        let text = String::from_utf8(ini.render()).unwrap();
        assert!(
            text.ends_with("[Network]\nDNS=10.0.0.1\n\n[Route]\nDestination=10.9.0.0/16\n"),
            "{text}"
        );
    }
}
