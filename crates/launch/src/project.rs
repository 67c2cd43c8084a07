//! The project file: the machines of a migration, where their disks are, and what becomes of them.

use crate::blueprint::Hardware;
use crate::document::{Document, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The machines of a migration.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Project {
    /// Always `rehost/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<ApiVersion>,
    /// Always `Project`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ProjectKind>,
    /// What it is called.
    pub metadata: Metadata,
    /// Where the snapshots go: `store:DIR`, from the project file's directory, or `ebs:`.
    pub store: String,
    /// The region of the snapshots and the targets; else what AWS's own settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where it is kept how far each machine is, from the project file's directory; else `.rehost`
    /// there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// How much a run may ask of AWS; shards share it.
    #[serde(default)]
    pub limits: Limits,
    /// How the disks of all machines are replicated.
    #[serde(default)]
    pub replication: Replication,
    /// The machines, in the order in which they are worked on.
    #[schemars(length(min = 1, max = 10000))]
    pub machines: Vec<Machine>,
}

/// The version of the project file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ApiVersion {
    /// The only one.
    #[serde(rename = "rehost/v1")]
    V1,
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ProjectKind {
    /// A project file.
    Project,
}

/// What the project is called.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The name: letters, digits, `.`, `_` and `-`, at most 64. Everything made in AWS has it as
    /// a tag, and what belongs to another project is never touched.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$"))]
    pub name: String,
}

/// A machine that is moved.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// The name: letters, digits, `.`, `_` and `-`, at most 64.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$"))]
    pub name: String,
    /// Its disks in their order: image files from the project file's directory, block devices, or
    /// snapshots (`store:DIR#SNAPSHOT`, `ebs:SNAPSHOT`).
    #[schemars(length(min = 1, max = 64))]
    pub sources: Vec<String>,
    /// The format of the images instead of what their content says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Directories outside of the images' own whose files an image may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_path: Vec<PathBuf>,
    /// The volume with the root file system, where there are several: `sda2`, `1:2`, `UUID=…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The file with the machine's blueprint, from the project file's directory. Without one a
    /// machine can be replicated, converted and launched locally, but not on EC2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<PathBuf>,
    /// How large the source is, for the instance type `copy-origin`; else what its OVA or OVF tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<Hardware>,
    /// What differs from the project's replication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
}

/// How much a run may ask of AWS. Of several shards each one has its share.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Move at most so many million bits of blocks in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001))]
    pub max_mbps: Option<f64>,
    /// Send at most so many requests in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1000))]
    pub max_requests_per_second: Option<f64>,
}

/// How disks are replicated.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replication {
    /// Whether snapshots in EBS are encrypted; else as the account does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<bool>,
    /// The key to encrypt with, by its full ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Whether holes are put as zeros into encrypted snapshots; else yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_fill: Option<bool>,
    /// Also give the snapshots these tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// What a store is called that is a local directory, and EBS.
const STORE: &str = "store:";
const EBS: &str = "ebs:";

/// Applies the rules that its form does not tell, all of them.
pub fn check(document: &Document<Project>) -> Vec<Problem> {
    let project = document.value();
    let mut problems = Vec::new();
    let store = &project.store;
    let local = store
        .strip_prefix(STORE)
        .is_some_and(|dir| !dir.is_empty() && !dir.contains('#'));
    if !local && store != EBS {
        problems.push(document.problem(
            "store",
            "store",
            format!("{store:?} is no place of snapshots"),
            "write store:DIR, or ebs:",
        ));
    }
    let mut replications = vec![("replication".to_owned(), &project.replication)];
    let mut names = BTreeSet::new();
    let mut sources = BTreeMap::new();
    for (number, machine) in project.machines.iter().enumerate() {
        let at = format!("machines[{number}]");
        if !names.insert(&machine.name) {
            problems.push(document.problem(
                format!("{at}.name"),
                "name-twice",
                format!("there is a machine {:?} already", machine.name),
                "give each machine a name of its own: its snapshots are found by it",
            ));
        }
        for (place, source) in machine.sources.iter().enumerate() {
            if let Some(other) = sources.insert(source, &machine.name) {
                problems.push(document.problem(
                    format!("{at}.sources[{place}]"),
                    "source-twice",
                    format!("{source:?} is a disk of {other:?} already"),
                    "name each disk once",
                ));
            }
        }
        if let Some(replication) = &machine.replication {
            replications.push((format!("{at}.replication"), replication));
        }
    }
    for (at, replication) in replications {
        if replication.encrypt == Some(false) && replication.kms_key_id.is_some() {
            problems.push(document.problem(
                format!("{at}.kmsKeyId"),
                "key-unencrypted",
                "there is a key, and `encrypt: false`",
                "leave one of them out",
            ));
        }
        if local && *replication != Replication::default() {
            problems.push(document.problem(
                at,
                "ebs-only",
                "encryption, zero fill and tags are about snapshots in EBS",
                "leave them out, or write `store: ebs:`",
            ));
        }
    }
    problems
}

impl Project {
    /// The machine of a name.
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name == name)
    }

    /// How a machine's disks are replicated: what it says itself, and else the project. Tags are
    /// joined.
    pub fn replication(&self, machine: &Machine) -> Replication {
        let all = &self.replication;
        let Some(own) = &machine.replication else {
            return all.clone();
        };
        let mut tags = all.tags.clone();
        tags.extend(own.tags.clone());
        // A key of the machine's own is not undone by what the project says about encryption.
        let encrypts = own.encrypt.is_some() || own.kms_key_id.is_some();
        let encryption = if encrypts { own } else { all };
        Replication {
            encrypt: encryption.encrypt,
            kms_key_id: encryption.kms_key_id.clone(),
            zero_fill: own.zero_fill.or(all.zero_fill),
            tags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    #[test]
    fn a_project_is_read_with_all_that_it_may_say() {
        let text = "apiVersion: rehost/v1\nkind: Project\nmetadata: {name: shop}\nstore: 'ebs:'\n\
            region: eu-west-1\nstate: state\nlimits: {maxMbps: 400, maxRequestsPerSecond: 500}\n\
            replication: {encrypt: true, zeroFill: false, tags: {owner: me}}\nmachines:\n\
            - name: web1\n  sources: [a.vmdk, b.vmdk]\n  blueprint: web1.yaml\n  root: sda2\n  \
            hardware: {vcpus: 4, memoryMib: 8192}\n\
            - name: db1\n  sources: [/dev/vg/db1]\n  format: raw\n  allowPath: [/srv]\n  \
            replication: {kmsKeyId: 'arn:aws:kms:eu-west-1:111122223333:key/1'}\n";
        let document = document::read::<Project>(text).unwrap();
        assert_eq!(check(&document), []);
        assert_eq!(document.value().machines.len(), 2);
        assert!(document.value().machine("db1").is_some());
        let web1 = document.value().machine("web1").unwrap();
        let hardware = web1.hardware.unwrap();
        assert_eq!((hardware.vcpus, hardware.memory_mib), (Some(4), Some(8192)));
        let again = serde_json::to_string(document.value()).unwrap();
        assert_eq!(
            document::read::<Project>(&again).unwrap().value(),
            document.value()
        );
    }

    #[test]
    fn what_contradicts_itself_is_told_where_it_stands() {
        let head = "metadata: {name: shop}\n";
        let machines = "machines:\n- {name: a, sources: [a.raw]}\n";
        for (text, rule, line) in [
            (format!("{head}store: s3:x\n{machines}"), "store", 2),
            (
                format!("{head}store: 'store:x#snap-1'\n{machines}"),
                "store",
                2,
            ),
            (
                format!("{head}store: 'ebs:'\n{machines}- {{name: a, sources: [b.raw]}}\n"),
                "name-twice",
                5,
            ),
            (
                format!("{head}store: 'ebs:'\n{machines}- {{name: b, sources: [a.raw]}}\n"),
                "source-twice",
                5,
            ),
            (
                format!("{head}store: store:x\nreplication: {{encrypt: true}}\n{machines}"),
                "ebs-only",
                3,
            ),
            (
                format!(
                    "{head}store: 'ebs:'\nreplication: {{encrypt: false, kmsKeyId: k}}\n{machines}"
                ),
                "key-unencrypted",
                3,
            ),
        ] {
            let document = document::read::<Project>(&text).unwrap();
            let problems = check(&document);
            let [problem] = problems.as_slice() else {
                panic!("{text}: {problems:?}")
            };
            assert_eq!((problem.rule, problem.line), (rule, line), "{text}");
            assert!(!problem.fix.is_empty());
        }
        for bad in [
            format!("{head}store: 'ebs:'\nmachines: []\n"),
            format!("{head}store: 'ebs:'\n{machines}- {{name: ../b, sources: [b]}}\n"),
            format!("{head}store: 'ebs:'\n{machines}- {{name: b, sources: []}}\n"),
            format!("{head}store: 'ebs:'\nmachine: x\n{machines}"),
            format!(
                "{head}store: 'ebs:'\nmachines:\n- name: a\n  sources: [a.raw]\n  hardware: {{vcpus: 0}}\n"
            ),
            format!(
                "{head}store: 'ebs:'\nmachines:\n- name: a\n  sources: [a.raw]\n  hardware: {{memoryMib: 67108865}}\n"
            ),
            format!(
                "{head}store: 'ebs:'\nmachines:\n- name: a\n  sources: [a.raw]\n  hardware: {{cpus: 1}}\n"
            ),
        ] {
            assert!(document::read::<Project>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_machine_says_what_differs() {
        let key = |name: &str| Some(name.to_owned());
        let machine = |replication| Machine {
            name: "web1".to_owned(),
            sources: vec!["web1.vmdk".to_owned()],
            format: None,
            allow_path: Vec::new(),
            root: None,
            blueprint: None,
            hardware: None,
            replication,
        };
        let project = Project {
            api_version: None,
            kind: None,
            metadata: Metadata {
                name: "shop".to_owned(),
            },
            store: "ebs:".to_owned(),
            region: None,
            state: None,
            limits: Limits::default(),
            replication: Replication {
                zero_fill: Some(false),
                kms_key_id: key("project"),
                tags: BTreeMap::from([("owner".to_owned(), "me".to_owned())]),
                ..Replication::default()
            },
            machines: Vec::new(),
        };
        assert_eq!(project.replication(&machine(None)), project.replication);
        let own = Replication {
            encrypt: Some(false),
            tags: BTreeMap::from([("tier".to_owned(), "web".to_owned())]),
            ..Replication::default()
        };
        let joined = project.replication(&machine(Some(own)));
        assert_eq!(
            (joined.zero_fill, joined.encrypt),
            (Some(false), Some(false))
        );
        assert_eq!((joined.kms_key_id, joined.tags.len()), (None, 2));
    }
}
