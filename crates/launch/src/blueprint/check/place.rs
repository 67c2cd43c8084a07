//! Where the target is.

use super::Checker;
use crate::document::nearest;

/// The regions of 2026. A new one is a warning, not an error.
const REGIONS: [&str; 44] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

impl Checker<'_> {
    pub(super) fn place(&mut self) {
        let (region, zone) = (
            self.blueprint.region.as_deref(),
            self.blueprint.availability_zone.as_deref(),
        );
        if let Some(region) = region.filter(|region| !REGIONS.contains(region)) {
            let fix = match nearest(region, REGIONS) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "look it up with `aws ec2 describe-regions --all-regions`".to_owned(),
            };
            let message = format!("{region} is no region that is known here");
            self.warn("region", "region-unknown", message, fix);
        }
        let Some(zone) = zone else {
            return;
        };
        match region {
            None => {
                // Up to its first number: local zones go on after it.
                let is_digit = |letter: char| letter.is_ascii_digit();
                let start = zone.find(is_digit).unwrap_or(zone.len());
                let end = zone[start..].trim_start_matches(is_digit);
                let end = zone.strip_suffix(end).unwrap_or(zone);
                self.error(
                    "availabilityZone",
                    "zone-without-region",
                    "a zone without its region could be looked for in another one",
                    format!("add `region: {end}`"),
                );
            }
            // Local zones go on with a name of their own: us-west-2-lax-1a.
            Some(region)
                if !zone
                    .strip_prefix(region)
                    .is_some_and(|rest| rest.starts_with('-') || rest.len() == 1) =>
            {
                self.error(
                    "availabilityZone",
                    "zone-of-other-region",
                    format!("{zone} is not in {region}"),
                    format!("write {region}a, or the region of {zone}"),
                );
            }
            Some(_) => {}
        }
    }
}
