//! Every sign-method with real keys, and what must not pass.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};

use super::*;
use crate::tokens::TokenKind;

/// Of nothing but these tests.
const RSA_PRIVATE: &str = include_str!("rsa.test.pem");
const RSA_PUBLIC: &str = include_str!("rsa.test.pub.pem");

struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        let keys = Keys(tempfile::tempdir().expect("a scratch directory"));
        let random = SystemRandom::new();
        let pem = |der: &[u8]| format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
        let ec = |curve| pem(EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key").as_ref());
        keys.write("ES256", &ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
        keys.write("ES384", &ec(&ECDSA_P384_SHA384_FIXED_SIGNING));
        keys.write("EdDSA", &pem(Ed25519KeyPair::generate_pkcs8(&random).expect("a key").as_ref()));
        keys.write("RS", RSA_PRIVATE);
        keys.write("RS.pub", RSA_PUBLIC);
        keys.write("HS", "a secret that is shared by all");
        keys.write("HS.other", "another secret");
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn jwt(&self, method: &str, rest: &str) -> Result<Jwt, OptionsError> {
        let dir = self.0.path().display();
        let text = format!("jwt,sign-method={method},{}", rest.replace('@', &format!("{dir}/")));
        let Ok(TokenKind::Jwt(options)) = TokenKind::parse(&text) else { panic!("{text} is an option") };
        Jwt::new(&options)
    }
}

fn ann() -> Caller {
    Caller { user: "ann".into(), auth_revision: 7 }
}

#[test]
fn a_token_of_each_method_is_good_on_every_node_with_the_key_and_nowhere_else() {
    let keys = Keys::new();
    let methods =
        ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512"].map(|method| {
            let file = if method.starts_with("RS") || method.starts_with("PS") {
                "RS"
            } else if method.starts_with("HS") {
                "HS"
            } else {
                method
            };
            let make = || keys.jwt(method, &format!("priv-key=@{file}")).unwrap_or_else(|error| panic!("{method}: {error}"));
            (method, make(), make())
        });
    for (method, one, other) in &methods {
        let token = one.sign(&ann()).expect("signed");
        assert_eq!(other.bearer(&token), Bearer::Caller(ann()), "{method}");
        for (another, checker, _) in methods.iter().filter(|(another, ..)| another != method) {
            assert_eq!(checker.bearer(&token), Bearer::Nobody, "{method} by {another}");
        }
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let (header, claims) = signed.split_once('.').expect("three parts");
        let root = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("text").replace("ann", "root");
        let forged = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(root));
        assert_eq!(one.bearer(&forged), Bearer::Nobody, "{method}");
    }
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(r#"{"username":"root","revision":7,"exp":99999999999}"#)
    );
    for (method, jwt, _) in &methods {
        for token in [unsigned.as_str(), "", "a.b.c"] {
            assert_eq!(jwt.bearer(token), Bearer::Nobody, "{method}");
        }
    }
}

#[test]
fn a_node_with_the_public_key_checks_and_does_not_sign() {
    let keys = Keys::new();
    let both = keys.jwt("RS256", "priv-key=@RS,pub-key=@RS.pub").expect("a pair");
    let public = keys.jwt("RS256", "pub-key=@RS.pub").expect("a public key");
    assert_eq!(public.bearer(&both.sign(&ann()).expect("signed")), Bearer::Caller(ann()));
    assert!(public.sign(&ann()).is_err());
}

#[test]
fn an_old_token_is_none() {
    let keys = Keys::new();
    let jwt = keys.jwt("HS256", "priv-key=@HS").expect("a secret");
    let key = EncodingKey::from_secret(b"a secret that is shared by all");
    let token = |exp: Option<u64>| {
        let claims = serde_json::json!({ "username": "ann", "revision": 7, "exp": exp });
        encode(&Header::new(Algorithm::HS256), &claims, &key).expect("signed")
    };
    let now = get_current_timestamp();
    assert_eq!(jwt.bearer(&token(Some(now + 60))), Bearer::Caller(ann()));
    assert_eq!(jwt.bearer(&token(Some(now - 1))), Bearer::Nobody);
    assert_eq!(jwt.bearer(&token(None)), Bearer::Nobody);
}

#[test]
fn keys_that_do_not_do_are_refused_at_the_start() {
    let keys = Keys::new();
    for (method, rest, problem) in [
        ("RS256", "ttl=1m", "names no key"),
        ("RS256", "priv-key=@missing", "missing"),
        ("RS256", "priv-key=@HS", "no key for RS256"),
        ("ES256", "priv-key=@RS", "no key for ES256"),
        ("ES256", "priv-key=@ES384", "no key for ES256"),
        ("ES256", "priv-key=@ES256,pub-key=@RS.pub", "no key for ES256"),
    ] {
        let error = keys.jwt(method, rest).map(drop).expect_err(rest);
        assert!(error.option == "auth-token" && error.problem.contains(problem), "{method} {rest}: {error}");
    }
}
