//! The option `auth-token`, in etcd's syntax: `simple`, or `jwt,sign-method=…,priv-key=…,pub-key=…,ttl=…`.

use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::crypto::Family;
use crate::options::OptionsError;

pub(super) const OPTION: &str = "auth-token";

/// How long a signed token is good if the option does not say: etcd's default.
const JWT_TTL: Duration = Duration::from_secs(300);

/// Which tokens are given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Random ones, replicated.
    Simple,
    /// Signed ones.
    Jwt(JwtOptions),
}

/// How tokens are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JwtOptions {
    pub(super) algorithm: Algorithm,
    pub(super) family: Family,
    pub(super) private_key: Option<PathBuf>,
    pub(super) public_key: Option<PathBuf>,
    pub(super) ttl: Duration,
}

pub(super) fn wrong(problem: impl Into<String>, remedy: impl Into<String>) -> OptionsError {
    OptionsError { option: OPTION, problem: problem.into(), remedy: remedy.into() }
}

impl TokenKind {
    /// Reads the option; no files.
    ///
    /// # Errors
    /// It is neither kind, or says something that is not known, or the same twice.
    pub(crate) fn parse(text: &str) -> Result<Self, OptionsError> {
        const FORM: &str = "write simple, or jwt,sign-method=RS256,priv-key=FILE,pub-key=FILE,ttl=10m";
        match text.split_once(',') {
            None if text == "simple" => Ok(TokenKind::Simple),
            Some(("jwt", parameters)) => JwtOptions::parse(parameters).map(TokenKind::Jwt),
            None if text == "jwt" => Err(wrong("`jwt` has no sign-method", FORM)),
            None | Some(_) => Err(wrong(format!("`{text}` is no kind of token"), FORM)),
        }
    }
}

impl JwtOptions {
    fn parse(parameters: &str) -> Result<Self, OptionsError> {
        const KNOWN: &str = "sign-method, priv-key, pub-key and ttl are known";
        let (mut method, mut private_key, mut public_key, mut ttl) = (None, None, None, None);
        for parameter in parameters.split(',') {
            let (name, value) = parameter.split_once('=').ok_or_else(|| wrong(format!("`{parameter}` has no `=`"), "write NAME=VALUE"))?;
            let place = match name {
                "sign-method" => &mut method,
                "priv-key" => &mut private_key,
                "pub-key" => &mut public_key,
                "ttl" => &mut ttl,
                _ => return Err(wrong(format!("`{name}` is not known"), KNOWN)),
            };
            if place.replace(value).is_some() {
                return Err(wrong(format!("`{name}` is given twice"), "give it once"));
            }
        }
        let ttl = ttl.map_or(Ok(JWT_TTL), humantime::parse_duration).ok().filter(|ttl| *ttl >= Duration::from_secs(1));
        let (algorithm, family) = algorithm(method.unwrap_or_default())?;
        Ok(JwtOptions {
            algorithm,
            family,
            private_key: private_key.map(PathBuf::from),
            public_key: public_key.map(PathBuf::from),
            ttl: ttl.ok_or_else(|| wrong("its ttl is not a time of at least a second", "write it like ttl=10m"))?,
        })
    }
}

fn algorithm(method: &str) -> Result<(Algorithm, Family), OptionsError> {
    let remedy = "use one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, HS256, HS384, HS512";
    let known = method.parse().ok().and_then(|algorithm| Some((algorithm, Family::of(algorithm)?)));
    known.ok_or_else(|| wrong(format!("`{method}` is no sign-method that is offered"), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_as_etcd_writes_them() {
        assert_eq!(TokenKind::parse("simple"), Ok(TokenKind::Simple));
        let full = TokenKind::parse("jwt,pub-key=/a.pub,priv-key=/a.key,sign-method=RS256,ttl=10m");
        let expected = JwtOptions {
            algorithm: Algorithm::RS256,
            family: Family::Rsa,
            private_key: Some("/a.key".into()),
            public_key: Some("/a.pub".into()),
            ttl: Duration::from_secs(600),
        };
        assert_eq!(full, Ok(TokenKind::Jwt(expected)));
        let Ok(TokenKind::Jwt(short)) = TokenKind::parse("jwt,sign-method=HS256,priv-key=k") else { panic!("it is complete") };
        assert_eq!(short.ttl, JWT_TTL);
    }

    #[test]
    fn mistakes_are_named_with_their_remedy() {
        for (text, problem) in [
            ("", "no kind of token"),
            ("magic", "`magic` is no kind of token"),
            ("simple,ttl=1m", "no kind of token"),
            ("jwt", "no sign-method"),
            ("jwt,priv-key=a", "no sign-method"),
            ("jwt,sign-method=ES512,priv-key=a", "`ES512` is no sign-method"),
            ("jwt,sign-method=RS256,key=a", "`key` is not known"),
            ("jwt,sign-method=RS256,sign-method=RS256", "given twice"),
            ("jwt,sign-method", "has no `=`"),
            ("jwt,sign-method=RS256,ttl=soon", "ttl"),
            ("jwt,sign-method=RS256,ttl=0s", "ttl"),
        ] {
            let error = TokenKind::parse(text).expect_err(text);
            assert!(error.option == OPTION && error.problem.contains(problem) && !error.remedy.is_empty(), "{text}: {error}");
        }
    }
}
