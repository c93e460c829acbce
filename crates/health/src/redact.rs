//! Takes secrets out of texts before anybody reads them: logs, command lines and environments end in bundles that are sent around.
//!
//! What is taken out, and replaced by `[secret]`:
//! 1. a private key in PEM, from its begin line to its end line, or to the end of the text if that is missing;
//! 2. the value after a word that looks secret (`password`, `token`, … as a part of a name, in any case) and `=`, `:` or, as an argument
//!    (`--password x`), a blank; in quotes or not, in JSON, in an environment;
//! 3. what follows `Authorization`, `Proxy-Authorization`, `Cookie` and `Set-Cookie` up to the line's end, and what follows `Bearer` or `Basic`;
//! 4. user and password in a URL (`scheme://user:password@host`).
//!
//! It rather takes too much than too little. It can't know a secret that nothing marks as one, and except for keys a secret ends with its line.
//! Taking twice is as taking once.

use alloc::string::String;

/// What stands where a secret was.
pub const MARK: &str = "[secret]";

/// Parts of names whose values are secret, in lower case.
const SECRET_WORDS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "access-key",
    "private_key",
    "private-key",
    "credential",
];

/// Headers of which everything to the line's end is secret, in lower case.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Schemes of authorization, in lower case: the next word is secret.
const SCHEMES: [&str; 2] = ["bearer", "basic"];

const BEGIN_KEY: &str = "-----BEGIN ";
const END_KEY: &str = "-----END ";

/// `text` without its secrets.
#[must_use]
pub fn redact(text: &str) -> String {
    let text = without_keys(text);
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        redact_line(line, &mut out);
    }
    out
}

/// An environment variable's value, if it may be shown under this name.
#[must_use]
pub fn redact_variable(name: &str, value: &str) -> String {
    if is_secret_name(name) { MARK.into() } else { redact(value) }
}

/// Whether a name looks as if its value were secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) || SECRET_HEADERS.contains(&name.as_str())
}

/// Rule 1.
fn without_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN_KEY) {
        let (before, block) = rest.split_at(at);
        let label = block[BEGIN_KEY.len()..].split("-----").next().unwrap_or_default();
        if !label.contains("PRIVATE KEY") {
            let (kept, after) = rest.split_at(at + BEGIN_KEY.len());
            out.push_str(kept);
            rest = after;
            continue;
        }
        out.push_str(before);
        out.push_str(MARK);
        let end = block.find(END_KEY).and_then(|end| {
            let label = end + END_KEY.len();
            block[label..].find("-----").map(|dashes| label + dashes + "-----".len())
        });
        rest = end.map_or("", |end| &block[end..]);
    }
    out.push_str(rest);
    out
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)
}

/// Rules 2 to 4: goes through the words of a line.
fn redact_line(line: &str, out: &mut String) {
    let mut rest = line;
    while !rest.is_empty() {
        let word_end = rest.bytes().position(|byte| !is_name_byte(byte)).unwrap_or(rest.len());
        if word_end == 0 {
            if let Some(after) = userinfo(rest) {
                out.push_str("://");
                out.push_str(MARK);
                rest = after;
                continue;
            }
            let length = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let (word, after) = rest.split_at(word_end);
        out.push_str(word);
        rest = redact_after(word, after, out);
    }
}

/// What is left after the value that `word` makes secret, if it does.
fn redact_after<'a>(word: &str, after: &'a str, out: &mut String) -> &'a str {
    let lower = word.to_ascii_lowercase();
    let separated = after.trim_start_matches(['"', '\'', ' ', '\t', '\\']).starts_with([':', '=']);
    if SECRET_HEADERS.contains(&lower.as_str()) && separated {
        let end = after.trim_end_matches(['\n', '\r']).len();
        out.push(' ');
        out.push_str(MARK);
        return &after[end..];
    }
    let is_argument = word.starts_with('-') && after.starts_with([' ', '\t']);
    let takes_value =
        is_secret_name(&lower) && (separated || is_argument) || SCHEMES.contains(&lower.as_str()) && after.starts_with([' ', '\t']);
    if !takes_value {
        return after;
    }
    let value = after.trim_start_matches(['"', '\'', ' ', '\t', '\\', ':', '=']);
    let lead = &after[..after.len() - value.len()];
    out.push_str(lead);
    let end = value_end(lead, value);
    if end > 0 {
        out.push_str(MARK);
    }
    &value[end..]
}

/// Where a value ends: at its closing quote if it has one, else at the next blank or separator of lists.
fn value_end(lead: &str, value: &str) -> usize {
    let quote = lead.chars().next_back().filter(|last| ['"', '\''].contains(last));
    match quote {
        Some(quote) => closing(value, quote),
        // The mark itself has brackets, and must be taken as a whole.
        None => value.find(|c: char| c.is_whitespace() || c == '&' || c == ';').unwrap_or(value.len()),
    }
}

/// Where `quote` closes; a backslash takes the next character with it. A quote that never closes goes to the line's end.
fn closing(value: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in value.char_indices() {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at,
            _ => {}
        }
    }
    value.len()
}

/// What is left from the `@` on, if the text begins with `://` and has user and password before the next blank, quote or slash.
fn userinfo(rest: &str) -> Option<&str> {
    let authority = rest.strip_prefix("://")?;
    let end = authority.find(|c: char| c.is_whitespace() || ['"', '\'', '<', '>'].contains(&c)).unwrap_or(authority.len());
    // The last one: a password that was not escaped may have an @ or a slash in it.
    let at = authority[..end].rfind('@')?;
    (authority[..at] != *MARK).then(|| &authority[at..])
}

#[cfg(test)]
mod tests {
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

    proptest! {
        #[test]
        fn a_planted_secret_never_survives(before in "[ -~]{0,20}\n?", way in 0..14usize, secret in "XYZZY[A-Za-z0-9+/_.=@:-]{4,30}", after in "(\n[ -~]{0,30})?") {
            let redacted = redact(&format!("{before} {}{after}", planted(way, &secret)));
            prop_assert!(!redacted.contains("XYZZY"), "{redacted}");
            let end = &secret[secret.len() - 5..];
            prop_assert!(!redacted.contains(end) || before.contains(end) || after.contains(end) || planted(way, "").contains(end), "{redacted}");
        }

        #[test]
        fn any_text_is_taken_and_twice_is_as_once(text in "(password|token|Bearer|=|:|://|@|\"|'|\\\\| |\n|-----BEGIN PRIVATE KEY-----|-----END |x|é){0,30}") {
            let once = redact(&text);
            prop_assert_eq!(redact(&once), once);
        }
    }
}
