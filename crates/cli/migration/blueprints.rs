//! The blueprints of a project's machines.

use super::Migration;
use ::launch::blueprint::{Blueprint, Context, check_together};
use ::launch::document::{self, Document, Problems, Severity};
use ::launch::instances::Table;
use ::launch::project::Machine;
use anyhow::{Result, anyhow};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

impl Migration {
    /// Reads and checks the blueprint of a machine, if it has one.
    pub(super) fn target_of(&self, machine: &Machine, types: &Table) -> Result<Option<Blueprint>> {
        let Some(path) = self.blueprint(machine) else {
            return Ok(None);
        };
        let project = &self.project.metadata.name;
        read(&path, project, &machine.name, types).map(Some)
    }

    /// Checks the blueprints of all machines against each other: no two targets can have one address.
    ///
    /// One that cannot be read alone is told when its own machine is launched.
    pub(crate) fn check_blueprints(&self) -> Result<()> {
        let paths = self.project.machines.iter();
        let paths: Vec<PathBuf> = paths.filter_map(|one| self.blueprint(one)).collect();
        let mut read: Vec<(&Path, Document<Blueprint>)> = Vec::new();
        for path in &paths {
            if let Ok(document) = document::load(path) {
                read.push((path, document));
            }
        }
        let documents: Vec<_> = read.iter().map(|(_, document)| document).collect();
        let mut found: BTreeMap<usize, Vec<document::Problem>> = BTreeMap::new();
        for (at, problem) in check_together(&documents) {
            if problem.severity == Severity::Error {
                found.entry(at).or_default().push(problem);
            }
        }
        let files = found.into_iter().filter_map(|(at, problems)| {
            let (path, _) = read.get(at)?;
            Some(Problems::in_file(path, problems).to_string())
        });
        let files: Vec<String> = files.collect();
        if files.is_empty() {
            return Ok(());
        }
        Err(anyhow!(files.join("\n")).context("the machines of the project cannot all be launched"))
    }
}

/// Reads and checks the blueprint of a machine of a project.
fn read(path: &Path, project: &str, machine: &str, types: &Table) -> Result<Blueprint> {
    let document = document::load::<Blueprint>(path)?;
    let context = Context {
        types,
        source: None,
    };
    let mut problems = Blueprint::check(&document, &context);
    let metadata = &document.value().metadata;
    if metadata.machine != machine {
        problems.push(document.problem(
            "metadata.machine",
            "other-machine",
            format!(
                "it is the blueprint of {:?}, not of {machine:?}",
                metadata.machine
            ),
            "give each machine of the project a blueprint of its own",
        ));
    }
    if let Some(other) = metadata.project.as_ref().filter(|other| *other != project) {
        problems.push(document.problem(
            "metadata.project",
            "other-project",
            format!("it belongs to the project {other:?}, not to {project:?}"),
            "leave it out, or write the project's name",
        ));
    }
    problems.retain(|problem| problem.severity == Severity::Error);
    if problems.is_empty() {
        return Ok(document.into_value());
    }
    Err(Problems::in_file(path, problems).into())
}
