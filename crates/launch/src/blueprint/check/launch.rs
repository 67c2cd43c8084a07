//! Licensing, the launch, and the conversion.

use super::Checker;
use crate::blueprint::{Disposition, OsType, Tenancy, Wait};
use crate::document::nearest;

/// What user data may have, in bytes before base64.
const USER_DATA: usize = 16 << 10;

impl Checker<'_> {
    pub(super) fn licensing(&mut self) {
        let licensing = &self.blueprint.licensing;
        let seller = match licensing.os_type {
            Some(OsType::Rhel) => Some("Red Hat"),
            Some(OsType::Suse) => Some("SUSE"),
            Some(OsType::Windows) => Some("Microsoft"),
            Some(OsType::Linux) | None => None,
        };
        if let (false, Some(seller)) = (licensing.byol(), seller) {
            self.error(
                "licensing.byol",
                "license-included",
                format!("an image made from snapshots cannot have a license of {seller} included"),
                "write true and bring the license, or launch by AWS MGN or VM Import",
            );
        }
        let billed = licensing.usage_operation.as_deref();
        if let Some(billed) = billed.filter(|billed| *billed != "RunInstances") {
            self.error(
                "licensing.usageOperation",
                "usage-operation",
                format!("an image made from snapshots is billed as RunInstances, not as {billed}"),
                "write RunInstances, or leave it out",
            );
        }
        let shared = self.blueprint.instance.tenancy == Tenancy::Default;
        if licensing.os_type == Some(OsType::Windows) && shared {
            self.error(
                "licensing.osType",
                "license-windows-tenancy",
                "your own Windows license may be used on hardware of your own alone",
                "write `instance: {tenancy: host}` with a hostId, or `tenancy: dedicated`",
            );
        }
    }

    pub(super) fn launch(&mut self) {
        let launch = &self.blueprint.launch;
        let size = launch.user_data.as_ref().map_or(0, String::len);
        if size > USER_DATA {
            self.error(
                "launch.userData",
                "user-data-size",
                format!("user data has at most {USER_DATA} bytes, this has {size}"),
                "shorten it, or let it fetch the rest",
            );
        }
        if launch.disposition == Disposition::Stopped && launch.wait == Wait::StatusOk {
            self.error(
                "launch.wait",
                "wait-for-stopped",
                "an instance that is stopped has no status to wait for",
                "write running, or `disposition: started`",
            );
        }
    }

    pub(super) fn conversion(&mut self) {
        let ids = || convert::RULES.iter().map(|rule| rule.id);
        for (at, id) in self.blueprint.conversion.skip.iter().enumerate() {
            if ids().any(|known| known == id) {
                continue;
            }
            let fix = match nearest(id, ids()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "write one that `rehost rules` lists".to_owned(),
            };
            self.error(
                format!("conversion.skip[{at}]"),
                "conversion-rule",
                format!("no rule is named {id:?}"),
                fix,
            );
        }
    }
}
