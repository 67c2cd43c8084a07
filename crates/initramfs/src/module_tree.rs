use crate::error::Error;

/// The modules of one kernel: the directory `/lib/modules/RELEASE` of a guest.
pub trait ModuleTree {
    /// The kernel's release, which is the directory's name: `6.1.0-50-amd64`.
    fn release(&self) -> &str;

    /// The contents of the file at `path`, which is relative to the directory; nothing if there is
    /// none.
    ///
    /// # Errors
    /// Whatever keeps an existing file from being read.
    fn read(&self, path: &str)
    -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>;
}

/// Reads a file and says which one it was if that fails.
pub(crate) fn read(tree: &dyn ModuleTree, path: &str) -> Result<Option<Vec<u8>>, Error> {
    tree.read(path).map_err(|source| Error::Tree {
        path: path.to_owned(),
        source,
    })
}
