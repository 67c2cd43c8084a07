//! Paths that have the labels of others: `file_contexts.subs_dist` and `file_contexts.subs`.

use std::borrow::Cow;

/// Which beginnings of paths stand for which others.
#[derive(Clone, Debug, Default)]
pub(super) struct Substitutions {
    distribution: Vec<(String, String)>,
    local: Vec<(String, String)>,
}

/// Distributions have some twenty.
const MAX_LINES: usize = 10_000;

impl Substitutions {
    pub(super) fn parse(distribution: &[u8], local: &[u8]) -> Self {
        Self {
            distribution: pairs(distribution),
            local: pairs(local),
        }
    }

    /// The path whose label counts: first as the administrator has it, then the distribution.
    pub(super) fn apply<'p>(&self, path: &'p str) -> Cow<'p, str> {
        let path = replaced(&self.local, path).map_or(Cow::Borrowed(path), Cow::Owned);
        match replaced(&self.distribution, &path) {
            Some(path) => Cow::Owned(path),
            None => path,
        }
    }
}

/// Each line is the beginning that is replaced, and what it stands for.
fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for line in String::from_utf8_lossy(bytes).lines().take(MAX_LINES) {
        let mut words = line.split_ascii_whitespace();
        if let (Some(from), Some(to)) = (words.next(), words.next())
            && !from.starts_with('#')
            && !to.starts_with('#')
        {
            pairs.push((from.to_owned(), to.to_owned()));
        }
    }
    // libselinux puts each before those it has read.
    pairs.reverse();
    pairs
}

fn replaced(pairs: &[(String, String)], path: &str) -> Option<String> {
    pairs.iter().find_map(|(from, to)| {
        let rest = path.strip_prefix(from.as_str())?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        // To the root: its slash is enough.
        let to = if to == "/" && !rest.is_empty() {
            ""
        } else {
            to
        };
        Some(format!("{to}{rest}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_parts_are_replaced() {
        let of = |path: &str| {
            let known = Substitutions::parse(
                b"# x\n/run /var/run\n/lib64 /usr/lib\n/sysroot /\n/lonely\n",
                b"/srv/web /var/www\n/r /run\n",
            );
            known.apply(path).into_owned()
        };
        assert_eq!(of("/run/x"), "/var/run/x");
        assert_eq!(of("/run"), "/var/run");
        assert_eq!(of("/running"), "/running");
        assert_eq!(of("/r/x"), "/var/run/x");
        assert_eq!(of("/srv/web/a"), "/var/www/a");
        assert_eq!(of("/sysroot/etc"), "/etc");
        assert_eq!(of("/sysroot"), "/");
        assert_eq!(of("/lonely"), "/lonely");
    }
}
