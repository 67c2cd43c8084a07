//! ifupdown's `interfaces` files. Source: interfaces(5) of Debian and Alpine.

use std::collections::BTreeSet;

/// An `interfaces` file, losslessly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interfaces {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    /// With its end; lines joined by `\` are one.
    raw: Vec<u8>,
    /// None of blank lines and comments.
    words: Vec<String>,
}

/// An `iface` stanza.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Iface {
    /// The interface.
    pub name: String,
    /// `inet` or `inet6`; empty where the stanza has none, as ifupdown2 and ifupdown-ng allow.
    pub family: String,
    /// `static`, `dhcp`, `manual`…; empty where the stanza has none.
    pub method: String,
    /// The options below it, in order.
    pub options: Vec<(String, String)>,
}

impl Iface {
    /// The values of an option.
    pub fn values(&self, option: &str) -> impl Iterator<Item = &str> {
        self.options
            .iter()
            .filter(move |(name, _)| name == option)
            .map(|(_, value)| value.as_str())
    }

    /// Whether an option is there whose name `wanted` accepts.
    pub fn has(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.options.iter().any(|(name, _)| wanted(name))
    }
}

/// What becomes of a stanza.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IfaceEdit {
    /// It stays.
    Keep,
    /// It goes, with its options.
    Remove,
    /// It gets this method, and these options go.
    Change {
        /// The new method.
        method: String,
        /// Positions in [`Iface::options`] of what goes.
        drop: Vec<usize>,
    },
}

impl Interfaces {
    /// Reads a file; whatever bytes it holds, it can be read.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut raws: Vec<Vec<u8>> = Vec::new();
        for raw in bytes.split_inclusive(|byte| *byte == b'\n') {
            match raws.last_mut() {
                Some(open) if !is_comment(open) && open.ends_with(b"\\\n") => {
                    open.extend_from_slice(raw);
                }
                _ => raws.push(raw.to_vec()),
            }
        }
        let line = |raw: Vec<u8>| Line {
            words: words(&raw),
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

    /// All `iface` stanzas, in order.
    pub fn ifaces(&self) -> Vec<Iface> {
        self.stanzas()
            .into_iter()
            .map(|(_, iface, _)| iface)
            .collect()
    }

    /// Interfaces that are brought up at boot or when they appear: `auto` and `allow-*`.
    pub fn autos(&self) -> Vec<&str> {
        let names = self.lines.iter().filter(|line| line.is_auto());
        names
            .flat_map(|line| line.words.iter().skip(1).map(String::as_str))
            .collect()
    }

    /// What other files are read: the keyword (`source` or `source-directory`) and its pattern.
    pub fn sources(&self) -> Vec<(&str, &str)> {
        let sources = self.lines.iter().filter_map(|line| {
            let (keyword, pattern) = (line.words.first()?, line.words.get(1)?);
            matches!(
                keyword.as_str(),
                "source" | "source-directory" | "source-dir"
            )
            .then_some((keyword.as_str(), pattern.as_str()))
        });
        sources.collect()
    }

    /// Lets `decide` say what becomes of every `iface` stanza.
    pub fn edit(&mut self, mut decide: impl FnMut(&Iface) -> IfaceEdit) {
        let mut gone = BTreeSet::new();
        for (header, iface, options) in self.stanzas() {
            match decide(&iface) {
                IfaceEdit::Keep => {}
                IfaceEdit::Remove => {
                    gone.insert(header);
                    gone.extend(options);
                }
                IfaceEdit::Change { method, drop } => {
                    if method != iface.method {
                        self.lines[header].replace_word(3, &method);
                    }
                    gone.extend(drop.iter().filter_map(|index| options.get(*index)));
                }
            }
        }
        let mut index = 0usize;
        self.lines.retain(|_| {
            let keep = !gone.contains(&index);
            index = index.saturating_add(1);
            keep
        });
    }

    /// Takes an interface out of `auto` and `allow-*` lines.
    pub fn remove_auto(&mut self, name: &str) {
        for line in self.lines.iter_mut().filter(|line| line.is_auto()) {
            if line.words.iter().skip(1).any(|word| word == name) {
                let rest: Vec<&str> = line.words.iter().map(String::as_str).collect();
                let rest: Vec<&str> = rest.into_iter().filter(|word| *word != name).collect();
                let text = rest.join(" ") + "\n";
                line.raw = text.into_bytes();
                line.words = words(&line.raw);
            }
        }
        self.lines
            .retain(|line| !(line.is_auto() && line.words.len() == 1));
    }

    /// Every `iface` stanza with the indexes of its line and of its options' lines.
    fn stanzas(&self) -> Vec<(usize, Iface, Vec<usize>)> {
        let mut stanzas: Vec<(usize, Iface, Vec<usize>)> = Vec::new();
        let mut inside = false;
        for (index, line) in self.lines.iter().enumerate() {
            let Some(keyword) = line.words.first() else {
                continue;
            };
            let word = |at: usize| line.words.get(at).cloned().unwrap_or_default();
            if keyword == "iface" {
                inside = true;
                let iface = Iface {
                    name: word(1),
                    family: word(2),
                    method: word(3),
                    options: Vec::new(),
                };
                stanzas.push((index, iface, Vec::new()));
            } else if is_stanza(keyword) {
                inside = false;
            } else if inside && let Some((_, iface, lines)) = stanzas.last_mut() {
                let value = line.words.iter().skip(1).cloned().collect::<Vec<_>>();
                iface.options.push((keyword.clone(), value.join(" ")));
                lines.push(index);
            }
        }
        stanzas
    }
}

impl Line {
    fn is_auto(&self) -> bool {
        self.words
            .first()
            .is_some_and(|word| word == "auto" || word.starts_with("allow-"))
    }

    /// Replaces the word at this position where it stands, or adds it at the end.
    fn replace_word(&mut self, position: usize, new: &str) {
        let text = String::from_utf8_lossy(&self.raw).into_owned();
        let mut found = None;
        let mut count = 0usize;
        let mut start = None;
        for (index, character) in text.char_indices().chain([(text.len(), ' ')]) {
            let blank = character.is_ascii_whitespace() || character == '\\';
            match (start, blank) {
                (None, false) => start = Some(index),
                (Some(from), true) => {
                    if count == position {
                        found = Some(from..index);
                    }
                    count = count.saturating_add(1);
                    start = None;
                }
                _ => {}
            }
        }
        let mut text = text;
        match found {
            Some(range) => text.replace_range(range, new),
            None => {
                let end = text.trim_end().len();
                text.insert_str(end, &format!(" {new}"));
            }
        }
        self.raw = text.into_bytes();
        self.words = words(&self.raw);
    }
}

/// A comment does not continue on the next line; neither does a blank one.
fn is_comment(raw: &[u8]) -> bool {
    let first = raw.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, None | Some(b'#'))
}

fn words(raw: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(raw);
    if text.trim_start().starts_with('#') {
        return Vec::new();
    }
    let joined = text.replace("\\\n", " ");
    joined.split_whitespace().map(str::to_owned).collect()
}

fn is_stanza(keyword: &str) -> bool {
    matches!(
        keyword,
        "iface"
            | "mapping"
            | "auto"
            | "source"
            | "source-directory"
            | "source-dir"
            | "no-auto-down"
            | "no-scripts"
            | "rename"
            | "template"
    ) || keyword.starts_with("allow-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# wired\nsource /etc/network/interfaces.d/*\nauto lo eth1\niface lo inet loopback\n\n\
        allow-hotplug ens33\niface ens33 inet static\n\taddress 10.0.2.77/24\n\t# the router\n\
        \tgateway 10.0.2.2\n\tup ip route add 10.9.0.0/16 \\\n\t  via 10.0.2.9\niface ens33 inet6 auto\n\
        iface eth1 inet  manual\n";

    #[test]
    fn what_is_not_edited_survives() {
        for text in [FILE, "", "iface", "iface a inet static\\", "auto a\\\n"] {
            assert_eq!(Interfaces::parse(text.as_bytes()).render(), text.as_bytes());
        }
        assert_eq!(Interfaces::parse(b"\xff iface").render(), b"\xff iface");
    }

    #[test]
    fn stanzas_end_where_the_next_one_starts() {
        let file = Interfaces::parse(FILE.as_bytes());
        let ifaces = file.ifaces();
        let names: Vec<(&str, &str)> = ifaces
            .iter()
            .map(|iface| (iface.name.as_str(), iface.method.as_str()))
            .collect();
        let expected = [
            ("lo", "loopback"),
            ("ens33", "static"),
            ("ens33", "auto"),
            ("eth1", "manual"),
        ];
        assert_eq!(names, expected);
        assert_eq!(ifaces[1].options.len(), 3);
        assert_eq!(
            ifaces[1].values("up").next(),
            Some("ip route add 10.9.0.0/16 via 10.0.2.9")
        );
        assert_eq!(file.autos(), ["lo", "eth1", "ens33"]);
        assert_eq!(file.sources(), [("source", "/etc/network/interfaces.d/*")]);
    }

    #[test]
    fn a_stanza_is_changed_in_place() {
        let mut file = Interfaces::parse(FILE.as_bytes());
        file.edit(|iface| match (iface.name.as_str(), iface.family.as_str()) {
            ("ens33", "inet") => IfaceEdit::Change {
                method: "dhcp".into(),
                drop: vec![0, 1],
            },
            ("ens33", _) => IfaceEdit::Remove,
            _ => IfaceEdit::Keep,
        });
        file.remove_auto("eth1");
        let text = String::from_utf8(file.render()).unwrap();
        let expected = "# wired\nsource /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n\n\
            allow-hotplug ens33\niface ens33 inet dhcp\n\t# the router\n\
            \tup ip route add 10.9.0.0/16 \\\n\t  via 10.0.2.9\niface eth1 inet  manual\n";
        assert_eq!(text, expected);
    }
}
