//! Holds a request and all after it, so that a test can kill the client right there.

use crate::action::Action;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Which request is to be held, or reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hold {
    /// The how manieth request from now on, from 1, of those that count.
    pub at: u64,
    /// It takes effect first, and only its answer is held; else nothing happens.
    pub after: bool,
    /// The actions that count; empty: all.
    pub actions: BTreeSet<Action>,
    /// Its connection is reset at once, and requests after it go on as ever.
    pub reset: bool,
}

/// The request that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Held {
    /// What it asks for.
    pub action: Action,
    /// Whether it took effect.
    pub after: bool,
}

/// What is to happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meets {
    Nothing,
    /// It is held, or reset, without having taken effect, or after that.
    Hold {
        after: bool,
    },
    Reset {
        after: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Holds {
    inner: Mutex<Inner>,
    released: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    plan: Option<Hold>,
    seen: u64,
    /// The request was met, and those after it are held.
    stopped: bool,
    /// What can be seen of it: not before its effect, if it is to have one.
    held: Option<Held>,
}

impl Default for Holds {
    fn default() -> Self {
        Holds {
            inner: Mutex::default(),
            released: watch::Sender::new(0),
        }
    }
}

impl Holds {
    /// Counts from now on. What was held is let go as by [`Holds::release`].
    pub(crate) fn set(&self, hold: Hold) {
        self.clear(Some(hold));
    }

    /// Holds nothing any more. Requests that are held are reset: those before their effect never have
    /// it.
    pub(crate) fn release(&self) {
        self.clear(None);
    }

    fn clear(&self, plan: Option<Hold>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner = Inner {
            plan,
            ..Inner::default()
        };
        self.released
            .send_modify(|generation| *generation = generation.wrapping_add(1));
    }

    /// The request that the count met, if it is held still.
    pub(crate) fn held(&self) -> Option<Held> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.held
    }

    /// How many requests were counted since [`Holds::set`].
    pub(crate) fn seen(&self) -> u64 {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.seen
    }

    /// The request that was met to be held after its effect has had that now.
    pub(crate) fn took_effect(&self, action: Action) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // Unless it was released meanwhile.
        if inner.stopped {
            inner.held = Some(Held {
                action,
                after: true,
            });
        }
    }

    /// Counts a request that has come. Also what to wait with, if it is held.
    pub(crate) fn meet(&self, action: Action) -> (Meets, watch::Receiver<u64>) {
        let mut guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *guard;
        // Subscribed under the lock, so that no release is missed.
        let released = self.released.subscribe();
        let Some(plan) = &inner.plan else {
            return (Meets::Nothing, released);
        };
        if inner.stopped {
            // The world stands still from the request on that is held.
            return (Meets::Hold { after: false }, released);
        }
        if !plan.actions.is_empty() && !plan.actions.contains(&action) {
            return (Meets::Nothing, released);
        }
        inner.seen += 1;
        if inner.seen != plan.at {
            return (Meets::Nothing, released);
        }
        let after = plan.after;
        let meets = if plan.reset {
            Meets::Reset { after }
        } else {
            inner.stopped = true;
            inner.held = (!after).then_some(Held { action, after });
            Meets::Hold { after }
        };
        (meets, released)
    }
}

/// Waits until what is held is released.
pub(crate) async fn wait(mut released: watch::Receiver<u64>) {
    // The sender lives as long as the world, which the caller has.
    let _ = released.changed().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_the_nth_request_on_all_are_held() {
        let holds = Holds::default();
        let meet = |action| holds.meet(action).0;
        assert_eq!(meet(Action::RunInstances), Meets::Nothing);
        holds.set(Hold {
            at: 2,
            after: true,
            actions: [Action::RunInstances].into(),
            reset: false,
        });
        assert_eq!(meet(Action::RunInstances), Meets::Nothing);
        assert_eq!(meet(Action::CreateTags), Meets::Nothing);
        assert_eq!(holds.held(), None);
        assert_eq!(meet(Action::RunInstances), Meets::Hold { after: true });
        assert_eq!(holds.held(), None);
        holds.took_effect(Action::RunInstances);
        let held = Held {
            action: Action::RunInstances,
            after: true,
        };
        assert_eq!(holds.held(), Some(held));
        assert_eq!(meet(Action::CreateTags), Meets::Hold { after: false });
        holds.release();
        assert_eq!(holds.held(), None);
        assert_eq!(meet(Action::RunInstances), Meets::Nothing);
    }

    #[test]
    fn a_reset_meets_one_request() {
        let holds = Holds::default();
        holds.set(Hold {
            at: 1,
            reset: true,
            ..Hold::default()
        });
        let meet = || holds.meet(Action::RunInstances).0;
        assert_eq!(meet(), Meets::Reset { after: false });
        assert_eq!(meet(), Meets::Nothing);
        assert_eq!(holds.held(), None);
    }
}
