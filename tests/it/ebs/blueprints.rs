//! What a blueprint says about uploads.

use super::{Aws, text};
use crate::support::{Ran, phony};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn region_and_limits_of_uploads_come_from_the_blueprint() {
    let aws = Aws::new();
    symlink(phony(&["debian12"]), aws.path("web1.img")).unwrap();
    let blueprint = aws.path("web1.yaml");
    let write = |region: &str| {
        let upload = "{maxRequestsPerSecond: 25, concurrency: 2, timeoutMinutes: 240}";
        let text = format!(
            "metadata: {{machine: web1}}\nregion: {region}\nupload: {upload}\n\
             disks: [{{source: web1.img}}]\n"
        );
        fs::write(&blueprint, text).unwrap();
    };
    let convert = || {
        let mut command = aws.program();
        // The fake knows one region, and requests are signed for one.
        command.env("AWS_REGION", "eu-west-1");
        command.args(["convert", "--json", "-o", "ebs:", "--blueprint"]);
        Ran::of(command.arg(&blueprint).output().unwrap())
    };
    write("us-east-1");
    let report = convert().json();
    let id = text(&report[0]["outputs"][0]["id"]).to_owned();
    assert_eq!(aws.snapshot(&id).timeout, 240);
    // A window of a second may hold the rest of the one before.
    let peak = aws.fake.peak();
    assert!((1..=50).contains(&peak), "{peak} requests in a second");
    write("eu-west-1");
    convert().failed(1);
}
