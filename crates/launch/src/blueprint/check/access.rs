//! The instance profile.

use super::Checker;
use super::arn::{Arn, partition_of};

impl Checker<'_> {
    pub(super) fn access(&mut self) {
        let Some(profile) = self.blueprint.iam.instance_profile.as_deref() else {
            return;
        };
        let path = "iam.instanceProfile";
        let fix = "write its name, or arn:aws:iam::ACCOUNT:instance-profile/NAME";
        if !profile.starts_with("arn:") {
            // IAM's model: [\w+=,.@-]+, at most 128.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
            if profile.len() > 128 || !profile.bytes().all(plain) {
                let message = format!("{profile:?} is no name of an instance profile");
                self.error(path, "instance-profile-form", message, fix);
            }
            return;
        }
        let arn = Arn::parse(profile).filter(|arn| arn.service == "iam" && arn.has_account());
        let Some(arn) = arn else {
            let message = format!("{profile:?} is no ARN of an instance profile");
            self.error(path, "instance-profile-form", message, fix);
            return;
        };
        if !arn.resource.starts_with("instance-profile/") {
            self.error(
                path,
                "instance-profile-form",
                "this is the ARN of something else; roles are given by an instance profile",
                "name the profile that holds the role: often it has the same name",
            );
        }
        if let Some(region) = &self.blueprint.region
            && arn.partition != partition_of(region)
        {
            self.error(
                path,
                "instance-profile-of-other-partition",
                format!("{} has nothing in {region}", arn.partition),
                format!("name a profile in {}", partition_of(region)),
            );
        }
    }
}
