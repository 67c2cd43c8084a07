//! How a machine went, in a word and in a sentence.

use super::Shown;
use crate::size::duration;
use crate::{Outcome, Severity};

/// How a machine went.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The class of its colour: `good`, `warn`, `bad`.
    pub(crate) class: &'static str,
    /// In a word or two.
    pub(crate) word: &'static str,
    /// In a sentence.
    pub(crate) sentence: String,
}

pub(crate) fn of(one: &Shown<'_>) -> Verdict {
    let machine = one.machine;
    let verdict = |class, word, sentence: String| Verdict {
        class,
        word,
        sentence,
    };
    if machine.result == Outcome::Failed {
        let why = machine.error.first().cloned().unwrap_or_default();
        return verdict("bad", "failed", why);
    }
    let boot = machine.target.as_ref().and_then(|it| it.boot.as_ref());
    if let Some(boot) = boot {
        let after = boot.took.map(|took| format!(" after {}", duration(took)));
        let after = after.unwrap_or_default();
        return if boot.up {
            let sentence = format!("The target came up{after}: {}.", boot.evidence);
            verdict("good", "came up", sentence)
        } else {
            let sentence = format!("The target did not come up{after}: {}.", boot.evidence);
            verdict("bad", "did not come up", sentence)
        };
    }
    let word = done(&one.run.command);
    let nothing_new = one.run.command == "replicate"
        && !machine.outputs.is_empty()
        && machine.outputs.iter().all(|output| !output.made);
    match machine.worst() {
        Some(Severity::Problem) => verdict(
            "bad",
            word,
            "With a problem: the target will probably not boot, or not be reachable, before it is \
             solved."
                .to_owned(),
        ),
        Some(Severity::Warning) => verdict(
            "warn",
            word,
            "As asked; something may need work by hand after launch.".to_owned(),
        ),
        _ if nothing_new => verdict(
            "good",
            "nothing new",
            "Nothing changed since the last snapshot.".to_owned(),
        ),
        _ => verdict("good", word, "As asked, and nothing was odd.".to_owned()),
    }
}

fn done(command: &str) -> &'static str {
    match command {
        "convert" => "converted",
        "replicate" => "replicated",
        "copy" => "copied",
        "test" => "tested",
        "cutover" => "cut over",
        "launch" => "launched",
        _ => "done",
    }
}
