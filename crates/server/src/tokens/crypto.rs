//! The cryptography of signed tokens: `jsonwebtoken` asks, `ring` (which TLS needs too) does it.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::Result;
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self as ring_signature, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Signing { algorithm: *algorithm, key: key.clone() })),
    verifier_factory: |algorithm, key| Ok(Box::new(Checking { algorithm: *algorithm, key: key.clone() })),
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes this the process's cryptography for tokens, once.
pub(super) fn install() {
    // A second node in this process finds it installed.
    let _ = PROVIDER.install_default();
}

/// Algorithms with keys of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Hmac,
    Rsa,
    Ec,
    Ed,
}

impl Family {
    /// `None`: an algorithm that is not offered here.
    pub(super) fn of(algorithm: Algorithm) -> Option<Self> {
        Some(match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Family::Hmac,
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 => Family::Rsa,
            Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 => Family::Rsa,
            Algorithm::ES256 | Algorithm::ES384 => Family::Ec,
            Algorithm::EdDSA => Family::Ed,
            _ => return None,
        })
    }
}

fn hmac_of(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    }
}

fn rsa_of(algorithm: Algorithm) -> &'static dyn ring_signature::RsaEncoding {
    match algorithm {
        Algorithm::RS384 => &ring_signature::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &ring_signature::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &ring_signature::RSA_PSS_SHA256,
        Algorithm::PS384 => &ring_signature::RSA_PSS_SHA384,
        Algorithm::PS512 => &ring_signature::RSA_PSS_SHA512,
        _ => &ring_signature::RSA_PKCS1_SHA256,
    }
}

fn ec_key(algorithm: Algorithm, key: &EncodingKey) -> std::result::Result<EcdsaKeyPair, ring::error::KeyRejected> {
    let curve = match algorithm {
        Algorithm::ES384 => &ring_signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        _ => &ring_signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    };
    EcdsaKeyPair::from_pkcs8(curve, key.as_bytes(), &SystemRandom::new())
}

fn verification_of(algorithm: Algorithm) -> Option<&'static dyn ring_signature::VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::RS256 => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &ring_signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &ring_signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &ring_signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &ring_signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &ring_signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &ring_signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &ring_signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &ring_signature::ED25519,
        _ => return None,
    })
}

/// What checks the signatures of a private key; `None` if it is none.
pub(super) fn public_key(algorithm: Algorithm, key: &EncodingKey) -> Option<DecodingKey> {
    Some(match Family::of(algorithm)? {
        Family::Hmac => DecodingKey::from_secret(key.as_bytes()),
        Family::Rsa => DecodingKey::from_rsa_der(RsaKeyPair::from_der(key.as_bytes()).ok()?.public_key().as_ref()),
        Family::Ec => DecodingKey::from_ec_der(ec_key(algorithm, key).ok()?.public_key().as_ref()),
        Family::Ed => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.as_bytes()).ok()?;
            DecodingKey::from_ed_der(pair.public_key().as_ref())
        }
    })
}

struct Signing {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signing {
    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        let (algorithm, key, random) = (self.algorithm, self.key.as_bytes(), SystemRandom::new());
        match Family::of(algorithm)? {
            Family::Hmac => Some(hmac::sign(&hmac::Key::new(hmac_of(algorithm), key), message).as_ref().to_vec()),
            Family::Rsa => {
                let pair = RsaKeyPair::from_der(key).ok()?;
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(rsa_of(algorithm), &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Family::Ec => Some(ec_key(algorithm, &self.key).ok()?.sign(&random, message).ok()?.as_ref().to_vec()),
            Family::Ed => Some(Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).ok()?.sign(message).as_ref().to_vec()),
        }
    }
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        self.signature(message).ok_or_else(Error::new)
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

struct Checking {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for Checking {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let key: Result<&[u8]> = self.key.try_get_as_bytes();
        let key = key.map_err(Error::from_source)?;
        let checked = match verification_of(self.algorithm) {
            Some(verification) => UnparsedPublicKey::new(verification, key).verify(message, signature),
            None => hmac::verify(&hmac::Key::new(hmac_of(self.algorithm), key), message, signature),
        };
        checked.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Checking {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
