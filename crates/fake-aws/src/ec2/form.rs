//! The query protocol's form: an action and its parameters.

use crate::action::{Action, pairs};
use std::collections::BTreeMap;

/// A request: its action and its parameters, each once.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) action: Action,
    pub(super) name: String,
    pub(super) parameters: BTreeMap<String, String>,
}

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Form {
        let text = String::from_utf8_lossy(body);
        let parameters: BTreeMap<String, String> = pairs(&text, true).into_iter().collect();
        let name = parameters.get("Action").cloned().unwrap_or_default();
        Form {
            action: Action::of_ec2(&name).unwrap_or(Action::Unknown),
            name,
            parameters,
        }
    }

    /// The snapshot that the request is about, if it is one only.
    pub(crate) fn snapshot(&self) -> Option<String> {
        let names = ["SnapshotId", "SnapshotId.1", "ResourceId.1"];
        names
            .iter()
            .find_map(|name| self.parameters.get(*name))
            .cloned()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// `NAME.1`, `NAME.2` and so on.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        (1..=self.parameters.len())
            .map_while(|number| self.get(&format!("{name}.{number}")))
            .collect()
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.get("DryRun")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}
