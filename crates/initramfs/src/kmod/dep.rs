//! `modules.dep`: a module's file, a colon, and the files of all modules that it needs.

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Dependencies {
    /// The module's file.
    pub(crate) path: String,
    /// The files that it needs, directly or not; the last one is to be loaded first.
    pub(crate) needs: Vec<String>,
}

impl Dependencies {
    /// Reads one line; nothing if it has no colon.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (path, needs) = line.split_once(':')?;
        Some(Self {
            path: path.trim().to_owned(),
            needs: needs.split_ascii_whitespace().map(str::to_owned).collect(),
        })
    }

    /// The line with paths below the directory of a kernel's modules, where it has them whole.
    pub(crate) fn below(self, release: &str) -> Self {
        let directory = format!("/{release}/");
        let relative = |path: String| match path.split_once(&directory) {
            Some((before, below)) if before.starts_with('/') => below.to_owned(),
            _ => path,
        };
        Self {
            path: relative(self.path),
            needs: self.needs.into_iter().map(relative).collect(),
        }
    }

    /// The line, without its end.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{}:", self.path);
        for needed in &self.needs {
            line.push(' ');
            line.push_str(needed);
        }
        line
    }
}

/// All lines of a file; those that are none are passed over, as kmod does.
pub(crate) fn parse(text: &str) -> Vec<Dependencies> {
    text.lines().filter_map(Dependencies::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_written_alike() {
        let line = "kernel/a.ko: kernel/b.ko kernel/c.ko";
        let dependencies = Dependencies::parse(line).unwrap();
        assert_eq!(dependencies.needs, ["kernel/b.ko", "kernel/c.ko"]);
        assert_eq!(dependencies.line(), line);
        assert_eq!(
            Dependencies::parse("kernel/a.ko:").unwrap().line(),
            "kernel/a.ko:"
        );
        assert_eq!(parse("# comment\n").len(), 0);
    }
}
