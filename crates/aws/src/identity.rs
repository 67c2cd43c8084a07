//! Whom requests are signed for: credentials, asked for again before they end.

use crate::Error;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_types::error::display::DisplayErrorContext;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// The credentials in use. A chain that ends at an instance's own service makes two requests for
/// them each time, so they are asked for seldom.
#[derive(Debug)]
pub(crate) struct Identities {
    provider: SharedCredentialsProvider,
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    identity: Identity,
    renew: SystemTime,
}

/// So long before their end new ones are asked for: what is signed now still has its way to go.
const AHEAD: Duration = Duration::from_secs(60);
/// How long credentials without an end are taken for good, as the SDK does it.
const ENDLESS: Duration = Duration::from_secs(15 * 60);

impl Identities {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self {
            provider,
            known: Mutex::default(),
        }
    }

    /// The identity, as good as it will be for a minute if its source has such a one.
    pub(crate) async fn get(&self) -> Result<Identity, Error> {
        // Whoever comes first asks, the others wait for the answer.
        let mut known = self.known.lock().await;
        let now = SystemTime::now();
        if let Some(known) = known.as_ref().filter(|known| now < known.renew) {
            return Ok(known.identity.clone());
        }
        let identity: Identity = match self.provider.provide_credentials().await {
            Ok(credentials) => credentials.into(),
            Err(error) => {
                // The ones at hand may have their last minute.
                let at_hand = known.as_ref().map(|known| &known.identity);
                let good = at_hand.filter(|it| it.expiration().is_some_and(|end| now < end));
                let failed = || Error::Credentials(DisplayErrorContext(&error).to_string());
                return good.cloned().ok_or_else(failed);
            }
        };
        let renew = match identity.expiration() {
            Some(end) => end.checked_sub(AHEAD),
            None => now.checked_add(ENDLESS),
        };
        *known = Some(Known {
            identity: identity.clone(),
            renew: renew.unwrap_or(now),
        });
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Gives credentials that are good for the next entry's seconds, `None` for ever; fails when
    /// there are no more.
    #[derive(Clone, Debug)]
    struct Source {
        good_for: Vec<Option<u64>>,
        asked: Arc<AtomicU64>,
    }

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let at = self.asked.fetch_add(1, Ordering::Relaxed);
            let next = self.good_for.get(usize::try_from(at).unwrap());
            future::ProvideCredentials::ready(match next {
                Some(good_for) => {
                    let end = good_for.map(|good_for| {
                        let good_for = Duration::from_secs(good_for);
                        SystemTime::now().checked_add(good_for).unwrap()
                    });
                    Ok(Credentials::new(
                        at.to_string(),
                        "secret",
                        None,
                        end,
                        "test",
                    ))
                }
                None => Err(CredentialsError::not_loaded("no more")),
            })
        }
    }

    /// Whom the requests of a run are signed for, by the number of the credentials.
    fn keys(good_for: &[Option<u64>], requests: usize) -> Vec<Result<String, Error>> {
        let identities = Identities::new(SharedCredentialsProvider::new(Source {
            good_for: good_for.to_vec(),
            asked: Arc::default(),
        }));
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let mut keys = Vec::new();
        for _ in 0..requests {
            keys.push(runtime.block_on(identities.get()).map(|identity| {
                let credentials = identity.data::<Credentials>().unwrap();
                credentials.access_key_id().to_owned()
            }));
        }
        keys
    }

    #[test]
    fn credentials_are_asked_for_again_in_their_last_minute() {
        let of = |good_for: &[Option<u64>]| -> Vec<String> {
            let keys = keys(good_for, 4).into_iter();
            keys.map(|key| key.unwrap_or_else(|_| "none".to_owned()))
                .collect()
        };
        assert_eq!(of(&[None]), ["0", "0", "0", "0"]);
        assert_eq!(of(&[Some(3600)]), ["0", "0", "0", "0"]);
        assert_eq!(of(&[Some(30), Some(30), Some(3600)]), ["0", "1", "2", "2"]);
        // No new ones are to be had, but these are still good.
        assert_eq!(of(&[Some(30)]), ["0", "0", "0", "0"]);
        assert_eq!(of(&[Some(0)]), ["0", "none", "none", "none"]);
        assert!(matches!(&keys(&[], 1)[..], [Err(Error::Credentials(_))]));
    }
}
