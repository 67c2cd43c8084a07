//! What a conversion changes in a guest, and why.
//!
//! [`plan`] runs the [rules](RULES) over a guest that was inspected. Rules build no actions: they
//! read and edit a [`Draft`] whose reads fall through pending edits to the guest, and the recorded
//! difference is the [`Plan`]: one [`Change`] for each object, with the state before as
//! precondition, the state after, and every rule that asked for it with its reason.
//!
//! [`Plan::apply`] interprets the plan and decides nothing: it checks every precondition, the room
//! and the writability of each file system before it touches the first byte, so that a stale plan
//! touches nothing. [`Plan::verify`] reads everything back through freshly opened drivers.
//!
//! Dry run, unified diff and JSON are renderings of that one value.
//!
//! ```
//! # use convert::{Options, plan};
//! # fn example(guest: &guest::Guest, facts: &guest::Facts) -> Result<(), convert::Error> {
//! let plan = plan(guest, facts, &Options::default())?;
//! println!("{}", plan.render(true));
//! # Ok(())
//! # }
//! ```

mod apply;
mod bytes;
mod change;
mod conversion;
mod draft;
mod error;
mod labels;
mod options;
mod originals;
mod plan;
mod readiness;
mod render;
mod rule;
mod rules;
mod state;
mod verify;

pub use apply::Applied;
pub use bytes::Bytes;
pub use change::{After, Because, Change, Content};
pub use conversion::{Conversion, convert};
pub use draft::Draft;
pub use error::{Error, Stale};
pub use options::{NetworkMode, Options, Target};
pub use plan::{PLAN_FORMAT, Plan, PlannedGuest, plan};
pub use readiness::{Generation, Readiness, Verdict, readiness};
pub use rule::{Finding, Rule, Severity};
pub use rules::RULES;
pub use state::{Digest, State};
