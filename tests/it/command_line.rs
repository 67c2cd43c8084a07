//! The contract of the command line: exit status, messages, formats, refusals.

use crate::support::{assert_same, names, phony, program, rehost, temp, tool};
use serde_json::Value;
use std::fs::{self, hard_link};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

#[test]
fn a_wrong_command_line_is_status_2() {
    for arguments in [
        &[][..],
        &["inspect"],
        &["convert"],
        &["nonsense"],
        &["plan", "--target", "azure", "x"],
        &["convert", "--each", "--blueprint", "b", "x"],
    ] {
        let output = program().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    assert!(rehost!["--version"].ok().starts_with("rehost "));
    let help = rehost!["--help"].ok();
    for line in ["Exit status:", "REHOST_STORE", "Examples:"] {
        assert!(help.contains(line), "{help}");
    }
}

#[test]
fn a_missing_file_is_status_1_and_named() {
    let said = rehost!["inspect", "/nowhere/web1.vmdk"].failed(1);
    assert!(said.contains("/nowhere/web1.vmdk"), "{said}");
    assert!(said.contains("No such file"), "{said}");
    let image = phony(&["debian12"]);
    let said = rehost!["cat", &image, "/etc/nothing"].failed(1);
    assert!(
        said.contains("/etc/nothing: no such file in the guest"),
        "{said}"
    );
    let said = rehost!["ls", &image, "/nothing"].failed(1);
    assert!(
        said.contains("/nothing: no such file in the guest"),
        "{said}"
    );
    let said = rehost!["cat", &image, "/etc"].failed(1);
    assert!(said.contains("/etc is not a regular file"), "{said}");
    let said = rehost!["plan", "--skip", "nonsense", &image].failed(1);
    assert!(
        said.contains("nonsense") && said.contains("rehost rules"),
        "{said}"
    );
    let said = rehost!["convert", &image, "-o", "/nowhere/out.raw"].failed(1);
    assert!(said.contains("/nowhere"), "{said}");
}

#[test]
fn a_damaged_or_foreign_image_is_status_4_and_named() {
    let dir = temp();
    let path = dir.path().join("web1.img");
    let qcow2 = fs::read(phony(&["debian12", "--format", "qcow2"])).unwrap();
    for (content, word) in [
        (b"vhdxfile".repeat(512), "damaged"),
        (qcow2[..100].to_vec(), "damaged"),
        (qcow2[..70_000].to_vec(), "damaged"),
    ] {
        fs::write(&path, content).unwrap();
        let said = rehost!["inspect", &path].failed(4);
        assert!(said.contains("web1.img"), "{said}");
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "{said}");
    }
    rehost!["inspect", "--format", "qcow2", phony(&["debian12"])].failed(4);
}

#[test]
fn json_is_json_and_nothing_else() {
    let dir = temp();
    let image = phony(&["debian12"]);
    let readiness = &rehost!["inspect", "--json", &image].json()["readiness"];
    let verdict = |at: usize| {
        let one = &readiness[at];
        (one["generation"].clone(), one["verdict"].clone())
    };
    let expected = [
        ("nitro", "after-conversion"),
        ("xen", "after-conversion"),
        ("arm64", "not-possible"),
    ];
    for (at, (generation, wanted)) in expected.into_iter().enumerate() {
        assert_eq!(
            verdict(at),
            (generation.into(), wanted.into()),
            "{readiness}"
        );
    }
    let plan = rehost!["plan", "--json", &image].json();
    assert_eq!(plan["format"], 1);
    let lines = rehost!["ls", "--json", &image, "/etc"].json();
    let fstab = lines
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["name"] == "fstab");
    assert_eq!(fstab.unwrap()["mode"], "-rw-r--r--");
    let rules = rehost!["rules", "--json"].json();
    let ids: Vec<_> = rules
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| &rule["id"])
        .collect();
    for id in [
        "fstab-by-uuid",
        "initramfs-drivers",
        "network-dhcp",
        "uefi-fallback",
    ] {
        assert!(ids.contains(&&Value::from(id)), "{ids:?}");
    }
    assert_eq!(rehost!["rules"].ok().lines().count(), ids.len());
    let report = rehost![
        "convert",
        "--json",
        &image,
        "-o",
        dir.path().join("x.qcow2")
    ]
    .json();
    let output = &report[0]["outputs"][0];
    assert_eq!(output["kind"], "file");
    assert_eq!(output["format"], "qcow2");
    assert!(!report[0]["changes"].as_array().unwrap().is_empty());
}

#[test]
fn a_link_that_leads_nowhere_is_listed() {
    let dir = temp();
    let out = dir.path().join("out.raw");
    rehost!["convert", phony(&["debian12"]), "-o", &out].ok();
    let path = "/etc/systemd/system/open-vm-tools.service";
    assert_eq!(
        rehost!["ls", "--json", &out, path].json()[0]["target"],
        "/dev/null"
    );
}

#[test]
fn what_is_piped_has_no_colours() {
    let dir = temp();
    let image = phony(&["debian12"]);
    for no_color in [false, true] {
        let mut commands = [program(), program(), program()];
        commands[0].arg("plan").arg(&image);
        commands[1].arg("inspect").arg(&image);
        commands[2].arg("convert").arg(&image).arg("-o");
        commands[2].arg(dir.path().join(no_color.to_string()));
        for command in &mut commands {
            if no_color {
                command.env("NO_COLOR", "1");
            }
            let output = command.output().unwrap();
            assert!(output.status.success());
            let said = [output.stdout, output.stderr].concat();
            assert!(!said.contains(&0x1b), "{command:?}");
        }
    }
}

#[test]
fn a_terminal_gets_colours_and_no_complaints() {
    let image = phony(&["debian12"]);
    let inspect = format!("{:?} inspect {image:?}", program().get_program());
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &inspect, "/dev/null"]);
    script.env_remove("NO_COLOR").stdin(Stdio::null());
    let said = String::from_utf8(tool(&mut script)).unwrap();
    assert!(said.starts_with("\x1b[1mDebian GNU/Linux 12"), "{said}");
}

#[test]
fn a_plan_shows_what_changes_and_why() {
    let image = phony(&["debian12"]);
    let text = rehost!["plan", &image].ok();
    assert!(text.contains("~ /etc/fstab\n"), "{text}");
    assert!(text.contains("    fstab-by-uuid: "), "{text}");
    assert!(text.contains("| -/dev/sda1 /"), "{text}");
    assert!(text.contains("| +UUID="), "{text}");
    let short = rehost!["plan", "--no-diff", &image].ok();
    assert!(!short.contains("| -"), "{short}");
    let kept = rehost!["plan", "--no-diff", "--network", "leave", &image].ok();
    assert!(short.contains("/etc/network/interfaces") && !kept.contains("network-dhcp"));
    let skipped = rehost!["plan", "--skip", "fstab-by-uuid", &image].ok();
    assert!(!skipped.contains("fstab-by-uuid: "), "{skipped}");
    assert_eq!(rehost!["plan", "--check", &image].ended(3), "");
}

#[test]
fn completions_and_man_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let script = rehost!["completions", shell].ok();
        assert!(
            script.contains("rehost") && script.contains("allow-unconverted"),
            "{shell}"
        );
        assert!(
            script.contains("salvage") && script.contains("snapshot-b"),
            "{shell}"
        );
    }
    let dir = temp();
    let pages = dir.path().join("man");
    rehost!["man", &pages].ok();
    let names = names(&pages);
    for name in [
        "rehost.1",
        "rehost-convert.1",
        "rehost-inspect.1",
        "rehost-copy.1",
        "rehost-info.1",
        "rehost-map.1",
        "rehost-compare.1",
    ] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
        assert!(
            fs::read_to_string(pages.join(name))
                .unwrap()
                .contains(".TH")
        );
    }
}

#[test]
fn a_source_is_never_an_output() {
    let dir = temp();
    let base = dir.path().join("base.raw");
    fs::copy(phony(&["debian12"]), &base).unwrap();
    let overlay = dir.path().join("overlay.qcow2");
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw"]);
    tool(command.arg(&overlay));
    let link = dir.path().join("link.raw");
    symlink(&base, &link).unwrap();
    let before = fs::read(&base).unwrap();
    let hard = dir.path().join("hard.raw");
    hard_link(&base, &hard).unwrap();
    for (source, out) in [
        (&base, &base),
        (&base, &link),
        (&base, &hard),
        (&overlay, &base),
        (&overlay, &overlay),
    ] {
        let said = rehost!["convert", "--force", source, "-o", out].failed(1);
        assert!(said.contains("is a source and is never written"), "{said}");
    }
    assert!(fs::read(&base).unwrap() == before);
    assert_eq!(
        names(dir.path()),
        ["base.raw", "hard.raw", "link.raw", "overlay.qcow2"]
    );
}

#[test]
fn an_output_that_exists_is_replaced_only_by_force() {
    let dir = temp();
    let out = dir.path().join("out.raw");
    fs::write(&out, "precious").unwrap();
    let said = rehost!["convert", phony(&["debian12"]), "-o", &out].failed(1);
    assert!(
        said.contains("out.raw exists; --force replaces it"),
        "{said}"
    );
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    rehost!["convert", "--force", phony(&["debian12"]), "-o", &out].ok();
    rehost!["plan", "--check", &out].ended(0);
    let said = rehost![
        "convert",
        phony(&["debian12"]),
        "-o",
        "store:s",
        "--to-format",
        "raw"
    ];
    assert!(said.failed(1).contains("stores"));
}

#[test]
fn compressed_qcow2_holds_the_same() {
    let dir = temp();
    let raw = dir.path().join("out.raw");
    rehost!["convert", phony(&["debian12"]), "-o", &raw].ok();
    let plain = dir.path().join("plain.qcow2");
    rehost!["convert", phony(&["debian12"]), "-o", &plain].ok();
    for codec in ["zlib", "zstd"] {
        let out = dir.path().join(codec);
        rehost![
            "convert",
            phony(&["debian12"]),
            "--compress",
            codec,
            "-o",
            &out
        ]
        .ok();
        tool(
            Command::new("qemu-img")
                .args(["check", "-f", "qcow2"])
                .arg(&out),
        );
        tool(
            Command::new("qemu-img")
                .args(["compare", "-f", "qcow2", "-F", "raw"])
                .args([&out, &raw]),
        );
        assert!(fs::metadata(&out).unwrap().len() < fs::metadata(&plain).unwrap().len());
    }
}

#[test]
fn a_name_that_says_no_format_is_asked_about() {
    let dir = temp();
    let out = dir.path().join("web1.example");
    let image = phony(&["debian12"]);
    let said = rehost!["convert", &image, "-o", &out].failed(1);
    assert!(said.contains("--to-format"), "{said}");
    let report = rehost![
        "convert",
        "--json",
        "--to-format",
        "qcow2",
        &image,
        "-o",
        &out
    ]
    .json();
    assert_eq!(report[0]["outputs"][0]["format"], "qcow2");
    let options = ["--cluster-size", "2M", "--force"];
    let packed = rehost![
        "convert",
        options[0],
        options[1],
        options[2],
        &image,
        "-o",
        dir.path().join("web1")
    ];
    packed.ok();
    assert_eq!(
        rehost!["info", "--json", dir.path().join("web1")].json()[0]["format"],
        "qcow2"
    );
}

#[test]
fn a_snapshot_in_a_store_is_a_source() {
    let dir = temp();
    let (image, store) = (phony(&["ubuntu2204"]), dir.path().join("store"));
    let raw = dir.path().join("out.raw");
    rehost!["convert", &image, "-o", &raw].ok();
    let mut command = program();
    command
        .env("REHOST_STORE", &store)
        .arg("convert")
        .arg(&image);
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let id = printed.trim();
    let snapshot = format!("store:{}#{id}", store.display());
    assert_eq!(
        rehost!["inspect", "--json", &snapshot].json()["os"]["id"],
        "ubuntu"
    );
    rehost!["plan", "--check", &snapshot].ended(0);
    let copy = dir.path().join("copy.raw");
    rehost!["convert", &snapshot, "-o", &copy].ok();
    assert_same(&copy, &raw);
    // The same again makes the same snapshot and stores nothing new.
    let ran = rehost![
        "convert",
        "--json",
        &image,
        "-o",
        format!("store:{}", store.display())
    ];
    let report = ran.json();
    assert_eq!(report[0]["outputs"][0]["id"], id);
    assert_eq!(report[0]["outputs"][0]["new_blocks"], 0);
    let said = rehost![
        "inspect",
        format!("store:{}#snap-00000000000000000", store.display())
    ];
    assert!(said.failed(1).contains("snap-00000000000000000"));
    let said = rehost![
        "convert",
        &image,
        "-o",
        format!("store:{}", dir.path().display())
    ];
    assert!(said.failed(1).contains("store"));
}

#[test]
fn a_blueprint_names_disks_and_options() {
    let dir = temp();
    symlink(phony(&["debian12"]), dir.path().join("web1.img")).unwrap();
    let blueprint = dir.path().join("web1.yaml");
    fs::write(
        &blueprint,
        "apiVersion: rehost/v1\nkind: Blueprint\nmetadata: {machine: web1}\nboot: {mode: uefi}\n\
         conversion: {target: nitro, network: leave, skip: [serial-console]}\n\
         disks:\n- source: web1.img\n",
    )
    .unwrap();
    let plan = rehost!["plan", "--json", "--blueprint", &blueprint].json();
    assert_eq!(plan["options"]["target"], "nitro");
    assert_eq!(plan["options"]["network"], "leave");
    let text = plan["changes"].to_string();
    assert!(
        !text.contains("serial-console") && !text.contains("network-dhcp"),
        "{text}"
    );
    let out = dir.path().join("out.raw");
    let report = rehost!["convert", "--json", "--blueprint", &blueprint, "-o", &out].json();
    assert_eq!(report[0]["machine"], "web1");
    let findings = report[0]["findings"].to_string();
    assert!(
        findings.contains("the blueprint wants boot mode"),
        "{findings}"
    );
    rehost!["plan", "--check", "--blueprint", &blueprint, &out].ended(0);
    fs::write(&blueprint, "metadata: {machine: web1}\nflavour: large\n").unwrap();
    let said = rehost!["plan", "--blueprint", &blueprint].failed(1);
    assert!(
        said.contains("web1.yaml") && said.contains("flavour"),
        "{said}"
    );
}

#[test]
fn the_time_of_changed_files_can_be_given() {
    let dir = temp();
    let out = dir.path().join("out.raw");
    let mut command = program();
    command
        .arg("convert")
        .arg(phony(&["debian12"]))
        .arg("-o")
        .arg(&out);
    assert!(
        command
            .env("SOURCE_DATE_EPOCH", "1234567890")
            .status()
            .unwrap()
            .success()
    );
    let lines = rehost!["ls", "--json", &out, "/etc/fstab"].json();
    assert_eq!(lines[0]["mtime"], 1_234_567_890);
    let bad = command
        .env("SOURCE_DATE_EPOCH", "yesterday")
        .output()
        .unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        String::from_utf8(bad.stderr)
            .unwrap()
            .contains("SOURCE_DATE_EPOCH")
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let image = phony(&["debian12", "--filler", "3000"]);
    let mut command = program();
    command.arg("ls").arg(&image).arg("/srv/filler");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}
