//! Whom requests are signed for: credentials, asked for again before they end.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The credentials in use, for the SDK's clients and for what is signed without them. A chain that
/// ends at an instance's own service makes two requests for them each time, and another starts a
/// program, so they are asked for seldom, and by one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Identities(Arc<Shared>);

/// What the clones share.
#[derive(Debug)]
struct Shared {
    provider: SharedCredentialsProvider,
    known: Mutex<Option<Known>>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Known {
    credentials: Credentials,
    /// When others are asked for.
    renew: SystemTime,
}

/// So long before their end new ones are asked for: what is signed now still has its way to go.
const AHEAD: Duration = Duration::from_secs(60);
/// So long after there were no better ones they are asked for again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long credentials without an end are taken for good, as the SDK does it.
const ENDLESS: Duration = Duration::from_secs(15 * 60);

impl Identities {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self(Arc::new(Shared {
            provider,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }))
    }

    /// Credentials that are good for a minute more, if their source has such ones.
    pub(crate) async fn get(&self) -> Result<Credentials, CredentialsError> {
        self.at(SystemTime::now()).await
    }

    async fn at(&self, now: SystemTime) -> Result<Credentials, CredentialsError> {
        let fresh = |known: &Known| now < known.renew;
        if let Some(known) = self.known().filter(fresh) {
            return Ok(known.credentials);
        }
        let good = |known: &Known| known.credentials.expiry().is_some_and(|end| now < end);
        let _asking = match (self.0.asking.try_lock(), self.known().filter(good)) {
            (Ok(asking), _) => asking,
            // Another is asking, and these are still good.
            (Err(_), Some(known)) => return Ok(known.credentials),
            (Err(_), None) => self.0.asking.lock().await,
        };
        if let Some(known) = self.known().filter(fresh) {
            return Ok(known.credentials);
        }
        let credentials = match self.0.provider.provide_credentials().await {
            Ok(credentials) => credentials,
            Err(error) => match self.known().filter(good) {
                Some(known) => known.credentials,
                None => return Err(error),
            },
        };
        let later = |time: Duration| now.checked_add(time).unwrap_or(now);
        let renew = match credentials.expiry() {
            Some(end) => {
                let ahead = end.checked_sub(AHEAD).unwrap_or(end);
                ahead.max(later(AGAIN)).min(end)
            }
            None => later(ENDLESS),
        };
        let known = Known {
            credentials: credentials.clone(),
            renew,
        };
        *self.lock() = Some(known);
        Ok(credentials)
    }

    fn known(&self) -> Option<Known> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        // Whole at any time.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProvideCredentials for Identities {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Gives credentials that end at the next entry's second, `None` never; fails when there are no
    /// more.
    #[derive(Clone, Debug)]
    struct Source {
        ends: Vec<Option<u64>>,
        asked: Arc<AtomicU64>,
        /// Until this is free, nothing is answered.
        gate: Arc<tokio::sync::Mutex<()>>,
    }

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                let number = self.asked.fetch_add(1, Ordering::Relaxed);
                let _gate = self.gate.lock().await;
                let next = self.ends.get(usize::try_from(number).unwrap());
                let end = *next.ok_or(CredentialsError::not_loaded("no more"))?;
                let end = end.map(second);
                Ok(Credentials::new(
                    number.to_string(),
                    "secret",
                    None,
                    end,
                    "test",
                ))
            })
        }
    }

    fn second(number: u64) -> SystemTime {
        let since = Duration::from_secs(1_800_000_000_u64.saturating_add(number));
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap()
    }

    fn source(ends: &[Option<u64>]) -> (Source, Identities) {
        let source = Source {
            ends: ends.to_vec(),
            asked: Arc::default(),
            gate: Arc::default(),
        };
        let identities = Identities::new(SharedCredentialsProvider::new(source.clone()));
        (source, identities)
    }

    fn key(credentials: Result<Credentials, CredentialsError>) -> String {
        credentials.map_or("none".to_owned(), |it| it.access_key_id().to_owned())
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    /// Whom requests at these seconds are signed for, by the number of the credentials.
    fn keys(ends: &[Option<u64>], seconds: &[u64]) -> Vec<String> {
        let (_, identities) = source(ends);
        let of = |at: &u64| key(runtime().block_on(identities.at(second(*at))));
        seconds.iter().map(of).collect()
    }

    #[test]
    fn credentials_are_asked_for_again_in_their_last_minute() {
        let hour = Some(3600);
        assert_eq!(keys(&[hour, Some(7200)], &[0, 3539, 3541]), ["0", "0", "1"]);
        // Without an end they are good for a quarter of an hour.
        assert_eq!(keys(&[None, None], &[0, 899, 900]), ["0", "0", "1"]);
        // What has only a minute from the beginning is used, and doubted every five seconds.
        let short = [Some(30), Some(30), hour];
        assert_eq!(
            keys(&short, &[0, 4, 5, 9, 10, 40]),
            ["0", "0", "1", "1", "2", "2"]
        );
        // None better are to be had: these are good to their end.
        assert_eq!(keys(&[Some(60)], &[0, 10, 59, 60]), ["0", "0", "0", "none"]);
        assert_eq!(keys(&[], &[0]), ["none"]);
    }

    #[test]
    fn nobody_waits_for_new_ones_while_the_old_are_good() {
        let (source, identities) = source(&[Some(100), Some(4000)]);
        runtime().block_on(async {
            assert_eq!(key(identities.at(second(0)).await), "0");
            let closed = source.gate.lock().await;
            let mut asking = Box::pin(identities.at(second(50)));
            let wait = std::future::poll_fn(|cx| {
                assert!(asking.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            });
            wait.await;
            assert_eq!(key(identities.at(second(50)).await), "0");
            drop(closed);
            assert_eq!(key(asking.await), "1");
            assert_eq!(key(identities.at(second(50)).await), "1");
            assert_eq!(source.asked.load(Ordering::Relaxed), 2);
        });
    }
}
