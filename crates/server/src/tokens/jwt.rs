//! JSON web tokens (RFC 7519) as etcd makes them: the claims `username`, `revision` (the auth revision at which the password was compared) and
//! `exp`. Any change of users or roles outdates all that were given out before, and clients authenticate again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp};
use serde::{Deserialize, Serialize};
use steadfast_etcd_api::backend::Bearer;
use steadfast_state::auth::Caller;

use super::crypto::{self, Family};
use super::option::{JwtOptions, wrong};
use crate::options::OptionsError;

#[derive(Serialize, Deserialize)]
struct Claims {
    username: String,
    revision: u64,
    /// Seconds since 1970. Not read here: the library does.
    exp: u64,
}

/// Signs and checks.
pub(super) struct Jwt {
    algorithm: Algorithm,
    /// `None`: tokens are checked here, and given out elsewhere.
    signing: Option<EncodingKey>,
    checking: DecodingKey,
    validation: Validation,
    ttl: Duration,
}

fn read(path: &Path) -> Result<Vec<u8>, OptionsError> {
    fs::read(path).map_err(|error| wrong(format!("{}: {error}", path.display()), "name a file that this node may read"))
}

fn unusable(path: &Path, algorithm: Algorithm) -> OptionsError {
    let remedy =
        "give RSA keys as PEM in PKCS#1 or PKCS#8, others in PKCS#8 (openssl pkcs8 -topk8 -nocrypt), public ones as openssl writes them";
    wrong(format!("{} holds no key for {algorithm:?}", path.display()), remedy)
}

impl Jwt {
    pub(super) fn new(options: &JwtOptions) -> Result<Self, OptionsError> {
        crypto::install();
        let (algorithm, family) = (options.algorithm, options.family);
        let signing = options.private_key.as_deref().map(|path| signing_key(path, algorithm, family)).transpose()?;
        let checking = match (&options.public_key, &signing) {
            // A secret that is shared is both, and in etcd the private one.
            (Some(path), _) if family != Family::Hmac => checking_key(path, algorithm, family)?,
            (_, Some(key)) => crypto::public_key(algorithm, key).ok_or_else(|| {
                let path = options.private_key.as_deref().unwrap_or(Path::new(""));
                unusable(path, algorithm)
            })?,
            (_, None) => return Err(wrong("it names no key", "add priv-key=FILE, or pub-key=FILE to check tokens only")),
        };
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp"]);
        validation.leeway = 0;
        validation.validate_aud = false;
        let jwt = Jwt { algorithm, signing, checking, validation, ttl: options.ttl };
        jwt.check_pair()?;
        Ok(jwt)
    }

    /// What is signed here must be good here.
    fn check_pair(&self) -> Result<(), OptionsError> {
        let probe = Caller { user: String::new(), auth_revision: 0 };
        let token = match &self.signing {
            None => return Ok(()),
            Some(_) => self.sign(&probe).map_err(|why| wrong(format!("tokens can't be signed: {why}"), "give a key of the sign-method"))?,
        };
        match self.bearer(&token) {
            Bearer::Caller(_) => Ok(()),
            _ => Err(wrong("the public and the private key are not a pair", "give both of the same pair, or the private one alone")),
        }
    }

    pub(super) fn sign(&self, caller: &Caller) -> Result<String, String> {
        let key = self.signing.as_ref().ok_or("token signing attempted with verify-only key")?;
        let exp = get_current_timestamp() + self.ttl.as_secs();
        let claims = Claims { username: caller.user.clone(), revision: caller.auth_revision, exp };
        encode(&Header::new(self.algorithm), &claims, key).map_err(|error| error.to_string())
    }

    pub(super) fn bearer(&self, token: &str) -> Bearer {
        match decode::<Claims>(token, &self.checking, &self.validation) {
            Ok(token) => Bearer::Caller(Caller { user: token.claims.username, auth_revision: token.claims.revision }),
            Err(_) => Bearer::Nobody,
        }
    }
}

fn signing_key(path: &Path, algorithm: Algorithm, family: Family) -> Result<EncodingKey, OptionsError> {
    let pem = read(path)?;
    let key = match family {
        Family::Hmac => Ok(EncodingKey::from_secret(&pem)),
        Family::Rsa => EncodingKey::from_rsa_pem(&pem),
        Family::Ec => EncodingKey::from_ec_pem(&pem),
        Family::Ed => EncodingKey::from_ed_pem(&pem),
    };
    key.map_err(|_| unusable(path, algorithm))
}

fn checking_key(path: &Path, algorithm: Algorithm, family: Family) -> Result<DecodingKey, OptionsError> {
    let pem = read(path)?;
    let key = match family {
        Family::Hmac => Ok(DecodingKey::from_secret(&pem)),
        Family::Rsa => DecodingKey::from_rsa_pem(&pem),
        Family::Ec => DecodingKey::from_ec_pem(&pem),
        Family::Ed => DecodingKey::from_ed_pem(&pem),
    };
    key.map_err(|_| unusable(path, algorithm))
}

#[cfg(test)]
mod tests;
