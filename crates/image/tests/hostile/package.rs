//! Packages made byte by byte: tar archives, descriptors, manifests.

use ondisk::width::u64_of;
use sha2::{Digest, Sha256};

/// A header block with a right checksum.
pub(crate) fn header(name: &str, size: &[u8], typeflag: u8) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = typeflag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    summed(block)
}

/// The same block with its checksum put right.
pub(crate) fn summed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A size of a header in octal.
pub(crate) fn octal(size: u64) -> Vec<u8> {
    format!("{size:011o}\0").into_bytes()
}

/// A size of a header as GNU tar writes those beyond 8 GiB.
pub(crate) fn binary(size: u64) -> Vec<u8> {
    [&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat()
}

/// A member of any type with its padding.
pub(crate) fn typed(name: &str, typeflag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, &octal(u64_of(content.len())), typeflag);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A file with its padding.
pub(crate) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    typed(name, b'0', content)
}

/// A record of a pax header.
pub(crate) fn record(keyword: &str, value: &str) -> String {
    let rest = format!(" {keyword}={value}\n");
    let digits = (1..)
        .find(|digits| (rest.len() + digits).to_string().len() == *digits)
        .unwrap();
    format!("{}{rest}", rest.len() + digits)
}

/// An archive of files.
pub(crate) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let files = members.iter().map(|(name, content)| file(name, content));
    ended(&files.collect::<Vec<_>>())
}

/// An archive of members that are made already.
pub(crate) fn ended(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

/// A descriptor, of its three parts.
pub(crate) fn ovf(files: &str, disks: &str, items: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
         xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" xmlns:rasd=\"urn:rasd\">\n\
         <References>{files}</References>\n\
         <DiskSection><Info>Disks</Info>{disks}</DiskSection>\n\
         <VirtualSystem ovf:id=\"vm\"><Name>vm</Name>\n\
         <VirtualHardwareSection>{items}</VirtualHardwareSection>\n\
         </VirtualSystem></Envelope>\n"
    )
}

/// A descriptor of one machine that has the named files as disks on one controller.
pub(crate) fn ovf_of(names: &[&str]) -> String {
    let (mut files, mut disks) = (String::new(), String::new());
    let mut items = controller(1, 6, 0);
    for (n, name) in names.iter().enumerate() {
        files += &format!("<File ovf:id=\"f{n}\" ovf:href=\"{name}\"/>");
        disks += &format!(
            "<Disk ovf:diskId=\"d{n}\" ovf:fileRef=\"f{n}\" ovf:capacity=\"1\" \
             ovf:capacityAllocationUnits=\"byte * 2^20\"/>"
        );
        items += &drive(10 + n, &format!("ovf:/disk/d{n}"), 1, n);
    }
    ovf(&files, &disks, &items)
}

/// A controller: 5 is IDE, 6 SCSI, 20 SATA.
pub(crate) fn controller(id: usize, resource_type: u8, address: usize) -> String {
    format!(
        "<Item><rasd:Address>{address}</rasd:Address><rasd:InstanceID>{id}</rasd:InstanceID>\
         <rasd:ResourceType>{resource_type}</rasd:ResourceType></Item>"
    )
}

/// A hard disk.
pub(crate) fn drive(id: usize, resource: &str, parent: usize, address: usize) -> String {
    format!(
        "<Item><rasd:AddressOnParent>{address}</rasd:AddressOnParent>\
         <rasd:ElementName>Hard disk {id}</rasd:ElementName>\
         <rasd:HostResource>{resource}</rasd:HostResource>\
         <rasd:InstanceID>{id}</rasd:InstanceID><rasd:Parent>{parent}</rasd:Parent>\
         <rasd:ResourceType>17</rasd:ResourceType></Item>"
    )
}

/// A manifest with the right digests.
pub(crate) fn manifest(files: &[(&str, &[u8])]) -> String {
    let line = |(name, content): &(&str, &[u8])| {
        let digest = Sha256::digest(content);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("SHA256({name})= {hex}\n")
    };
    files.iter().map(line).collect()
}
