//! Uploads a disk image as the environment says: `upload IMAGE JOURNAL-DIRECTORY IDENTITY`. Prints
//! the snapshot's id.
//!
//! Region, credentials and addresses are those of the standard chain. For `benches/uploads.rs`.

use ebs::{Config, Ebs, Encryption, Role, UploadRequest};
use image::{Format, OpenOptions};
use ondisk::{Interrupt, NoProgress};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, journal_dir, identity] = arguments.as_slice() else {
        return Err("upload IMAGE JOURNAL-DIRECTORY IDENTITY".into());
    };
    let options = OpenOptions {
        format: path.ends_with(".raw").then_some(Format::Raw),
        ..OpenOptions::default()
    };
    let disk = image::open(Path::new(path), &options)?.device();
    let request = UploadRequest {
        disk: &disk,
        parent: None,
        volume_size: None,
        description: "",
        tags: &[],
        project: "",
        machine: "example",
        disk_name: "0",
        role: Role::Staging,
        identity,
        encryption: Encryption::Default,
        zero_fill: false,
        changed: None,
        journal_dir: Path::new(journal_dir),
        timeout_minutes: 60,
    };
    let ebs = Ebs::connect(&Config::default())?;
    let done = ebs.upload(&request, &NoProgress, &Interrupt::default())?;
    println!("{}", done.id);
    Ok(())
}
