//! What the fuzz targets do with their input, as ordinary functions: `tests/fuzz_smoke.rs` runs
//! them too.
//!
//! A body returns whatever the input is; it panics where something that has to hold does not.
//! Disks and images come as [sparse](disk) input, so that seeds are small and mutations hit what
//! is not zero.

use block::{BlockRead, Memory};
use fs::{FileSystem, FileSystemEdit, Kind, NewNode, NodeId, Time};
use initramfs::{Initramfs, ModuleTree, Request, cpio};
use ondisk::Interrupt;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

#[path = "xfs_seal.rs"]
mod xfs_seal;

/// Blueprints and what is imported as one: every problem is in the text, and what is understood
/// survives being written.
pub fn blueprint(data: &[u8]) {
    use launch::blueprint::{Blueprint, Context, import};
    use launch::document;
    let check = |text: &str| match document::read::<Blueprint>(text) {
        Ok(document) => {
            let written = document
                .value()
                .to_yaml()
                .expect("a blueprint can be written");
            let again = document::read::<Blueprint>(&written).expect("and read");
            assert_eq!(again.value(), document.value(), "{written}");
            Blueprint::check(&document, &Context::default())
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            problems
        }
    };
    if let Ok(text) = str::from_utf8(data) {
        let lines = text.split(['\n', '\r']).count();
        for problem in check(text) {
            assert!((1..=lines).contains(&problem.line), "{problem}");
            assert!(problem.column > 0 && !problem.fix.is_empty(), "{problem}");
        }
    }
    for imported in import::import(data, None).into_iter().flatten() {
        let text = imported
            .to_yaml()
            .expect("an imported blueprint can be written");
        // What the other tool allowed may be refused here, but it is our format.
        for problem in check(&text) {
            assert!(!problem.rule.starts_with("yaml"), "{problem}\n{text}");
        }
    }
    let _ = launch::instances::Table::parse(data);
}

/// qcow2 images: open, extents, reads, dirty bitmaps.
pub fn qcow2(data: &[u8]) {
    read_image(data, image::Format::Qcow2);
}

/// VMDK images, sparse and stream-optimised, descriptors, and extents of ESX, which get a
/// descriptor; the input is [sparse](disk).
pub fn vmdk(data: &[u8]) {
    let Some(file) = disk(data) else {
        return;
    };
    read_image(&file, image::Format::Vmdk);
    if let Some(text) = vmdk_descriptor(&file) {
        let dir = tempfile::tempdir().expect("a place for the image");
        let path = dir.path().join("image");
        std::fs::write(&path, text).expect("room for the descriptor");
        std::fs::write(dir.path().join("extent"), &file).expect("room for the extent");
        read_path(&path, image::Format::Vmdk);
    }
}

/// VHD images; the input is [sparse](disk), and the file ends with its last sector that is not zero.
///
/// Few mutations would come past the checksums, so they are made right for a second try. A parent
/// for differencing disks is there, `base.vhd`: see [`vhd_parent`].
pub fn vhd(data: &[u8]) {
    let Some(mut file) = disk(data) else {
        return;
    };
    let sectors = file.as_chunks::<512>().0;
    let last = sectors.iter().rposition(|sector| *sector != [0; 512]);
    file.truncate(last.map_or(0, |last| last + 1) * 512);
    let parent = vhd_parent();
    let beside = [("base.vhd", &parent[..])];
    read_image_beside(&beside, &file, image::Format::Vhd);
    seal_vhd(&mut file);
    read_image_beside(&beside, &file, image::Format::Vhd);
}

/// A fixed VHD of 64 KiB with the unique id `sixteen letters!`.
fn vhd_parent() -> Vec<u8> {
    let size = (64_u64 << 10).to_be_bytes();
    let mut file = vec![7; 64 << 10];
    file.extend(b"conectix\0\0\0\x02\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
    file.extend(b"\0\0\0\0test\0\x01\0\0Wi2k");
    file.extend([size, size].concat());
    file.extend(b"\0\x01\x04\x11\0\0\0\x02\0\0\0\0sixteen letters!");
    file.resize((64 << 10) + 512, 0);
    seal_vhd(&mut file);
    file
}

/// Makes the checksums of footers and header right where they usually are.
fn seal_vhd(file: &mut [u8]) {
    let places = [
        (0, 512, 64, &b"conectix"[..]),
        (file.len().saturating_sub(512), 512, 64, b"conectix"),
        (512, 1024, 36, b"cxsparse"),
    ];
    for (start, len, checksum, cookie) in places {
        if let Some(structure) = file.get_mut(start..start + len)
            && structure.starts_with(cookie)
        {
            structure[checksum..checksum + 4].fill(0);
            let sum = !structure.iter().map(|byte| u32::from(*byte)).sum::<u32>();
            structure[checksum..checksum + 4].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// The descriptor of an extent of ESX, which is called `extent`: it takes all that the header has.
pub fn vmdk_descriptor(file: &[u8]) -> Option<String> {
    let (kind, sectors) = if file.starts_with(b"COWD") {
        let field = file.get(12..)?.first_chunk().copied()?;
        ("VMFSSPARSE", u64::from(u32::from_le_bytes(field)))
    } else if file.starts_with(b"\xbe\xba\xfe\xca") {
        let field = file.get(16..)?.first_chunk().copied()?;
        ("SESPARSE", u64::from_le_bytes(field))
    } else {
        return None;
    };
    Some(format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\nRW {sectors} {kind} \"extent\"\n"
    ))
}

/// OVA archives: members, descriptor, manifest, expansion, the disks.
pub fn ova(data: &[u8]) {
    read_package("m.ova", data);
    // No mutation keeps the checksums of the headers, so they are put right too.
    let mut summed = data.to_vec();
    for block in summed.chunks_exact_mut(512) {
        if block[257..].starts_with(b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    read_package("m.ova", &summed);
}

/// OVF descriptors.
pub fn ovf(data: &[u8]) {
    read_package("m.ovf", data);
}

/// VHDX images; the input is [sparse](disk). A parent for differencing disks is there, `base.vhdx`.
///
/// Few mutations would come past the checksums, so they are made right for a second try.
pub fn vhdx(data: &[u8]) {
    let Some(mut file) = disk(data) else {
        return;
    };
    let parent = disk(include_bytes!("corpus/vhdx/dynamic")).expect("the seed is small");
    let beside = [("base.vhdx", &parent[..])];
    read_image_beside(&beside, &file, image::Format::Vhdx);
    let mut seal = |at: usize, len: usize| {
        if let Some(bytes) = file.get_mut(at..at + len) {
            bytes[4..8].fill(0);
            let sum = crc32c::crc32c(bytes);
            bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        }
    };
    for (header, region_table) in [(64 << 10, 192 << 10), (128 << 10, 256 << 10)] {
        seal(header, 4096);
        seal(region_table, 64 << 10);
    }
    // Where the seeds have entries of the log.
    seal(1 << 20, 8192);
    seal((1 << 20) + 8192, 8192);
    read_image_beside(&beside, &file, image::Format::Vhdx);
}

/// Volume groups: a metadata text up to its first NUL, and what lies in the extents behind, which
/// is [sparse](disk). Label, header and checksums around them are made right, those of a thin
/// pool's metadata as well.
pub fn logical_volumes(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0);
    let (text, extents) = data.split_at(end.unwrap_or(data.len()));
    if text.len() > 64 << 10 {
        return;
    }
    let extents = disk(extents.get(1..).unwrap_or_default()).unwrap_or_default();
    let mut bytes = vec![0; 1 << 20];
    let label = &mut bytes[512..1024];
    label[..8].copy_from_slice(b"LABELONE");
    label[8] = 1;
    label[20] = 32;
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].fill(b'a');
    label[74] = 16;
    // One data area from 1 MiB on, one metadata area from 4 KiB.
    label[105] = 16;
    label[113..115].copy_from_slice(&[0xf0, 0x0f]);
    let crc = lvm_checksum(&label[20..]);
    label[16..20].copy_from_slice(&crc.to_le_bytes());
    bytes[4608..4608 + text.len()].copy_from_slice(text);
    let len = u64::try_from(text.len() + 1).expect("it is short");
    let crc = lvm_checksum(&bytes[4608..4609 + text.len()]);
    let header = &mut bytes[4096..4608];
    header[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    header[20] = 1;
    header[25] = 16;
    header[33..35].copy_from_slice(&[0xf0, 0x0f]);
    header[41] = 2;
    header[48..56].copy_from_slice(&len.to_le_bytes());
    header[56..60].copy_from_slice(&crc.to_le_bytes());
    let crc = lvm_checksum(&header[4..]);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    bytes.extend(extents);
    for sealed in [false, true] {
        if sealed {
            bytes[1 << 20..].chunks_exact_mut(4096).for_each(seal_thin);
        }
        let member = volume::lvm::Member {
            name: "disk".to_owned(),
            device: Arc::new(Memory::new(bytes.clone())),
        };
        let assembled = volume::lvm::assemble(&[member]).expect("memory can be read");
        for group in &assembled.groups {
            for volume in &group.volumes {
                if let Ok(device) = &volume.device {
                    assert_eq!(device.size(), volume.size);
                    try_device(&**device);
                }
            }
        }
        for finding in &assembled.findings {
            assert!(!finding.to_string().is_empty());
        }
    }
}

/// LVM2's checksum: a CRC-32 with another start and no inversion.
fn lvm_checksum(bytes: &[u8]) -> u32 {
    let mut crc = 0xf597_a6cf_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    crc
}

/// Makes the checksum of a block right that may be one of a thin pool.
fn seal_thin(block: &mut [u8]) {
    // Superblocks of RAID have no checksum.
    if block.starts_with(b"DmRd") {
        return;
    }
    let salt = match (&block[4..8], &block[32..40]) {
        (_, magic) if magic == 27_022_010_u64.to_le_bytes() => 160_774,
        ([1 | 2, 0, 0, 0], _) => 121_107,
        _ => 240_779,
    };
    let crc = !crc32c::crc32c(&block[4..]) ^ salt;
    block[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Reads, asks and writes here and there.
fn try_device(device: &dyn block::BlockWrite) {
    let size = device.size();
    for at in [0, size / 3, size / 2, size.saturating_sub(1)] {
        if at >= size {
            continue;
        }
        if let Ok(extent) = device.extent_at(at) {
            assert!(extent.range.contains(&at) && extent.range.end <= size);
        }
        let mut there = vec![0; usize::try_from((size - at).min(5000)).expect("it is short")];
        if device.read_at(at, &mut there).is_ok() && device.write_at(at, &[0x5a]).is_ok() {
            // A volume may lie over what describes it.
            let _ = device.read_at(at, &mut there[..1]);
        }
    }
}

/// Members of a RAID: two, each half of a [sparse](disk) input. Their checksums are made right for
/// a second try.
pub fn raid_members(data: &[u8]) {
    let Some(bytes) = disk(data) else {
        return;
    };
    let (first, second) = bytes.split_at(bytes.len() / 8192 * 4096);
    for sealed in [false, true] {
        let mut members = Vec::new();
        for half in [first, second] {
            let mut half = half.to_vec();
            if sealed {
                seal_raid(&mut half);
            }
            let device: Arc<dyn block::BlockWrite> = Arc::new(Memory::new(half));
            let found = volume::md::Superblock::read(&device).expect("memory can be read");
            if let Ok(Some(superblock)) = found {
                members.push(("disk".to_owned(), device, superblock));
            }
        }
        for array in volume::md::assemble(&members) {
            if let Ok(device) = &array.device {
                try_device(&**device);
            }
            for finding in &array.findings {
                assert!(!finding.to_string().is_empty());
            }
        }
    }
}

/// Makes the checksums of superblocks right where they usually are.
fn seal_raid(bytes: &mut [u8]) {
    let end = bytes.len().saturating_sub(8192) & !0xfff;
    for at in [0, 4096, end] {
        let Some(superblock) = bytes.get_mut(at..at + 4096) else {
            continue;
        };
        let roles = u32::from_le_bytes([220, 221, 222, 223].map(|at| superblock[at]));
        let len = 256 + 2 * usize::try_from(roles).unwrap_or(0).min(1920);
        superblock[216..220].fill(0);
        let sum = superblock[..len].chunks(4).fold(0_u64, |sum, word| {
            let mut whole = [0; 4];
            whole[..word.len()].copy_from_slice(word);
            sum + u64::from(u32::from_le_bytes(whole))
        });
        let sum = u32::try_from(sum & 0xffff_ffff)
            .unwrap_or(0)
            .wrapping_add(u32::try_from(sum >> 32).unwrap_or(0));
        superblock[216..220].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Partition tables on a [sparse](disk) disk.
pub fn partitions(data: &[u8]) {
    let Some(bytes) = disk(data) else {
        return;
    };
    let disk = Arc::new(Memory::new(bytes));
    let Ok(table) = volume::scan(&*disk) else {
        return;
    };
    for partition in &table.partitions {
        let inside = partition.end() <= disk.size();
        let opened = partition.open(disk.clone());
        assert_eq!(opened.is_ok(), partition.in_bounds);
        assert!(inside || !partition.in_bounds);
        if let Ok(window) = opened {
            assert_eq!(window.size(), partition.size);
        }
    }
    for finding in &table.findings {
        assert!(!finding.to_string().is_empty());
    }
}

/// ext2, ext3 and ext4 on a [sparse](disk) device: walk, check, edit, check again.
pub fn ext4_file_system(data: &[u8]) {
    let Some(bytes) = disk(data) else {
        return;
    };
    let device = Arc::new(Memory::new(bytes));
    // What a probe refuses, opening may refuse too, by another error.
    let _ = ext4::probe(&*device);
    if let Ok(mut ext4) = ext4::Ext4::open(device.clone()) {
        use_file_system(&mut ext4, true);
    }
    if let Ok(mut again) = ext4::Ext4::open(device) {
        walk(&mut again);
    }
}

/// XFS on a [sparse](disk) device: recover, walk, check, edit, check again; as it is, and with right
/// sums in what the input holds, since few damaged structures get past wrong ones.
pub fn xfs_file_system(data: &[u8]) {
    let Some(bytes) = disk(data) else {
        return;
    };
    let mut sealed = bytes.clone();
    let sectors = data.get(2..).unwrap_or_default().chunks_exact(514);
    let sectors = sectors.map(|record| usize::from(u16::from_le_bytes([record[0], record[1]])));
    let touched = sectors.map(|sector| sector * 512);
    xfs_seal::seal(&mut sealed, touched.clone());
    xfs_seal::seal_log(&mut sealed, touched);
    for bytes in [bytes, sealed] {
        let device = Arc::new(Memory::new(bytes));
        // As above.
        let _ = xfs::probe(&*device);
        if let Ok(mut xfs) = xfs::Xfs::open(device.clone()) {
            use_file_system(&mut xfs, true);
        }
        if let Ok(mut again) = xfs::Xfs::open(device) {
            walk(&mut again);
        }
    }
}

/// FAT on a [sparse](disk) device: walk, check, edit, check again.
pub fn fat_file_system(data: &[u8]) {
    let Some(bytes) = disk(data) else {
        return;
    };
    let device = Arc::new(Memory::new(bytes));
    // As above.
    let _ = fat::probe(&*device);
    if let Ok(mut fat) = fat::Fat::open(device.clone()) {
        use_file_system(&mut fat, false);
    }
    if let Ok(mut again) = fat::Fat::open(device) {
        walk(&mut again);
    }
}

/// initramfs images: segments, contents, and their extension.
pub fn initramfs_image(data: &[u8]) {
    let tree = Tree {
        files: BTreeMap::from([
            (
                "modules.dep",
                &b"kernel/nvme.ko: kernel/nvme-core.ko\nkernel/nvme-core.ko:\n"[..],
            ),
            ("kernel/nvme.ko", b"\x7fELF nvme"),
            ("kernel/nvme-core.ko", b"\x7fELF core"),
        ]),
    };
    extend(data, &tree, true);
}

/// kmod's files, in a module tree and in an initramfs: `\n== NAME\n` begins a file.
pub fn kernel_modules(data: &[u8]) {
    let mut files = sections(data);
    let mut archive = cpio::Writer::new();
    for dir in [
        "lib",
        "lib/modules",
        "lib/modules/6.1.0",
        "lib/modules/6.1.0/kernel",
    ] {
        archive.directory(dir).expect("a plain name");
    }
    for (name, content) in &files {
        // A name that an archive cannot hold is left out of it.
        let _ = archive.file(&format!("lib/modules/6.1.0/{name}"), 0o644, content);
    }
    let archive = archive.finish();
    // Aliases that are no text do not come through a text file and back, nor do paths that an
    // archive holds in another spelling.
    let sound = files
        .iter()
        .all(|(name, content)| name.ends_with(".bin") || is_plain(content));
    extend(
        &archive,
        &Tree {
            files: files.clone(),
        },
        sound,
    );
    let mut empty = cpio::Writer::new();
    empty
        .file("init", 0o755, b"#!/bin/sh\n")
        .expect("a plain name");
    files.entry("kernel/nvme.ko").or_insert(b"\x7fELF nvme");
    extend(&empty.finish(), &Tree { files }, sound);
}

/// fstab and crypttab: what is not changed stays as it was, byte by byte.
pub fn mount_tables(data: &[u8]) {
    let mut fstab = guest::fstab::Fstab::parse(data);
    assert_eq!(fstab.render(), data);
    for entry in fstab.entries_mut() {
        let (spec, passno) = (entry.spec(), entry.passno());
        entry.add_option("nofail");
        entry.set_passno(passno.wrapping_add(1));
        entry.remove_option("nofail");
        assert_eq!(entry.spec(), spec);
        entry.set_spec("UUID=a b");
        assert_eq!(entry.spec(), b"UUID=a b");
        let _ = (entry.mount_point(), entry.vfstype(), entry.options());
    }
    let again = guest::fstab::Fstab::parse(&fstab.render());
    assert_eq!(again.entries().count(), fstab.entries().count());
    let mut crypttab = guest::crypttab::Crypttab::parse(data);
    assert_eq!(crypttab.render(), data);
    for entry in crypttab.entries_mut() {
        entry.set_device("UUID=1");
        assert_eq!(entry.device(), "UUID=1");
        entry.add_option("nofail");
        let _ = (entry.name(), entry.key_file(), entry.options());
    }
}

/// Boot loader files.
pub fn boot_files(data: &[u8]) {
    use guest::boot::{
        CommandLine, GrubCfg, GrubEnv, GrubLegacy, LoaderEntry, choose, compare_entries,
        device_map, name_of, with_default,
    };
    let mut grub = GrubCfg::parse(data);
    assert_eq!(grub.render(), data);
    let entries = grub.entries();
    let default = grub.default().unwrap_or_default();
    let _ = (
        choose(&entries, &default),
        grub.kernels(),
        grub.blscfg(),
        grub.commands("set"),
    );
    grub.edit_kernels(|_, line| {
        line.remove(|word| word.starts_with("rd."));
        line.push("nvme_core.io_timeout=4294967295");
    });
    let kernels = GrubCfg::parse(&grub.render()).kernels().len();
    assert_eq!(kernels, grub.kernels().len());
    for entry in entries.iter().take(100) {
        let _ = name_of(&entries, entry, true);
    }
    let _ = (grub.entries_before_blscfg(), grub.is_stub());
    grub.edit_kernel_options(|line| line.push("console=ttyS0"));
    if grub.set_default("a>\"b") {
        assert_eq!(
            GrubCfg::parse(&grub.render()).default().as_deref(),
            Some("a>\"b")
        );
    }
    let mut legacy = GrubLegacy::parse(data);
    assert_eq!(legacy.render(), data);
    let count = legacy.entries().len();
    legacy.edit_kernels(|_, line| line.push("console=ttyS0"));
    legacy.set_default(7);
    legacy.replace_commands(&["terminal"], "terminal serial\n");
    assert_eq!(legacy.entries().len(), count);
    let _ = with_default(data, "x.conf");
    let names: Vec<_> = data.split(|byte| *byte == b'\n').take(16).collect();
    for pair in names.windows(2) {
        let [one, other] = [pair[0], pair[1]].map(String::from_utf8_lossy);
        let order = compare_entries(&one, &other);
        assert_eq!(order.reverse(), compare_entries(&other, &one));
    }
    if let Ok(mut env) = GrubEnv::parse(data)
        && env.set("saved_entry", "0").is_ok()
    {
        let again = GrubEnv::parse(&env.render()).expect("what was rendered parses");
        assert_eq!(again.value("saved_entry").as_deref(), Some("0"));
    }
    let mut entry = LoaderEntry::parse(data);
    assert_eq!(entry.render(), data);
    let _ = entry.options();
    entry.edit_options(|line, first| {
        if first {
            line.push("console=ttyS0");
        }
    });
    let _ = device_map(data);
    if let Ok(text) = str::from_utf8(data) {
        assert_eq!(CommandLine::parse(text).render(), text);
    }
}

/// Network configuration, and the plain formats that other files share with it.
pub fn network_files(data: &[u8]) {
    use guest::network::{IfaceEdit, Interfaces, Netplan, UdevRules};
    let mut interfaces = Interfaces::parse(data);
    assert_eq!(interfaces.render(), data);
    let _ = (interfaces.autos(), interfaces.sources());
    interfaces.edit(|iface| match iface.options.len() {
        0 => IfaceEdit::Keep,
        1 => IfaceEdit::Remove,
        _ => IfaceEdit::Change {
            method: String::from("dhcp"),
            drop: vec![0],
        },
    });
    let _ = Interfaces::parse(&interfaces.render()).ifaces();
    let mut rules = UdevRules::parse(data);
    assert_eq!(rules.render(), data);
    let _ = rules.naming();
    rules.remove_naming();
    assert_eq!(UdevRules::parse(&rules.render()).naming().len(), 0);
    let _ = guest::network::name_servers(data);
    let mut ini = guest::ini::Ini::parse(data);
    assert_eq!(ini.render(), data);
    ini.set("Network", "DHCP", "yes");
    assert!(ini.values("Network", "DHCP").any(|value| value == "yes"));
    let mut assignments = guest::assignment::Assignments::parse(data);
    assert_eq!(assignments.render(), data);
    assignments.set("BOOTPROTO", "dhcp");
    assert_eq!(assignments.value("BOOTPROTO").as_deref(), Some("dhcp"));
    if let Ok(text) = str::from_utf8(data)
        && let Ok(netplan) = Netplan::parse(text)
    {
        for definition in &netplan.definitions {
            let _ = (
                definition.name(),
                definition.is_wildcard(),
                definition.ipv4(),
            );
        }
    }
}

/// All rules over a guest of these files: `\n== PATH\n` begins one. What was applied is there then;
/// where a file is in the way of a directory, it cannot be.
pub fn guest_files(data: &[u8]) {
    let mut system = fs::MemoryFs::new("root-uuid", None);
    for (path, content) in sections(data) {
        put(&mut system, path, content);
    }
    let mut guest = guest::Guest::of(Box::new(system));
    let (Ok(boot), Ok(kernels)) = (guest::boot::inspect(&guest), guest::kernels(&guest)) else {
        return;
    };
    let mut facts = guest::Facts {
        cloud_init: guest::cloud_init::inspect(&guest, &boot).ok().flatten(),
        network: guest::network::inspect(&guest).unwrap_or_default(),
        kernels,
        boot,
        ..guest::Facts::default()
    };
    facts.os = guest::Os::of(&guest).ok().flatten().unwrap_or_default();
    let options = convert::Options::default();
    if let Ok(plan) = convert::plan(&guest, &facts, &options) {
        if plan.apply(&mut guest, Time::default()).is_ok() {
            plan.verify(&guest).expect("what was done is there");
        }
    }
    let _ = convert::readiness(&guest, &facts);
}

/// A file and its directories, where nothing is in their way.
fn put(system: &mut fs::MemoryFs, path: &str, content: &[u8]) -> Option<()> {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let name = parts.pop()?;
    let mut dir = system.root();
    for part in parts {
        dir = match system.lookup(dir, part.as_bytes()) {
            Ok(found) => found,
            Err(_) => system
                .make_dir(dir, part.as_bytes(), NewNode::root(0o755))
                .ok()?,
        };
    }
    let name = name.as_bytes();
    let node = system.create(dir, name, NewNode::root(0o644)).ok()?;
    system.replace(node, content).ok()
}

/// What the rules make of one file of network configuration: the first byte says which file it is,
/// the second of which release the guest is, the rest is what it holds. What was converted once is
/// right.
pub fn network_conversion(data: &[u8]) {
    const FILES: [&str; 12] = [
        "/etc/sysconfig/network-scripts/ifcfg-eth0",
        "/etc/sysconfig/network-scripts/ifcfg-eth0:1",
        "/etc/sysconfig/network",
        "/etc/NetworkManager/system-connections/lan.nmconnection",
        "/etc/NetworkManager/conf.d/00-server.conf",
        "/etc/systemd/network/10-lan.link",
        "/etc/systemd/network/10-lan.network",
        "/etc/udev/rules.d/70-persistent-net.rules",
        "/etc/network/interfaces",
        "/etc/sysconfig/network/ifcfg-eth0",
        "/etc/yum.repos.d/a.repo",
        "/etc/selinux/config",
    ];
    const RELEASES: [&str; 6] = ["6.10", "7.9", "8.9", "9.4", "10.0", "x"];
    let [file, release, content @ ..] = data else {
        return;
    };
    let mut root = fs::MemoryFs::new("1-2", None);
    let file = FILES[usize::from(*file) % FILES.len()];
    let files = [
        (file, content),
        ("/usr/lib/systemd/network/99-default.link", b""),
        ("/usr/sbin/NetworkManager", b""),
    ];
    for (path, content) in files {
        put(&mut root, path, content).expect("nothing is in their way");
    }
    let mut guest = guest::Guest::of(Box::new(root));
    let facts = |guest: &guest::Guest| {
        let boot = guest::Boot::default();
        guest::Facts {
            os: guest::Os {
                family: guest::Family::Rhel,
                version: Some(RELEASES[usize::from(*release) % RELEASES.len()].to_owned()),
                ..guest::Os::default()
            },
            network: guest::network::inspect(guest).expect("memory can be read"),
            selinux: guest::selinux::inspect(guest, &boot).expect("memory can be read"),
            boot,
            ..guest::Facts::default()
        }
    };
    let options = convert::Options::default();
    let plan = convert::plan(&guest, &facts(&guest), &options).expect("there is a plan");
    plan.apply(&mut guest, Time::default()).expect("it fits");
    plan.verify(&guest).expect("it was done");
    let again = convert::plan(&guest, &facts(&guest), &options).expect("there is a plan");
    assert!(again.is_empty(), "{}", again.render(true));
}

/// The files in which an SELinux policy has its labels.
pub fn file_contexts(data: &[u8]) {
    use guest::selinux::FileContexts;
    let mut contexts = FileContexts::default();
    contexts.add(data);
    let paths = [
        "/",
        "/etc/fstab",
        "/etc/a.d/b.conf",
        "/usr/lib64/libc.so.6",
        "/var/lib/x y",
    ];
    for substitutions in [&b""[..], data] {
        contexts.substitute(substitutions, substitutions);
        for path in paths {
            for kind in [Kind::File, Kind::Dir, Kind::Symlink] {
                let _ = contexts.label(path, kind);
            }
        }
    }
}

/// rpm's list in Berkeley DB.
pub fn rpm_bdb(data: &[u8]) {
    rpm_list(data, None);
}

/// rpm's list in ndb. Few mutations would come past the checksums, so they are made right for a
/// second try.
pub fn rpm_ndb(data: &[u8]) {
    rpm_list(data, None);
    let mut list = data.to_vec();
    let mut at = 0;
    while let Some(start) = find(&list[at..], b"BlbS").map(|found| at + found) {
        let Some(end) = find(&list[start..], b"BlbE").map(|found| start + found) else {
            break;
        };
        at = end;
        if let Some(tail) = end.checked_sub(8).filter(|tail| *tail >= start) {
            let (mut low, mut high) = (1_u32, 0);
            for byte in &list[start..tail] {
                low = (low + u32::from(*byte)) % 65521;
                high = (high + low) % 65521;
            }
            list[tail..tail + 4].copy_from_slice(&((high << 16) | low).to_le_bytes());
        }
    }
    rpm_list(&list, None);
}

/// rpm's list in SQLite: four bytes say how long the file is, what follows it is the log.
pub fn rpm_sqlite(data: &[u8]) {
    let Some((len, data)) = data.split_first_chunk() else {
        return;
    };
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or_default();
    let (file, log) = data.split_at(len.min(data.len()));
    rpm_list(file, Some(log));
    rpm_list(file, None);
}

fn rpm_list(file: &[u8], log: Option<&[u8]>) {
    let (file, log) = (
        Memory::new(file.to_vec()),
        log.map(|log| Memory::new(log.to_vec())),
    );
    let log: Option<&dyn BlockRead> = match &log {
        Some(log) => Some(log),
        None => None,
    };
    for package in rpmdb::read(&file, log).unwrap_or_default().packages {
        assert!(package.to_string().starts_with(&package.name));
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Plans as JSON.
pub fn plan(data: &[u8]) {
    let Ok(plan) = serde_json::from_slice::<convert::Plan>(data) else {
        return;
    };
    let json = serde_json::to_vec(&plan).expect("a plan can be written");
    let again: convert::Plan = serde_json::from_slice(&json).expect("what was written is read");
    assert_eq!(again, plan);
    let _ = plan.render(true);
    for change in &plan.changes {
        let _ = change.diff();
    }
}

/// Manifests and indexes of a store, and ids of snapshots.
pub fn manifest(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data)
        && let Ok(id) = text.parse::<store::SnapshotId>()
    {
        assert_eq!(id.to_string(), text);
    }
    let path = Path::new("a file");
    if let Ok(manifest) = store::Manifest::decode(path, data) {
        assert_eq!(manifest.encode(), data);
    }
    if let Ok(manifest) = serde_json::from_slice::<store::Manifest>(data) {
        // Its checksum is hardly right, whatever else it says.
        let _ = store::Manifest::decode(path, &manifest.encode());
        let json = serde_json::to_vec(&manifest).expect("a manifest can be written");
        let again: store::Manifest = serde_json::from_slice(&json).expect("it is read");
        assert_eq!(again, manifest);
    }
    if let Ok(index) = store::Index::decode(path, data, 1 << 20) {
        assert_eq!(index.encode(), data);
        assert_eq!(index.child(index.records(), 1 << 20, true), index);
        assert!(index.diff(&index).is_empty());
    }
}

/// The disk that sparse input stands for: two bytes give its size in units of 4 KiB, then come
/// records of a sector number in two bytes and the 512 bytes of the sector. All numbers are
/// little endian; what has no record is zero. Nothing if it would be larger than 16 MiB.
pub fn disk(data: &[u8]) -> Option<Vec<u8>> {
    let ([low, high], mut records) = data.split_first_chunk()?;
    let size = usize::from(u16::from_le_bytes([*low, *high])) * 4096;
    if size > 16 << 20 {
        return None;
    }
    let mut bytes = vec![0; size];
    while let Some((sector, rest)) = records.split_first_chunk() {
        let content = rest.get(..512).unwrap_or(rest);
        let at = usize::from(u16::from_le_bytes(*sector)) * 512;
        if let Some(place) = bytes.get_mut(at..at + content.len()) {
            place.copy_from_slice(content);
        }
        records = rest.get(512..).unwrap_or_default();
    }
    Some(bytes)
}

/// What gzip makes of `x`, stored.
pub const GZIPPED: [u8; 24] = [
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 1, 0, 0xfe, 0xff, b'x', 0x83, 0x16, 0xdc, 0x8c, 1, 0, 0,
    0,
];

/// Opens a package, beside which there are two files, with and without comparing it with its
/// manifest, and reads what it holds.
fn read_package(name: &str, data: &[u8]) {
    let dir = tempfile::tempdir().expect("a place for the package");
    let path = dir.path().join(name);
    for (name, content) in [
        (name, data),
        ("disk.img", &[7; 4096]),
        ("disk.img.gz", &GZIPPED),
    ] {
        std::fs::write(dir.path().join(name), content).expect("room for the package");
    }
    let _ = (image::container(&path), image::probe(&path));
    for verify in [false, true] {
        let options = image::OpenOptions {
            verify,
            salvage: !verify,
            ..image::OpenOptions::default()
        };
        for image in image::open_all(&path, &options).unwrap_or_default() {
            let inside = |file: &std::path::PathBuf| file.starts_with(dir.path());
            assert!(image.files().iter().all(inside), "a file of elsewhere");
            read_device(&image);
        }
    }
}

fn read_image(file: &[u8], format: image::Format) {
    read_image_beside(&[], file, format);
}

/// Reads an image in a directory with other files, by their names.
fn read_image_beside(others: &[(&str, &[u8])], file: &[u8], format: image::Format) {
    let dir = tempfile::tempdir().expect("a place for the image");
    for (name, content) in others {
        std::fs::write(dir.path().join(name), content).expect("room for another file");
    }
    let path = dir.path().join("image");
    std::fs::write(&path, file).expect("room for the image");
    read_path(&path, format);
}

fn read_path(path: &Path, format: image::Format) {
    let _ = image::probe(path);
    let options = image::OpenOptions {
        format: Some(format),
        ..image::OpenOptions::default()
    };
    if let Ok(image) = image::open(path, &options) {
        read_device(&image);
        read_layers(&image);
        read_bitmaps(&image);
    }
}

/// What layers decide is all that is data, as far as it is looked at.
fn read_layers(image: &image::Image) {
    let device = image.device();
    // More would take too long, wherever the walk goes.
    if device.size() > 1 << 30 {
        return;
    }
    let layers = image.layers().len();
    let decided = image.decided_above(layers, GRANULE, &Interrupt::default());
    let Ok(decided) = decided else {
        return;
    };
    assert_ranges(&decided, device.size());
    for extent in device.extents().take(64) {
        let Ok(extent) = extent else {
            break;
        };
        let is_inside =
            |range: &Range<u64>| range.start <= extent.range.start && extent.range.end <= range.end;
        assert!(
            extent.kind == block::ExtentKind::Zero || decided.iter().any(is_inside),
            "data that no layer has"
        );
    }
}

fn read_bitmaps(image: &image::Image) {
    let Ok(bitmaps) = image.bitmaps(0, &Interrupt::default()) else {
        return;
    };
    for bitmap in bitmaps.iter().take(16) {
        let dirty = image.dirty(&bitmap.name, GRANULE, &Interrupt::default());
        let Ok(Some(dirty)) = dirty else {
            continue;
        };
        assert_ranges(&dirty.ranges, image.device().size());
        let bytes: u64 = dirty
            .ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        // All bitmaps together may take too much.
        assert!(bitmap.dirty.is_none_or(|counted| counted == bytes));
    }
}

fn assert_ranges(ranges: &[Range<u64>], size: u64) {
    assert!(
        ranges
            .iter()
            .all(|range| range.start < range.end && range.end <= size)
    );
    assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
}

/// The smallest granularity of a bitmap.
const GRANULE: NonZeroU64 = NonZeroU64::new(512).unwrap();

fn read_device(image: &image::Image) {
    let device = image.device();
    let mut buf = vec![0xee; 128 << 10];
    for extent in device.extents().take(64) {
        let Ok(extent) = extent else {
            break;
        };
        assert!(extent.range.start < extent.range.end && extent.range.end <= device.size());
        let len = (extent.range.end - extent.range.start).min(128 << 10);
        let part = &mut buf[..usize::try_from(len).expect("at most 128 KiB")];
        part.fill(0xee);
        let read = device.read_at(extent.range.start, part);
        if extent.kind == block::ExtentKind::Zero && read.is_ok() {
            assert!(
                part.iter().all(|byte| *byte == 0),
                "a zero extent that is not zero"
            );
        }
    }
    // At the end, and over it.
    let _ = device.read_at(device.size().saturating_sub(512), &mut buf[..512]);
    assert!(device.read_at(device.size(), &mut buf[..1]).is_err());
}

/// Reads all of a small tree, edits it, and reads it again. A file system whose check finds
/// nothing is as clean after the edits.
fn use_file_system(fs: &mut dyn FileSystem, full: bool) {
    walk(fs);
    let clean = fs.check().is_ok_and(|problems| problems.is_empty());
    let Ok(editor) = fs.edit() else {
        return;
    };
    editor.set_now(Time {
        seconds: 1_700_000_000,
        nanoseconds: 0,
    });
    if edit(editor, full).is_ok() && editor.commit().is_ok() {
        walk(fs);
        if clean {
            let problems = fs.check().expect("the check of a clean file system");
            assert_eq!(problems, [], "after edits of a clean file system");
        }
    }
}

fn walk(fs: &mut dyn FileSystem) {
    let _ = (fs.info(), fs.space());
    let mut pending = vec![fs.root()];
    let mut left = 300;
    let mut buf = vec![0; 64 << 10];
    while let Some(dir) = pending.pop() {
        let Ok(entries) = fs.entries(dir) else {
            continue;
        };
        for entry in entries {
            if left == 0 {
                return;
            }
            left -= 1;
            let _ = (fs.lookup(dir, &entry.name), fs.xattrs(entry.node));
            match fs.stat(entry.node).map(|meta| meta.kind) {
                Ok(Kind::Dir) => pending.push(entry.node),
                Ok(Kind::File) => {
                    let _ = fs.read_at(entry.node, 0, &mut buf);
                }
                Ok(Kind::Symlink) => {
                    let _ = fs.read_link(entry.node);
                }
                _ => {}
            }
        }
    }
}

/// A bit of everything that a conversion does.
fn edit(fs: &mut dyn FileSystemEdit, full: bool) -> Result<(), fs::Error> {
    let (root, new) = (fs.root(), NewNode::root(0o644));
    let dir = fs.make_dir(root, b"rehost dir", NewNode::root(0o755))?;
    let file = fs.create(dir, b"new file", new)?;
    fs.replace(file, &[0x5a; 9_000])?;
    fs.write_at(file, 20_000, b"end")?;
    let content = fs::read_file(&*fs, file, 1 << 20)?;
    assert_eq!(content.len(), 20_003);
    assert!(content[..9_000].iter().all(|byte| *byte == 0x5a));
    assert!(content[9_000..20_000].iter().all(|byte| *byte == 0));
    fs.truncate(file, 10)?;
    if full {
        fs.set_xattr(
            file,
            b"security.selinux",
            Some(b"system_u:object_r:etc_t:s0"),
        )?;
        fs.symlink(dir, b"link", b"new file", new)?;
    }
    let old = first_file(fs, root)?;
    if let Some((dir, name, node)) = old {
        fs.replace(node, b"replaced")?;
        assert_eq!(fs::read_file(&*fs, node, 1 << 20)?, b"replaced");
        fs.rename((dir, &name), (root, b"moved"))?;
    }
    fs.rename((dir, b"new file"), (root, b"renamed"))?;
    fs.remove(root, b"renamed")
}

/// The first regular file with one name, in the root or one level below.
fn first_file(
    fs: &dyn FileSystem,
    root: NodeId,
) -> Result<Option<(NodeId, Vec<u8>, NodeId)>, fs::Error> {
    let mut dirs = vec![root];
    for entry in fs.entries(root)? {
        if entry.kind == Some(Kind::Dir) && !entry.name.starts_with(b"rehost") {
            dirs.push(entry.node);
        }
    }
    for dir in dirs.into_iter().take(5) {
        for entry in fs.entries(dir)? {
            let meta = fs.stat(entry.node)?;
            if meta.kind == Kind::File && meta.links == 1 {
                return Ok(Some((dir, entry.name, entry.node)));
            }
        }
    }
    Ok(None)
}

struct Tree<'a> {
    files: BTreeMap<&'a str, &'a [u8]>,
}

impl ModuleTree for Tree<'_> {
    fn release(&self) -> &str {
        "6.1.0"
    }

    fn read(
        &self,
        path: &str,
    ) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        let is_module = Path::new(path).extension().is_some_and(|e| e == "ko");
        Ok(match self.files.get(path) {
            Some(content) => Some(content.to_vec()),
            None if is_module => Some(b"\x7fELF".to_vec()),
            None => None,
        })
    }
}

/// Printable text whose paths are all relative and as short as they can be.
fn is_plain(text: &[u8]) -> bool {
    let relative = |word: &&[u8]| {
        let mut parts = word.split(|byte| *byte == b'/');
        !word.contains(&b'/') || parts.all(|part| !matches!(part, b"" | b"." | b".."))
    };
    let words = text.split(|byte| byte.is_ascii_whitespace() || *byte == b':');
    let printable = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n');
    text.iter().all(printable)
        && words
            .filter(|word| !word.is_empty())
            .all(|word| relative(&word))
}

/// Reads an initramfs and extends it; with a sound tree the result has the drivers.
fn extend(bytes: &[u8], tree: &dyn ModuleTree, sound: bool) {
    let Ok(initramfs) = Initramfs::read(bytes) else {
        return;
    };
    let _ = (initramfs.kind(), initramfs.stop(), initramfs.segments());
    let wanted = ["nvme", "ena"];
    let _ = initramfs.assess(tree, &wanted);
    let request = Request {
        wanted: &wanted,
        ..Request::default()
    };
    if let Ok(Some(extension)) = initramfs.extend(tree, &request) {
        let extended = extension.apply(bytes);
        let extended = Initramfs::read(&extended).expect("an extended initramfs is read");
        let report = extended
            .assess(tree, &wanted)
            .expect("and its drivers told");
        // Only where modules are looked for do their indexes count.
        let place = extended.contents().real_path("lib/modules");
        let usual = place.is_some_and(|place| matches!(&*place, "lib/modules" | "usr/lib/modules"));
        assert!(report.leave_alone() || !sound || !usual, "{report:?}");
    }
}

/// The files of input with `\n== NAME\n` before each.
fn sections(data: &[u8]) -> BTreeMap<&str, &[u8]> {
    let mut files = BTreeMap::new();
    let marks = (0..data.len()).filter(|at| data[*at..].starts_with(b"\n== "));
    let marks: Vec<_> = marks.take(20).collect();
    for (index, mark) in marks.iter().enumerate() {
        let end = marks.get(index + 1).copied().unwrap_or(data.len());
        let section = &data[mark + 4..end];
        let Some(name_end) = section.iter().position(|byte| *byte == b'\n') else {
            continue;
        };
        if let Ok(name) = str::from_utf8(&section[..name_end]) {
            files.insert(name, &section[name_end + 1..]);
        }
    }
    files
}
