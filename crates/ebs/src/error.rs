//! Why something could not be done with EBS.

use crate::Action;
use ondisk::Interrupted;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Why something could not be done with EBS. None of it holds credentials.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting cannot be used.
    #[error("{what} cannot be used: {why}")]
    Setting {
        /// Which one.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// There are no credentials any more, or the service does not know them.
    #[error("there are no usable AWS credentials: {0}")]
    Credentials(String),
    /// IAM, or the key's policy, does not allow it.
    #[error("AWS denies {action}: {message}")]
    Denied {
        /// What has to be allowed.
        action: Action,
        /// What the service said.
        message: String,
    },
    /// The service does not know the snapshot, or cannot see it with these credentials.
    #[error("there is no snapshot {0}")]
    NoSnapshot(String),
    /// The service refused for good.
    #[error("{action} was refused ({code}): {message}")]
    Refused {
        /// What was asked.
        action: Action,
        /// The service's code, with its reason if it gave one.
        code: String,
        /// What the service said.
        message: String,
    },
    /// Nothing that promised to pass did pass in time.
    #[error("{action} still failed after {attempts} attempts in {} s: {last}", waited.as_secs())]
    GaveUp {
        /// What was asked.
        action: Action,
        /// How often.
        attempts: u32,
        /// For how long.
        waited: Duration,
        /// Why the last attempt failed.
        last: String,
    },
    /// The service answers what its interface does not allow.
    #[error("the answer to {action} is not usable: {what}")]
    Answer {
        /// What was asked.
        action: Action,
        /// What is wrong with the answer.
        what: String,
    },
    /// A block's content does not have the digest that it had when it was read.
    #[error("block {block} changed in memory, or on its way, twice: {what}")]
    Checksum {
        /// Which one.
        block: u32,
        /// What was found.
        what: String,
    },
    /// The snapshot was uploaded and then declared an error by the service.
    #[error("snapshot {id} ended in state error{}{message}", if message.is_empty() { "" } else { ": " })]
    SnapshotFailed {
        /// Which one.
        id: String,
        /// What the service said, if anything.
        message: String,
    },
    /// The snapshot is not in its final state yet.
    #[error("snapshot {id} is still {state} after {} s; it may become completed later", waited.as_secs())]
    NotFinal {
        /// Which one.
        id: String,
        /// Its state.
        state: String,
        /// For how long it was looked at.
        waited: Duration,
    },
    /// What is to be uploaded contradicts itself or the rules of EBS.
    #[error("this cannot be uploaded: {0}")]
    Request(String),
    /// A file in the journal directory is not what it was written as.
    #[error("{} is damaged at byte {offset}: {what}; remove it to begin anew", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// Another process uploads the same snapshot.
    #[error("{} is in use: the same upload is running", .0.display())]
    Busy(PathBuf),
    /// The host failed.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The disk could not be read, or its blocks could not be compared.
    #[error(transparent)]
    Store(store::Error),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl Error {
    /// Whether it may be gone later, with nothing changed here: the network, or the service, did not
    /// answer in time.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::GaveUp { .. } | Self::NotFinal { .. })
    }

    /// What `store`'s engine says, with an error of ours that went through it as it was.
    pub(crate) fn of_engine(error: store::Error) -> Self {
        match error {
            store::Error::Interrupted(interrupted) => Self::Interrupted(interrupted),
            store::Error::Put { block, source } => match source.downcast::<Self>() {
                Ok(ours) => *ours,
                // The sink looks at the user's wish too, where it waits.
                Err(source) => match source.downcast::<Interrupted>() {
                    Ok(interrupted) => Self::Interrupted(*interrupted),
                    Err(source) => Self::Store(store::Error::Put { block, source }),
                },
            },
            other => Self::Store(other),
        }
    }
}
