//! The whole way of one machine, in memory: from opened disks to overlays that can be published.

use crate::{Applied, Error, Options, Plan, plan};
use fs::Time;
use guest::{Facts, Guest, Machine, VolumeId};

/// What became of a machine. Its converted disks are the overlays of the [`Machine`].
#[derive(Debug)]
pub struct Conversion {
    /// What inspection saw before.
    pub facts: Facts,
    /// What was done.
    pub plan: Plan,
    /// How much of it had to be done.
    pub applied: Applied,
}

/// Inspects, plans, applies and verifies; publishes nothing.
///
/// Changed objects get the time `now`, or else that of the guest's own last write, so that the
/// same image and options give the same bytes.
///
/// # Errors
/// What any of these steps meets; the machine's overlays are to be thrown away then.
pub fn convert(
    machine: &Machine,
    root: &VolumeId,
    options: &Options,
    now: Option<Time>,
) -> Result<Conversion, Error> {
    let mut guest = Guest::open(machine, root)?;
    let facts = guest::inspect(machine, &guest)?;
    let plan = plan(&guest, &facts, options)?;
    let now = now.or(guest.last_write()).unwrap_or_default();
    let applied = plan.apply(&mut guest, now)?;
    drop(guest);
    plan.verify(&Guest::open(machine, root)?)?;
    Ok(Conversion {
        facts,
        plan,
        applied,
    })
}
