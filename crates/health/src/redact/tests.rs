//! Secrets in the forms that real configurations, logs and command lines have.

use super::*;
use alloc::format;
use proptest::prelude::*;

/// Marks a secret in each of the ways that the rules name.
fn planted(way: usize, secret: &str) -> String {
    match way {
        0 => format!("password={secret}"),
        1 => format!("DB_PASSWORD: {secret}"),
        2 => format!("{{\"user\":\"a\",\"api_key\":\"{secret}\",\"n\":1}}"),
        3 => format!("authorization: Bearer {secret}"),
        4 => format!("got Bearer {secret} from"),
        5 => format!("https://admin:{secret}@orders.example/health"),
        6 => format!("run --auth-token {secret} --port 80"),
        7 => format!("-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----"),
        8 => format!("-----BEGIN PRIVATE KEY-----\n{secret}"),
        9 => format!("Cookie: id=1; session={secret}"),
        10 => format!("AWS_SECRET_ACCESS_KEY='{secret}'"),
        11 => format!("?q=1&access-token={secret}&z=2"),
        12 => format!("Proxy-Authorization: Basic {secret}"),
        _ => format!("\"secret\" : \"{secret}\""),
    }
}

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "node 2 is failed: silent for 5.000 s",
        "GET https://orders.example/health?deep=1 200",
        "the basics: tokens are long",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "mail to a@b.example",
        "PATH=/usr/bin",
    ] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn the_rest_of_the_line_stays() {
    assert_eq!(redact(&planted(6, "x1")), "run --auth-token [secret] --port 80");
    assert_eq!(redact(&planted(5, "x1")), "https://[secret]@orders.example/health");
    assert_eq!(redact(&planted(2, "x1")), "{\"user\":\"a\",\"api_key\":\"[secret]\",\"n\":1}");
    assert_eq!(redact_variable("GITHUB_TOKEN", "x1"), MARK);
    assert_eq!(redact_variable("HOME", "/root"), "/root");
}

/// Forms of configurations, requests, command lines, logs and code in which a secret without blanks and quotes stands.
const FORMS: &[&str] = &[
    "export DB_PASS=@",
    "spring.datasource.password=@",
    "password := @",
    "  - token: @",
    "clientSecret: @",
    "client-key-data: @",
    "//registry.npmjs.org/:_authToken=@",
    "{\"auths\":{\"r.example\":{\"auth\":\"@\"}}}",
    "{\\\"password\\\":\\\"@\\\"}",
    "{\"env\":[{\"name\":\"DB_PASSWORD\",\"value\":\"@\"}]}",
    "{\"tokens\": [\"a\", \"@\"]}",
    "\"credentials\": {\"user\": \"u\", \"key\": \"@\"}",
    "&quot;password&quot;:&quot;@&quot;",
    "<password>@</password>",
    "<add key=\"Password\" value=\"@\"/>",
    "Config { user: \"u\", token: Some(\"@\"), n: 1 }",
    "Config { password: Secret(Inner { text: \"@\" }) }",
    "{:password=>\"@\", :a=>1}",
    "CREATE USER a WITH PASSWORD '@' LOGIN",
    "Server=db;User Id=a;Password=@;Encrypt=true",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=@;",
    "postgres://app:@@db:5432/x?sslmode=require",
    "redis://:@@h:6379/0",
    "amqps://u:@@h/%2f",
    "app:@@tcp(127.0.0.1:3306)/db",
    "https://h/x?sv=2024&sig=@",
    "https://h/x?a=1&X-Amz-Signature=@&b=2",
    "GET /login?next=%2F%3Ftoken%3D@ 302",
    "x-api-key: @",
    "X-Auth-Token: @",
    "Authorization: Digest username=\"u\", response=\"@\"",
    "curl -H 'Authorization: token @' https://h",
    "curl -u admin:@ https://h",
    "etcdctl --user root:@ get a",
    "etcdctl --user=root:@ get a",
    "run\0--password\0@\0--port\080",
    "mysql --password='@' -h db",
    "PGPASSWORD=@ psql -h db",
    "\u{1b}[3mtoken\u{1b}[0m\u{1b}[2m=\u{1b}[0m@ \u{1b}[3mn\u{1b}[0m=1",
    "2026-01-01T00:00:00Z WARN refused auth.jwt=@ peer=n2",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n@\n-----END PGP PRIVATE KEY BLOCK-----",
    "  -----BEGIN OPENSSH PRIVATE KEY-----\n  @\n  @\n  -----END OPENSSH PRIVATE KEY-----",
    "key: \"-----BEGIN EC PRIVATE KEY-----\\n@\\n-----END EC PRIVATE KEY-----\\n\"",
    "session_id=@; Path=/",
    "wireguard PresharedKey = @",
];

/// Forms in which one with blanks and punctuation stands.
const LONG_FORMS: &[&str] = &[
    "password: @",
    "password = @",
    "  api_key: @",
    "password = \"@\"",
    "password='@' user=a",
    "DB_PASSWORD=\"@\" run --port 80",
    "{\"password\": \"@\", \"n\": 1}",
    "run --auth-token \"@\" --port 80",
    "<password>@</password>",
    "token: Some(\"@\")",
    "Config { token: Some(\"@\"), n: 1 }",
    "secret => \"@\"",
    "IDENTIFIED WITH x AS a PASSWORD \"@\"",
];

#[test]
fn keys_of_known_services_need_no_name() {
    for key in ["ghp_0123456789abcdefghijXYZZY", "xoxb-12345678901-XYZZY", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.XYZZY"] {
        assert_eq!(redact(&format!("got {key} from n2")), "got [secret] from n2");
    }
}

#[test]
fn paths_of_code_and_what_is_about_secrets_stay() {
    for text in [
        "steadfast_server::tokens::verify (server/src/tokens.rs:7)",
        "the token was refused by n2 at 127.0.0.1:2380",
        "peer 127.0.0.1:2380 answered in 3 ms: applied 7",
        "tokens_total 7",
        "node=n1 state=failed why=\"silent for 5 s\"",
    ] {
        assert_eq!(redact(text), text);
    }
}

proptest! {
    #[test]
    fn a_planted_secret_never_survives(before in "[ -~]{0,20}\n?", way in 0..14usize, secret in "XYZZY[A-Za-z0-9+/_.=@:-]{4,30}", after in "(\n[ -~]{0,30})?") {
        let redacted = redact(&format!("{before} {}{after}", planted(way, &secret)));
        prop_assert!(!redacted.contains("XYZZY"), "{redacted}");
        let end = &secret[secret.len() - 5..];
        prop_assert!(!redacted.contains(end) || before.contains(end) || after.contains(end) || planted(way, "").contains(end), "{redacted}");
    }

    #[test]
    fn no_form_of_real_texts_lets_a_secret_through(
        before in "(INFO |[a-z]{1,5}=[a-z0-9]{1,5} )?", form in 0..FORMS.len(), secret in "XYZZY[A-Za-z0-9+/_.=:!$%*~^#&;-]{0,20}YZZYX", after in "(\n[ -~]{0,30})?"
    ) {
        let redacted = redact(&format!("{before}{}{after}", FORMS[form].replace('@', &secret).replace(&format!("{secret}{secret}"), &format!("{secret}@"))));
        prop_assert!(!redacted.contains("XYZZY") && !redacted.contains("YZZYX"), "{}: {redacted}", FORMS[form]);
        prop_assert_eq!(redact(&redacted), redacted);
    }

    #[test]
    fn secrets_with_blanks_are_taken_as_a_whole(form in 0..LONG_FORMS.len(), secret in "XYZZY[A-Za-z0-9 ,;:&=@/({})\\[\\]!?]{0,20}YZZYX") {
        let redacted = redact(&LONG_FORMS[form].replace('@', &secret));
        prop_assert!(!redacted.contains("XYZZY") && !redacted.contains("YZZYX"), "{}: {redacted}", LONG_FORMS[form]);
        prop_assert_eq!(redact(&redacted), redacted);
    }

    #[test]
    fn any_text_is_taken_and_twice_is_as_once(text in "(password|token|value|auth|-u |user|Bearer|=|:|://|@|\"|'|\\\\| |\n|\\[|\\]|\\(|\\)|>|<|&quot;|`|%3d|\u{1b}\\[0m|-|-----BEGIN PRIVATE KEY-----|-----END |x|é){0,30}") {
        let once = redact(&text);
        prop_assert_eq!(redact(&once), once);
    }
}
