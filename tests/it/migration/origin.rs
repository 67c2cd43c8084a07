//! Targets as large as their sources: `type: copy-origin`.

use super::{Site, WEB};
use serde_json::Value;
use std::fs;

/// A site whose web1 is to be as large as its source, and what the project file says about that.
fn site(source: &str, hardware: &str) -> Site {
    let site = Site::new();
    project(&site, source, hardware);
    blueprint(&site, "copy-origin");
    site
}

fn project(site: &Site, source: &str, hardware: &str) {
    site.write(
        "rehost.yaml",
        &format!(
            "metadata: {{name: shop}}\nstore: 'ebs:'\nmachines:\n\
             - {{name: web1, sources: [{source}], blueprint: web1.yaml{hardware}}}\n"
        ),
    );
}

fn blueprint(site: &Site, of: &str) {
    site.write(
        "web1.yaml",
        &format!(
            "metadata: {{machine: web1}}\ninstance: {{type: {of}}}\nnetwork:\n  interfaces:\n  \
             - {{subnetId: subnet-0000000000000000a, privateIps: [{WEB}]}}\n"
        ),
    );
}

/// An OVF descriptor of web1.raw.
fn ovf(site: &Site, vcpus: &str, memory_mib: &str) {
    let item = |id: u32, kind: u32, rest: &str| {
        format!(
            "<Item><InstanceID>{id}</InstanceID><ResourceType>{kind}</ResourceType>{rest}</Item>"
        )
    };
    let quantity = |text: &str| format!("<VirtualQuantity>{text}</VirtualQuantity>");
    let units = "<AllocationUnits>byte * 2^20</AllocationUnits>";
    let text = format!(
        "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1'><References>\
         <File id='f' href='web1.raw'/></References><DiskSection><Disk diskId='d' fileRef='f' \
         format='http://en.wikipedia.org/wiki/Byte'/></DiskSection><VirtualSystem>\
         <VirtualHardwareSection>{}{}{}</VirtualHardwareSection></VirtualSystem></Envelope>",
        item(1, 3, &quantity(vcpus)),
        item(2, 4, &(units.to_owned() + &quantity(memory_mib))),
        item(3, 17, "<HostResource>ovf:/disk/d</HostResource>"),
    );
    site.write("web1.ovf", &text);
}

/// The type of the only instance that is not terminated.
#[track_caller]
fn running(site: &Site) -> String {
    let all = serde_json::to_value(site.aws.fake.resources()).unwrap();
    let alive = |one: &&Value| one["state"] != "terminated";
    let instances = all["instances"].as_array().unwrap().iter();
    let [one] = *instances.filter(alive).collect::<Vec<_>>() else {
        panic!("{all:#}")
    };
    one["instance_type"].as_str().unwrap().to_owned()
}

#[test]
fn a_target_is_as_large_as_the_ovf_of_its_source_says() {
    let site = site("web1.ovf", "");
    ovf(&site, "2", "3000");
    site.run(&["test", "web1"]).ok();
    let small = running(&site);
    assert_eq!(small, "c6i.large");
    // The source got more, and its disk is the same: nothing is converted again.
    ovf(&site, "2", "8192");
    let before = site.aws.fake.snapshots().len();
    site.run(&["test", "web1"]).ok();
    assert_eq!(running(&site), "m7i.large");
    assert_eq!(site.aws.fake.snapshots().len(), before);
    // What was told is known where the descriptor is gone.
    fs::remove_file(site.aws.path("web1.ovf")).unwrap();
    site.run(&["test", "--no-snapshot", "web1"]).ok();
    assert_eq!(running(&site), "m7i.large");
    // Who writes it down is believed.
    project(&site, "web1.ovf", ", hardware: {vcpus: 2, memoryMib: 2048}");
    site.run(&["cutover", "--no-snapshot", "--dry-run", "web1"])
        .ok();
    site.run(&["test", "--no-snapshot", "web1"]).ok();
    assert_eq!(running(&site), small);
}

#[test]
fn a_size_that_nobody_tells_leaves_the_earlier_target_alone() {
    let site = site("web1.raw", "");
    blueprint(&site, "t3.small");
    site.run(&["test", "web1"]).ok();
    blueprint(&site, "copy-origin");
    for hardware in ["", ", hardware: {vcpus: 2}"] {
        project(&site, "web1.raw", hardware);
        for options in [&["test", "web1"][..], &["test", "--no-snapshot", "web1"]] {
            let refused = site.run(options).failed(1);
            assert!(
                refused.contains("hardware: {vcpus: N, memoryMib: N}"),
                "{refused}"
            );
        }
    }
    assert_eq!(running(&site), "t3.small");
    project(&site, "web1.raw", ", hardware: {vcpus: 2, memoryMib: 8192}");
    site.run(&["test", "web1"]).ok();
    assert_eq!(running(&site), "m7i.large");
}
