//! The label of each path. Source: selabel_file(5), and libselinux's `label_file.c` for which of
//! several fitting lines counts.

use super::regex::Pattern;
use super::substitutions::Substitutions;
use fs::Kind;

/// What a policy says of labels: `file_contexts` and the files beside it.
///
/// ```
/// use fs::Kind;
/// use guest::selinux::{FileContexts, Label};
///
/// let mut contexts = FileContexts::default();
/// contexts.add(b"/etc(/.*)?\t\tsystem_u:object_r:etc_t:s0\n/etc/shadow\t--\tsystem_u:object_r:shadow_t:s0\n");
/// let label = contexts.label("/etc/shadow", Kind::File);
/// assert_eq!(label, Label::Context("system_u:object_r:shadow_t:s0"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct FileContexts {
    /// Lines whose path has something to be matched, in order.
    patterns: Vec<Spec>,
    /// Lines with a plain path, in order: these count more than patterns.
    plain: Vec<Spec>,
    substitutions: Substitutions,
}

/// What the policy says of one path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Label<'c> {
    /// It has this label.
    Context(&'c str),
    /// It is to be left as it is, or no line fits: the label of the directory that it is made in
    /// is as good as any.
    Unspecified,
    /// It may have the label of a line whose pattern is not understood, this one.
    Unknown(&'c str),
}

/// One line.
#[derive(Clone, Debug)]
struct Spec {
    pattern: Pattern,
    /// The kind of node that it is for; any if there is none.
    kind: Option<Kind>,
    /// The label; none for `<<none>>`.
    context: Option<String>,
}

impl FileContexts {
    /// Takes the lines of a file; those of a later file count more.
    pub fn add(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n') {
            let Ok(line) = str::from_utf8(line) else {
                continue;
            };
            let Some(spec) = Spec::parse(line) else {
                continue;
            };
            let list = match spec.pattern.is_plain() {
                true => &mut self.plain,
                false => &mut self.patterns,
            };
            if list.len() < MAX_LINES {
                list.push(spec);
            }
        }
    }

    /// Takes the files `file_contexts.subs_dist` and `file_contexts.subs`: paths that have the
    /// labels of others.
    pub fn substitute(&mut self, distribution: &[u8], local: &[u8]) {
        self.substitutions = Substitutions::parse(distribution, local);
    }

    /// The label of a node of this kind at an absolute path.
    pub fn label(&self, path: &str, kind: Kind) -> Label<'_> {
        let path = self.substitutions.apply(path);
        // The last line that fits counts.
        for spec in self.plain.iter().rev().chain(self.patterns.iter().rev()) {
            if spec.kind.is_some_and(|only| only != kind) {
                continue;
            }
            match spec.pattern.fits(&path) {
                Some(false) => {}
                Some(true) => {
                    return match &spec.context {
                        Some(context) => Label::Context(context),
                        None => Label::Unspecified,
                    };
                }
                None => return Label::Unknown(spec.pattern.text()),
            }
        }
        Label::Unspecified
    }
}

impl Spec {
    /// A path, sometimes a kind, and a label; none for comments and what is nothing of that.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let path = words.next().filter(|word| !word.starts_with('#'))?;
        let (second, third) = (words.next()?, words.next());
        let kind = match (second, third) {
            (_, None) => None,
            ("--", _) => Some(Kind::File),
            ("-d", _) => Some(Kind::Dir),
            ("-l", _) => Some(Kind::Symlink),
            ("-b", _) => Some(Kind::BlockDevice),
            ("-c", _) => Some(Kind::CharDevice),
            ("-p", _) => Some(Kind::Fifo),
            ("-s", _) => Some(Kind::Socket),
            _ => return None,
        };
        let context = third.unwrap_or(second);
        Some(Self {
            pattern: Pattern::new(path),
            kind,
            context: (context != "<<none>>").then(|| context.to_owned()),
        })
    }
}

/// The policies of distributions have about 7000 lines.
const MAX_LINES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_count_more_than_patterns_and_later_ones_more_than_earlier() {
        let mut contexts = FileContexts::default();
        contexts.add(
            b"# a comment\n\n/etc/resolv\\.conf.*\t--\ta:net\n/etc/a\\.b\t\ta:plain\n/etc(/.*)?  a:etc\n\
              /etc/.*\t-d a:dir\n/etc/none(/.*)? <<none>>\n/etc/x\t-q\ta:x\nlonely\n",
        );
        contexts.add(b"/etc/l.* a:local\n");
        let label = |path: &str, kind| contexts.label(path, kind);
        assert_eq!(label("/etc/a.b", Kind::File), Label::Context("a:plain"));
        assert_eq!(
            label("/etc/resolv.conf", Kind::File),
            Label::Context("a:etc")
        );
        assert_eq!(label("/etc/sub", Kind::Dir), Label::Context("a:dir"));
        assert_eq!(label("/etc/lvm", Kind::Dir), Label::Context("a:local"));
        assert_eq!(label("/etc/none", Kind::File), Label::Unspecified);
        assert_eq!(label("/etc/x", Kind::File), Label::Context("a:etc"));
        assert_eq!(label("/var", Kind::Dir), Label::Unspecified);
    }

    #[test]
    fn a_pattern_that_is_not_understood_is_told_where_it_could_fit() {
        let mut contexts = FileContexts::default();
        contexts.add(b"/.* a:any\n/opt/(?!x).* a:opt\n/srv/y a:y\n");
        assert_eq!(
            contexts.label("/opt/a", Kind::File),
            Label::Unknown("/opt/(?!x).*")
        );
        assert_eq!(
            contexts.label("/srv/a", Kind::File),
            Label::Context("a:any")
        );
        assert_eq!(contexts.label("/srv/y", Kind::File), Label::Context("a:y"));
    }
}
