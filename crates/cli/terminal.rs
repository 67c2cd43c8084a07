//! What is known about the person at the other end.

use crate::args::GlobalArgs;
use crate::progress::Bars;
use ondisk::{Interrupt, NoProgress, Progress};
use std::io::IsTerminal;
use std::sync::Arc;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Colours, progress, and the wish to stop.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) interrupt: Interrupt,
    quiet: bool,
    colour_out: bool,
    colour_err: bool,
}

impl Terminal {
    /// Looks at the environment once; nothing else in rehost does.
    pub(crate) fn new(global: &GlobalArgs) -> Self {
        let interactive = std::io::stderr().is_terminal() && !global.quiet;
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let progress: Arc<dyn Progress> = if interactive {
            Arc::new(Bars::new())
        } else {
            Arc::new(NoProgress)
        };
        start_log(global.verbose);
        let interrupt = Interrupt::default();
        let on_signal = interrupt.clone();
        // The second signal ends the process at once: nothing is published under its final name
        // before it is whole, so that is safe at any moment.
        let installed = ctrlc::set_handler(move || {
            if on_signal.is_set() {
                std::process::exit(crate::exit::INTERRUPTED.into());
            }
            on_signal.set();
            eprintln!("rehost: stopping; once more to stop at once");
        });
        if let Err(error) = installed {
            tracing::warn!(%error, "signals end rehost without cleaning up");
        }
        Self {
            progress,
            interrupt,
            quiet: global.quiet,
            colour_out: !plain && std::io::stdout().is_terminal(),
            colour_err: !plain && std::io::stderr().is_terminal(),
        }
    }

    /// A line on stderr about what happens to a machine, among those of others.
    pub(crate) fn say(&self, machine: &str, what: &str) {
        if !self.quiet {
            eprintln!("{machine}: {what}");
        }
    }

    /// Text for stdout in a colour, where colours are wanted.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        colour.paint(text, self.colour_out)
    }

    /// Whether stdout shows more than plain letters.
    pub(crate) fn shows_shades(&self) -> bool {
        self.colour_out
    }

    /// Text for stderr in a colour, where colours are wanted.
    pub(crate) fn paint_err(&self, colour: Colour, text: &str) -> String {
        colour.paint(text, self.colour_err)
    }
}

/// What colours mean here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Bold,
    Added,
    Removed,
    Warning,
}

impl Colour {
    fn paint(self, text: &str, wanted: bool) -> String {
        let code = match self {
            Self::Bold => "1",
            Self::Added => "32",
            Self::Removed => "31",
            Self::Warning => "33",
        };
        if wanted {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn start_log(verbose: u8) {
    let level = match verbose {
        // What fails comes back as an error with its reasons; on the way the SDK warns of every try.
        0 => "warn,aws_config=error",
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("REHOST_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are left out of what it is built with.
        .with_ansi(false)
        .without_time()
        .finish()
        .with(FilterFn::new(tells_no_secrets))
        .init();
}

/// Whatever the user wants to see: below `info` these crates log signed headers, and more of what
/// nobody may read.
fn tells_no_secrets(metadata: &Metadata<'_>) -> bool {
    let speaks_to_aws = |name: &str| {
        let name = name.split("::").next().unwrap_or_default();
        ["aws_", "hyper"]
            .iter()
            .any(|start| name.starts_with(start))
            || ["rustls", "h2"].contains(&name)
    };
    *metadata.level() <= Level::INFO
        || !(speaks_to_aws(metadata.target()) || metadata.module_path().is_some_and(speaks_to_aws))
}
