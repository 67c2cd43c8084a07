//! The file by which an appended segment is found again.

/// First file of every segment that this crate appends; only its directories stand before it.
pub(crate) const PATH: &str = "etc/rehost/segment";

/// Whether a member's name is the marker's, wherever a link has led `etc`.
pub(crate) fn is_marker(name: &[u8]) -> bool {
    name.strip_suffix(PATH.as_bytes())
        .is_some_and(|before| before.is_empty() || before.ends_with(b"/"))
}

/// What it holds: a version, and the modules that the segment adds, one per line.
pub(crate) fn contents<'a>(modules: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut text = String::from("rehost 1\n");
    for module in modules {
        text.push_str(module);
        text.push('\n');
    }
    text.into_bytes()
}
