//! OVAs as machines, and disks that come through standard input.

use crate::support::{Ran, assert_same, names, phony, program, qemu_img, rehost, temp};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An OVA of a phony guest and a second, smaller disk, which comes first in the archive.
fn ova(dir: &Path) -> PathBuf {
    let os = phony(&["debian12"]);
    rehost!["copy", &os, dir.join("os.vmdk")].ok();
    fs::write(dir.join("data.raw"), vec![7; 1 << 20]).unwrap();
    rehost!["copy", dir.join("data.raw"), dir.join("data.vmdk")].ok();
    let item = |id: u32, kind: u32, rest: &str| {
        format!(
            "<Item><InstanceID>{id}</InstanceID><ResourceType>{kind}</ResourceType>{rest}</Item>"
        )
    };
    let disk = |id: u32, slot: u32, name: &str| {
        let rest = format!(
            "<Parent>3</Parent><AddressOnParent>{slot}</AddressOnParent>\
             <HostResource>ovf:/disk/{name}</HostResource>"
        );
        item(id, 17, &rest)
    };
    let text = format!(
        "<?xml version='1.0'?><Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' \
         xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1'><References>\
         <File ovf:id='f1' ovf:href='data.vmdk'/><File ovf:id='f2' ovf:href='os.vmdk'/></References>\
         <DiskSection><Disk ovf:diskId='data' ovf:fileRef='f1'/>\
         <Disk ovf:diskId='os' ovf:fileRef='f2'/></DiskSection><VirtualSystem>\
         <VirtualHardwareSection>{}{}{}{}{}</VirtualHardwareSection></VirtualSystem></Envelope>",
        item(1, 3, "<VirtualQuantity>8</VirtualQuantity>"),
        item(
            2,
            4,
            "<AllocationUnits>byte * 2^20</AllocationUnits><VirtualQuantity>32768</VirtualQuantity>"
        ),
        item(3, 6, "<Address>0</Address>"),
        disk(9, 1, "data"),
        disk(8, 0, "os"),
    );
    fs::write(dir.join("web1.ovf"), text).unwrap();
    let sums = Command::new("sha256sum")
        .args(["--tag", "web1.ovf", "data.vmdk", "os.vmdk"])
        .current_dir(dir)
        .output()
        .unwrap();
    // Manifests have no space before the name.
    let sums = String::from_utf8(sums.stdout).unwrap().replace(" (", "(");
    fs::write(dir.join("web1.mf"), sums).unwrap();
    let archive = dir.join("web1.ova");
    let status = Command::new("tar")
        .args(["--format=ustar", "-cf"])
        .arg(&archive)
        .args(["data.vmdk", "web1.ovf", "web1.mf", "os.vmdk"])
        .current_dir(dir)
        .status()
        .unwrap();
    assert!(status.success());
    archive
}

#[test]
fn an_ova_is_a_machine_with_its_disks_in_the_order_of_the_hardware() {
    let dir = temp();
    let archive = ova(dir.path());
    let facts = rehost!["inspect", "--json", &archive].json();
    assert_eq!(facts["os"]["id"], "debian", "{facts:#}");
    let said = rehost!["copy", &archive, dir.path().join("x.raw")].failed(1);
    assert!(
        said.contains("holds 2 disks; choose one with --disk"),
        "{said}"
    );
    for (number, source) in [
        ("1", phony(&["debian12"])),
        ("2", dir.path().join("data.raw")),
    ] {
        let out = dir.path().join(format!("{number}.raw"));
        rehost!["copy", "--disk", number, &archive, &out].ok();
        assert_same(&out, &source);
        rehost!["compare", "--disk-a", number, &archive, &source].ok();
    }
    let said = rehost!["copy", "--disk", "3", &archive, dir.path().join("x.raw")].failed(1);
    assert!(said.contains('2'), "{said}");
    let info = rehost!["info", "--json", &archive].json();
    assert_eq!(info.as_array().unwrap().len(), 2);
    let path = info[1]["layers"][0]["path"].as_str().unwrap();
    assert!(path.ends_with("web1.ova/data.vmdk"), "{path}");
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    rehost!["convert", "-o", &out, &archive].ok();
    assert_eq!(names(&out), ["web1-disk1.raw", "web1-disk2.raw"]);
    rehost!["plan", "--check", out.join("web1-disk1.raw")].ok();
    // The archive is a source, whatever is asked for.
    let said = rehost![
        "copy",
        "--force",
        "--to-format",
        "raw",
        "--disk",
        "1",
        &archive,
        &archive
    ]
    .failed(1);
    assert!(said.contains("never written"), "{said}");
}

#[test]
fn an_ova_tells_the_size_that_a_blueprint_copies() {
    let dir = temp();
    let archive = ova(dir.path());
    let draft = |options: &[&str]| {
        let mut command = program();
        command.args(["blueprint", "new"]).arg(&archive);
        Ran::of(command.args(options).output().unwrap()).ok()
    };
    let told = draft(&[]);
    assert!(
        told.contains("8 vCPUs, 32768 MiB: as the source had"),
        "{told}"
    );
    // Who knows better is believed.
    let said = draft(&["--vcpus", "16", "--memory", "64G"]);
    assert!(
        said.contains("16 vCPUs, 65536 MiB: as the source had"),
        "{said}"
    );
    let blueprint = dir.path().join("web1.yaml");
    fs::write(
        &blueprint,
        "metadata: {machine: web1}\ninstance: {type: copy-origin}\n\
         network: {interfaces: [{subnetId: subnet-01234567}]}\n\
         disks: [{source: web1.ova}]\n",
    )
    .unwrap();
    let checked = rehost!["blueprint", "check", "--inspect", &blueprint].ok();
    assert!(!checked.contains("copy-origin"), "{checked}");
}

#[test]
fn a_disk_that_is_not_what_the_manifest_says_is_refused_unless_told() {
    let dir = temp();
    let archive = ova(dir.path());
    let mut bytes = fs::read(&archive).unwrap();
    // In the padding of the first member's header, where nothing but the manifest knows.
    let at = 512 + 300;
    bytes[at] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let out = dir.path().join("out.raw");
    let said = rehost!["copy", "--disk", "2", &archive, &out].failed(4);
    assert!(
        said.contains("data.vmdk") && said.contains("SHA-256"),
        "{said}"
    );
    assert!(!out.exists());
    let said = rehost!["convert", "-o", dir.path().join("new"), &archive].failed(4);
    assert!(said.contains("data.vmdk"), "{said}");
    // Those who look at a part of it are not kept waiting for all of it.
    rehost!["info", &archive].ok();
    rehost!["copy", "--no-verify", "--disk", "1", &archive, &out].ok();
    assert_same(&out, &phony(&["debian12"]));
}

#[test]
fn a_disk_comes_through_a_pipe() {
    let dir = temp();
    let source = phony(&["debian12"]);
    let packed = dir.path().join("packed.qcow2");
    rehost!["copy", "--compress", "zstd", &source, &packed].ok();
    for (content, options) in [
        (&source, &[][..]),
        (&source, &["--format", "raw"]),
        (&packed, &[]),
    ] {
        let out = dir.path().join("out.qcow2");
        let mut command = program();
        command
            .args(["copy", "--force"])
            .args(options)
            .arg("-")
            .arg(&out);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let bytes = fs::read(content).unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        Ran::of(child.wait_with_output().unwrap()).ok();
        qemu_img!["compare", "-f", "raw", "-F", "qcow2", &source, &out];
    }
    // A file is read in place.
    let mut command = program();
    command
        .args(["info", "--json", "-"])
        .stdin(File::open(&packed).unwrap());
    let info = Ran::of(command.output().unwrap()).json();
    assert_eq!(info[0]["format"], "qcow2");
}
