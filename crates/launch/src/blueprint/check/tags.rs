//! Tags: EC2's limits, and what rehost needs of them itself.

use super::Checker;
use std::collections::BTreeMap;

/// Tags that rehost gives to what it makes, of the 50 that a resource may have.
pub const OWN_TAGS: usize = 10;
/// What EC2 allows.
const TAGS: usize = 50;
/// What the tags of rehost begin with.
const OWN: &str = "rehost:";

impl Checker<'_> {
    pub(super) fn tags(&mut self) {
        let of_machine = self.blueprint.all_tags().len();
        self.tag_list("tags", &self.blueprint.tags, of_machine);
        self.tag_list("metadata.labels", &self.blueprint.metadata.labels, 0);
        for (at, disk) in self.blueprint.disks.iter().enumerate() {
            let all = self
                .blueprint
                .tags
                .keys()
                .chain(disk.tags.keys())
                .collect::<std::collections::BTreeSet<_>>();
            let count = if disk.tags.is_empty() {
                0
            } else {
                all.len() + self.blueprint.metadata.labels.len()
            };
            self.tag_list(&format!("disks[{at}].tags"), &disk.tags, count);
        }
        if self.blueprint.metadata_options.instance_tags != Some(true) {
            return;
        }
        for key in self.blueprint.all_tags().into_keys() {
            // What the metadata service can have as a part of its paths.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-=.,_:@".contains(&byte);
            let fits = key.bytes().all(plain) && !matches!(key.as_str(), "." | ".." | "_index");
            if !fits {
                let path = match key.strip_prefix("label:") {
                    Some(name) if !self.blueprint.tags.contains_key(&key) => {
                        field("metadata.labels", name)
                    }
                    _ => field("tags", &key),
                };
                self.error(
                    path,
                    "tag-key-in-metadata",
                    "the instance metadata service cannot show this key",
                    "write letters, digits and +-=.,_:@ alone, or `instanceTags: false`",
                );
            }
        }
    }

    fn tag_list(&mut self, path: &str, tags: &BTreeMap<String, String>, count: usize) {
        if count > TAGS - OWN_TAGS {
            let allowed = TAGS - OWN_TAGS;
            self.error(
                path,
                "tag-count",
                format!(
                    "{count} tags come together; EC2 allows {TAGS}, of which {OWN_TAGS} are rehost's"
                ),
                format!("keep {allowed}"),
            );
        }
        for (key, value) in tags {
            let path = field(path, key);
            let length = key.chars().count();
            if !(1..=128).contains(&length) {
                let message = format!("a key has 1 to 128 characters, this one {length}");
                self.error(path.clone(), "tag-key-length", message, "shorten the key");
            }
            if value.chars().count() > 256 {
                self.error(
                    path.clone(),
                    "tag-value-length",
                    format!(
                        "a value has at most 256 characters, this one {}",
                        value.chars().count()
                    ),
                    "shorten the value",
                );
            }
            let lower = key.to_ascii_lowercase();
            if lower.starts_with("aws:") {
                let message = "keys that begin with aws: are AWS's own";
                self.error(path, "tag-key-of-aws", message, "choose another key");
            } else if lower.starts_with(OWN) {
                let message = "keys that begin with rehost: say what rehost made";
                self.error(path, "tag-key-of-rehost", message, "choose another key");
            }
        }
    }
}

/// The path of a tag.
fn field(path: &str, key: &str) -> String {
    let root = crate::document::Path::root();
    let step = root.field(key).to_string();
    let dot = if step.starts_with('[') { "" } else { "." };
    format!("{path}{dot}{step}")
}
