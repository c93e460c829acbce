//! Passwords: hashed and compared by bcrypt, on threads that may block, a few at a time.
//!
//! bcrypt is slow on purpose (some 50 ms a password at cost 10, doubling with each step), so whoever guesses passwords must not hold up
//! anybody else: beyond [`limits::PASSWORDS_WAITING`] requests are refused.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use steadfast_types::limits;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::backend::Refusal;

/// The longest password: bcrypt looks at no more, and would take any longer one for the same.
pub(crate) const PASSWORD_BYTES: usize = 72;

/// Hashes and compares.
pub(crate) struct Passwords {
    cost: u32,
    waiting: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// A hash that nothing fits, compared with where there is no user, so that this takes as long.
    decoy: Arc<OnceLock<String>>,
}

impl Passwords {
    /// `cost`: of new hashes, 4 to 31.
    pub(crate) fn new(cost: u32) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Passwords {
            cost,
            waiting: Arc::new(Semaphore::new(limits::PASSWORDS_WAITING)),
            places: Arc::new(Semaphore::new(cores.div_ceil(2))),
            decoy: Arc::default(),
        }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Refusal::TooManyRequests)?;
        let place = self.places.clone().acquire_owned().await.map_err(|_| Refusal::Stopped)?;
        let worked = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        worked.await.map_err(|_| Status::internal("steadfast: the password could not be worked on"))
    }

    /// A new hash.
    pub(crate) async fn hash(&self, password: String) -> Result<Bytes, Status> {
        if password.len() > PASSWORD_BYTES {
            let told =
                format!("steadfast: the password has {} bytes; bcrypt counts only {PASSWORD_BYTES}: choose a shorter one", password.len());
            return Err(Status::invalid_argument(told));
        }
        let cost = self.cost;
        let hash = self.run(move || bcrypt::hash(password, cost)).await?;
        hash.map(|hash| hash.into_bytes().into()).map_err(|error| Status::internal(format!("steadfast: bcrypt: {error}")))
    }

    /// Whether the password fits; never, where there is none, and that takes as long.
    pub(crate) async fn fits(&self, hash: Option<Bytes>, password: String) -> Result<bool, Status> {
        let (cost, decoy) = (self.cost, self.decoy.clone());
        let fits = move || match hash.as_deref().map(std::str::from_utf8) {
            Some(Ok(hash)) => bcrypt::verify(password, hash).unwrap_or(false),
            Some(Err(_)) | None => {
                let decoy = decoy.get_or_init(|| bcrypt::hash("nobody's", cost).unwrap_or_default());
                bcrypt::verify(password, decoy).is_ok_and(|_| false)
            }
        };
        self.run(fits).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least that bcrypt takes.
    const CHEAP: u32 = 4;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let passwords = Passwords::new(CHEAP);
        let hash = passwords.hash("secret".into()).await.expect("hashed");
        assert!(hash.starts_with(b"$2"), "{hash:?}");
        assert!(passwords.fits(Some(hash.clone()), "secret".into()).await.expect("compared"));
        for (hash, password) in [(Some(hash.clone()), "Secret"), (Some(hash), ""), (Some(Bytes::new()), ""), (None, "nobody's"), (None, "")]
        {
            assert!(!passwords.fits(hash.clone(), password.into()).await.expect("compared"), "{hash:?} {password:?}");
        }
    }

    #[tokio::test]
    async fn etcds_own_hashes_are_taken() {
        // Of "secret", as Go's library writes them.
        let passwords = Passwords::new(CHEAP);
        let hash = bcrypt::hash_with_result("secret", CHEAP).expect("hashed").format_for_version(bcrypt::Version::TwoA);
        assert!(hash.starts_with("$2a$"));
        assert!(passwords.fits(Some(hash.into_bytes().into()), "secret".into()).await.expect("compared"));
    }

    #[tokio::test]
    async fn what_bcrypt_would_cut_off_is_refused() {
        let passwords = Passwords::new(CHEAP);
        assert!(passwords.hash("x".repeat(PASSWORD_BYTES)).await.is_ok());
        let refused = passwords.hash("x".repeat(PASSWORD_BYTES + 1)).await.expect_err("too long");
        assert!(refused.code() == tonic::Code::InvalidArgument && refused.message().contains("72"), "{refused}");
    }

    #[tokio::test]
    async fn beyond_the_bound_guessing_is_refused() {
        let passwords = Arc::new(Passwords::new(CHEAP));
        let held = passwords.places.clone().acquire_many_owned(u32::try_from(passwords.places.available_permits()).expect("few")).await;
        let guess = || {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.fits(None, String::new()).await.map_err(|status| status.code()) })
        };
        let guesses: Vec<_> = (0..limits::PASSWORDS_WAITING).map(|_| guess()).collect();
        while passwords.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(guess().await.expect("no panic"), Err(tonic::Code::ResourceExhausted));
        drop(held);
        for guess in guesses {
            assert_eq!(guess.await.expect("no panic"), Ok(false));
        }
    }
}
