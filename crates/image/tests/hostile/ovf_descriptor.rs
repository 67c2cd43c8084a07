//! OVF descriptors: rules, several machines, what costs much to parse.

use crate::ovf::{Case, first_bytes, plain};
use crate::package::{file, ovf, ovf_of, tar};
use image::OpenOptions;

#[test]
fn descriptors_that_break_rules_are_told() {
    let case = Case::new("m.ova");
    let sound = ovf_of(&["disk.img"]);
    for (what, from, to, expected) in [
        ("cut", "</Envelope>", "", "not XML as OVF"),
        (
            "entities",
            "<Envelope",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><Envelope",
            "DTD",
        ),
        ("root", "Envelope", "Package", "not the Envelope"),
        ("no id", "ovf:id=\"f0\"", "", "lacks the attribute id"),
        (
            "no href",
            "ovf:href=\"disk.img\"",
            "",
            "lacks the attribute href",
        ),
        (
            "no disk id",
            "ovf:diskId=\"d0\"",
            "",
            "lacks the attribute diskId",
        ),
        (
            "no file",
            "ovf:fileRef=\"f0\"",
            "ovf:fileRef=\"f9\"",
            "not listed in References",
        ),
        (
            "no disk",
            "ovf:/disk/d0",
            "ovf:/disk/d9",
            "not listed in DiskSection",
        ),
        (
            "resource",
            "ovf:/disk/d0",
            "[datastore] x.vmdk",
            "is on \"[datastore] x.vmdk\"",
        ),
        ("no resource", "ovf:/disk/d0", "", "is on \"\""),
        (
            "address",
            "<rasd:AddressOnParent>0",
            "<rasd:AddressOnParent>x",
            "AddressOnParent is \"x\"",
        ),
        (
            "twice",
            "</References>",
            "<File ovf:id=\"f0\" ovf:href=\"x\"/></References>",
            "two File",
        ),
        (
            "disk twice",
            "</DiskSection>",
            "<Disk ovf:diskId=\"d0\"/></DiskSection>",
            "two Disk",
        ),
        (
            "size",
            "ovf:href=\"disk.img\"",
            "ovf:href=\"disk.img\" ovf:size=\"x\"",
            "size of a File",
        ),
        (
            "chunks",
            "ovf:id=\"f0\"",
            "ovf:id=\"f0\" ovf:chunkSize=\"7\"",
            "chunkSize",
        ),
        (
            "bzip2",
            "ovf:id=\"f0\"",
            "ovf:id=\"f0\" ovf:compression=\"bzip2\"",
            "compression \"bzip2\"",
        ),
        (
            "no gzip",
            "ovf:id=\"f0\"",
            "ovf:id=\"f0\" ovf:compression=\"gzip\"",
            "does not begin so",
        ),
        (
            "delta",
            "ovf:fileRef",
            "ovf:parentRef=\"p\" ovf:fileRef",
            "parentRef",
        ),
        (
            "shorter",
            "ovf:capacity=\"1\"",
            "ovf:capacity=\"2\"",
            "the disk has 2097152",
        ),
        (
            "absent",
            "disk.img",
            "absent.img",
            "\"absent.img\" as its disk file, which does not",
        ),
        ("absolute", "disk.img", "/etc/passwd", "inside the archive"),
        (
            "above",
            "disk.img",
            "x/../../disk.img",
            "inside the archive",
        ),
        ("url", "disk.img", "file:///etc/passwd", "addresses"),
        (
            "remote",
            "disk.img",
            "https://example.org/disk.img",
            "addresses",
        ),
    ] {
        let descriptor = sound.replace(from, to);
        assert_ne!(descriptor, sound, "{what}");
        let text = case.refusal(&tar(&[
            ("m.ovf", descriptor.as_bytes()),
            ("disk.img", &plain(1)),
        ]));
        assert!(text.contains(expected), "{what}: {text}");
    }
    let not_text = [b"<Envelope x='/ovf/'>\xff", sound.as_bytes()].concat();
    let text = case.refusal(&tar(&[("m.ovf", &not_text), ("disk.img", &plain(1))]));
    assert!(text.contains("not text at byte 20"), "{text}");
    let none = ovf("", "", "");
    assert!(
        case.refusal(&tar(&[("m.ovf", none.as_bytes())]))
            .contains("no disks")
    );
}

#[test]
fn disks_of_several_machines_are_not_mixed() {
    let case = Case::new("m.ova");
    let descriptor = ovf_of(&["a.img", "b.img"]);
    let (head, machine) = descriptor.split_once("<VirtualSystem").unwrap();
    let machine = format!("<VirtualSystem{}", machine.replace("</Envelope>", ""));
    let second = machine.replace("ovf:/disk/d0", "ovf:/disk/d1");
    let two = format!(
        "{head}<VirtualSystemCollection>{machine}{second}</VirtualSystemCollection></Envelope>"
    );
    let ova = tar(&[
        ("m.ovf", two.as_bytes()),
        ("a.img", &plain(1)),
        ("b.img", &plain(2)),
    ]);
    let text = case.refusal(&ova);
    assert!(text.contains("2 machines"), "{text}");
    let options = OpenOptions {
        disk: Some(3),
        ..OpenOptions::default()
    };
    let image = image::open(&case.path, &options).unwrap();
    assert_eq!(first_bytes(&[image]), [2]);
}

#[test]
fn what_is_cheap_to_write_and_costly_to_parse_is_refused() {
    let case = Case::new("m.ova");
    let refusal = |text: String| {
        let text = format!("<Envelope x='/ovf/'>{text}</Envelope>");
        case.refusal(&tar(&[("m.ovf", text.as_bytes())]))
    };
    let deep = "<a>".repeat(600_000);
    assert!(refusal(deep).contains("nodes limit"));
    let attributes: String = (0..1000).map(|n| format!(" a{n} = ''")).collect();
    assert!(refusal(format!("<a{attributes}/>")).contains("number of attributes is 1000"));
    let spaces: String = (0..1000).map(|n| format!("<a xmlns:a{n}='{n}'>")).collect();
    assert!(refusal(spaces).contains("number of namespace declarations is 1000"));
    let disks: String = (0..2000)
        .map(|n| format!("<Disk diskId='{n}' capacity='1'/>"))
        .collect();
    assert!(refusal(format!("<DiskSection>{disks}</DiskSection>")).contains("number of disks"));
    let items = "<Item/>".repeat(30_000);
    let items = format!(
        "<VirtualSystem><VirtualHardwareSection>{items}</VirtualHardwareSection></VirtualSystem>"
    );
    assert!(refusal(items).contains("number of hardware items"));
    assert!(refusal(" ".repeat(17 << 20)).contains("at most 16777216"));
    let members = file("x", b"").repeat(10_001);
    assert!(
        case.refusal(&[file("m.ovf", b""), members].concat())
            .contains("number of members")
    );
}
