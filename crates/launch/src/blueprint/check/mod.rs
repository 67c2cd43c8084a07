//! The rules that a blueprint has to keep, as far as they can be told without asking EC2.
//!
//! What a number or a word of its own may be is in the JSON Schema. Here is what fields say about
//! each other, about instance types, and about the source. Limits are those of EC2's API model of
//! 2026; where documents of AWS are the source, the rule names what they say.

mod access;
mod arn;
mod boot;
mod device_names;
mod disks;
mod instance;
mod launch;
mod network;
mod place;
mod rules;
mod tags;
mod together;

pub use rules::RULES;
pub use tags::OWN_TAGS;
pub use together::check_together;

use super::{Blueprint, Context, SourceFacts};
use crate::document::{Document, Problem};
use crate::instances::InstanceType;

impl Blueprint {
    /// Applies every rule; the problems come in the order of the text.
    pub fn check(document: &Document<Self>, context: &Context<'_>) -> Vec<Problem> {
        let blueprint = document.value();
        let mut checker = Checker {
            document,
            blueprint,
            context: *context,
            source: context.source,
            instance_type: blueprint.instance_type(context).ok(),
            problems: Vec::new(),
        };
        checker.place();
        checker.instance();
        checker.boot();
        checker.disks();
        checker.device_names();
        checker.network();
        checker.access();
        checker.tags();
        checker.licensing();
        checker.launch();
        checker.conversion();
        let mut problems = checker.problems;
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }
}

struct Checker<'a> {
    document: &'a Document<Blueprint>,
    blueprint: &'a Blueprint,
    context: Context<'a>,
    source: Option<&'a SourceFacts>,
    /// Where it is known.
    instance_type: Option<&'a InstanceType>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn error(
        &mut self,
        path: impl Into<String>,
        rule: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let problem = self.document.problem(path, rule, message, fix);
        self.problems.push(problem);
    }

    fn warn(
        &mut self,
        path: impl Into<String>,
        rule: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let problem = self.document.problem(path, rule, message, fix);
        self.problems.push(problem.warning());
    }
}

#[cfg(test)]
mod tests;
