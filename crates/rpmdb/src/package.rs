//! One installed package.

use std::fmt;

/// One installed package.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Package {
    /// Its name, as "bash".
    pub name: String,
    /// What outranks the version, where the package has one.
    pub epoch: Option<u32>,
    /// The version of what is packaged, as "5.1.8".
    pub version: String,
    /// The version of the packaging, as "9.el9".
    pub release: String,
    /// What it is compiled for, as "x86_64" or "noarch"; keys that rpm trusts have none.
    pub arch: Option<String>,
    /// Who made it, as "Red Hat, Inc.".
    pub vendor: Option<String>,
}

impl Package {
    /// Epoch, version and release as rpm writes them: "1:5.1.8-9.el9", without the epoch where the
    /// package has none.
    pub fn evr(&self) -> String {
        match self.epoch {
            Some(epoch) => format!("{epoch}:{}-{}", self.version, self.release),
            None => format!("{}-{}", self.version, self.release),
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name, self.evr())?;
        match &self.arch {
            Some(arch) => write!(f, ".{arch}"),
            None => Ok(()),
        }
    }
}
