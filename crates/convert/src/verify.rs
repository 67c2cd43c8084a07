//! Reading back what was written, before anything is published.

use crate::{Error, Plan, State};
use guest::Guest;
use std::collections::BTreeSet;

impl Plan {
    /// Reads every changed object and its directory through `fresh`, a guest that was opened anew
    /// on the overlays that the plan was applied to, and checks the structures of the file systems
    /// that were touched.
    ///
    /// # Errors
    /// [`Error::Verify`] naming the first object or structure that is not as it should be.
    pub fn verify(&self, fresh: &Guest) -> Result<(), Error> {
        let mut directories = BTreeSet::new();
        for change in &self.changes {
            let found = State::of(fresh, &change.path)?;
            let expected = change.after.state();
            if !found.same(&expected) {
                let (path, expected, found) = (&change.path, expected.describe(), found.describe());
                return Err(Error::Verify(format!(
                    "{path} should be {expected}, but {found} reads back"
                )));
            }
            directories.extend(change.path.parent());
        }
        for directory in &directories {
            for entry in fresh.list(directory)? {
                let path = directory.join(&entry.name);
                if fresh.stat(&path)?.is_none() {
                    return Err(Error::Verify(format!(
                        "{path} is listed but cannot be found"
                    )));
                }
            }
        }
        if let Some((mount, problem)) = fresh.check(&directories)?.into_iter().next() {
            return Err(Error::Verify(format!(
                "the file system of {mount}: {}",
                problem.0
            )));
        }
        Ok(())
    }
}
