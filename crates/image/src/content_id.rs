//! What children of an image remember about the content that they were made over.

use std::fmt;

/// An identity of content: it changes with every writer that opens the image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ContentId {
    /// `CID` of a VMDK descriptor.
    Vmdk(u32),
    /// `unique_id` of a VHD footer.
    Vhd([u8; 16]),
    /// `DataWriteGuid` of a VHDX header.
    Vhdx(uuid::Uuid),
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vmdk(cid) => write!(f, "{cid:08x}"),
            Self::Vhd(id) => {
                for (at, byte) in id.iter().enumerate() {
                    let dash = if [4, 6, 8, 10].contains(&at) { "-" } else { "" };
                    write!(f, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
            Self::Vhdx(guid) => write!(f, "{guid}"),
        }
    }
}
