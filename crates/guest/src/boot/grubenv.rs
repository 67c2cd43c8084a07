//! GRUB's environment block, `grubenv`.
//!
//! GRUB writes the block in place, by the disk blocks it has found, so its size never changes:
//! a signature line, `name=value` lines in which `\` protects `\` and line ends, and `#` up to
//! the end. Source: GRUB manual, section "The GRUB environment block"; `grub-core/lib/envblk.c`.

/// An environment block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrubEnv {
    lines: Vec<Vec<u8>>,
    size: usize,
    /// Padding, as it was; shortened or lengthened at its end.
    padding: Vec<u8>,
}

/// Why a file is no environment block, or a value does not fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GrubEnvError {
    /// The signature line is missing.
    #[error("no environment block: it does not start with {SIGNATURE:?}")]
    Signature,
    /// A line has no end.
    #[error("the line at byte {at} of the environment block has no end")]
    OpenLine {
        /// Where the line starts.
        at: usize,
    },
    /// A line is neither a variable nor a comment, as where padding has got a line end.
    #[error("the line at byte {at} of the environment block is neither a variable nor a comment")]
    NoVariable {
        /// Where the line starts.
        at: usize,
    },
    /// There is no room.
    #[error("the environment block has {size} bytes, and {needed} are needed")]
    Full {
        /// Bytes of the block.
        size: usize,
        /// Bytes that the variables need.
        needed: usize,
    },
}

const SIGNATURE: &str = "# GRUB Environment Block\n";
/// Bytes of the block that `grub-editenv create` makes.
const SIZE: usize = 1024;

impl GrubEnv {
    /// A block without variables, of the usual size.
    pub fn empty() -> Self {
        Self {
            lines: Vec::new(),
            size: SIZE,
            padding: vec![b'#'; SIZE.saturating_sub(SIGNATURE.len())],
        }
    }

    /// Reads a block.
    ///
    /// # Errors
    /// [`GrubEnvError::Signature`], [`GrubEnvError::OpenLine`], [`GrubEnvError::NoVariable`].
    pub fn parse(bytes: &[u8]) -> Result<Self, GrubEnvError> {
        let Some(mut rest) = bytes.strip_prefix(SIGNATURE.as_bytes()) else {
            return Err(GrubEnvError::Signature);
        };
        let mut lines = Vec::new();
        // GRUB 2.04 and later put a second comment line, all others are padding without line end.
        while let Some(length) = line_length(rest) {
            let (line, tail) = rest.split_at(length);
            if !line.starts_with(b"# ") && !line.contains(&b'=') {
                let at = bytes.len() - rest.len();
                return Err(GrubEnvError::NoVariable { at });
            }
            lines.push(line.to_vec());
            rest = tail;
        }
        if rest.iter().any(|byte| *byte != b'#') {
            let at = bytes.len() - rest.len();
            return Err(GrubEnvError::OpenLine { at });
        }
        Ok(Self {
            lines,
            size: bytes.len(),
            padding: rest.to_vec(),
        })
    }

    /// The block's bytes, as many as were read.
    pub fn render(&self) -> Vec<u8> {
        let mut bytes = SIGNATURE.as_bytes().to_vec();
        for line in &self.lines {
            bytes.extend_from_slice(line);
        }
        bytes.extend_from_slice(&self.padding);
        bytes
    }

    /// The value of a variable.
    pub fn value(&self, name: &str) -> Option<String> {
        let line = self.lines.iter().find(|line| is_of(line, name))?;
        let body = line.strip_suffix(b"\n").unwrap_or(line);
        let value = body.get(name.len() + 1..)?;
        let mut plain = Vec::with_capacity(value.len());
        let mut escaped = false;
        for byte in value {
            if *byte == b'\\' && !escaped {
                escaped = true;
            } else {
                plain.push(*byte);
                escaped = false;
            }
        }
        Some(String::from_utf8_lossy(&plain).into_owned())
    }

    /// Gives a variable a value, where it stands or at the end.
    ///
    /// # Errors
    /// [`GrubEnvError::Full`]; the block is then as it was.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), GrubEnvError> {
        let value = value.replace('\\', "\\\\").replace('\n', "\\\n");
        let line = format!("{name}={value}\n").into_bytes();
        let mut lines = self.lines.clone();
        match lines.iter_mut().find(|line| is_of(line, name)) {
            Some(old) => *old = line,
            None => lines.push(line),
        }
        let used: usize = SIGNATURE.len() + lines.iter().map(Vec::len).sum::<usize>();
        let Some(left) = self.size.checked_sub(used) else {
            return Err(GrubEnvError::Full {
                size: self.size,
                needed: used,
            });
        };
        self.lines = lines;
        self.padding = vec![b'#'; left];
        Ok(())
    }
}

fn is_of(line: &[u8], name: &str) -> bool {
    line.strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.starts_with(b"="))
}

/// Bytes up to and with the next line end that `\` does not protect.
fn line_length(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'\n' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: &str) -> Vec<u8> {
        let mut bytes = format!("{SIGNATURE}{lines}").into_bytes();
        bytes.resize(1024, b'#');
        bytes
    }

    #[test]
    fn a_block_keeps_its_size() {
        let bytes =
            block("# WARNING: Do not edit\nsaved_entry=a\\\\b\nkernelopts=root=/dev/sda2 ro \n");
        let mut env = GrubEnv::parse(&bytes).unwrap();
        assert_eq!(env.render(), bytes);
        assert_eq!(env.value("saved_entry").as_deref(), Some("a\\b"));
        assert_eq!(env.value("kernel"), None);
        env.set("kernelopts", "root=UUID=1 ro").unwrap();
        env.set("next_entry", "x\ny").unwrap();
        let edited = env.render();
        assert_eq!(edited.len(), 1024);
        let again = GrubEnv::parse(&edited).unwrap();
        assert_eq!(again.value("kernelopts").as_deref(), Some("root=UUID=1 ro"));
        assert_eq!(again.value("next_entry").as_deref(), Some("x\ny"));
    }

    #[test]
    fn a_full_block_stays_as_it_is() {
        let mut env = GrubEnv::parse(&block("a=1\n")).unwrap();
        let before = env.clone();
        let error = env.set("b", &"x".repeat(1000)).unwrap_err();
        assert_eq!(
            error,
            GrubEnvError::Full {
                size: 1024,
                needed: 1032
            }
        );
        assert_eq!(env, before);
    }

    #[test]
    fn a_file_without_signature_is_no_block() {
        assert_eq!(GrubEnv::parse(b"a=1\n####"), Err(GrubEnvError::Signature));
    }

    #[test]
    fn padding_with_a_line_end_is_refused() {
        let bytes = block("a=1\n####\n\n");
        assert_eq!(
            GrubEnv::parse(&bytes),
            Err(GrubEnvError::NoVariable { at: 29 })
        );
    }

    #[test]
    fn an_open_line_is_refused() {
        let bytes = block("a=1\nb=2");
        assert_eq!(
            GrubEnv::parse(&bytes),
            Err(GrubEnvError::OpenLine { at: 29 })
        );
    }
}
