//! What a page has room for.

/// What is left of a page's room.
#[derive(Debug)]
pub(crate) struct Room {
    page: usize,
    diffs: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            page: 3 << 20,
            diffs: 3 << 19,
        }
    }
}

impl Room {
    /// Most bytes of one diff.
    pub(crate) const DIFF: usize = 24 << 10;
    /// Most lines of one diff.
    pub(crate) const DIFF_LINES: usize = 300;
    /// Most letters of a line of a diff.
    pub(crate) const LINE: usize = 600;
    /// Most changes of a machine.
    pub(crate) const CHANGES: usize = 1000;
    /// Most entries of every other list of a machine.
    pub(crate) const LIST: usize = 100;
    /// Most machines in a table of machines.
    pub(crate) const MACHINES: usize = 5000;

    /// Whether the details of another machine may be shown.
    pub(crate) fn is_left(&self) -> bool {
        self.page > 0
    }

    /// A machine took this many bytes.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.page = self.page.saturating_sub(bytes);
    }

    /// How much of a diff of this many bytes may be shown.
    pub(crate) fn for_diff(&mut self, bytes: usize) -> usize {
        let shown = bytes.min(Self::DIFF).min(self.diffs);
        self.diffs -= shown;
        shown
    }
}
