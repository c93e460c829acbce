//! Takes secrets out of texts before anybody reads them: logs, command lines and environments end in bundles that are sent around.
//!
//! What is taken out, and replaced by `[secret]`:
//! 1. a private key in PEM, from its begin line to its end line, or to the end of the text if that is missing;
//! 2. the value after a word that looks secret (`password`, `token`, … as a part of a name, in any case) and `=`, `:`, `=>`, or, as an argument
//!    (`--password x`), a blank, or, before a quote (`PASSWORD 'x'`), too; in quotes or not, in lists, in JSON, XML, an environment, a query. Where a line begins
//!    with such a name and a blank stands at its separator, as in YAML, the value is all of the line;
//! 3. what follows `Authorization`, `Proxy-Authorization`, `Cookie` and `Set-Cookie` up to the line's end, and what follows `Bearer` or `Basic`;
//! 4. user and password in a URL (`scheme://user:password@host`), the password in `user:password@host` and after `-u user:`, `--user user:`;
//! 5. words that begin as the keys of well-known services do, and JSON web tokens.
//!
//! It rather takes too much than too little. It can't know a secret that nothing marks as one, and except for keys a secret ends with its line.
//! Taking twice is as taking once.

use alloc::string::String;

/// What stands where a secret was.
pub const MARK: &str = "[secret]";

/// Parts of names whose values are secret, in lower case, without what separates words.
const SECRET_WORDS: [&str; 20] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "accountkey",
    "authkey",
    "keydata",
    "credential",
    "signature",
    "sessionid",
    "sessionkey",
    "presharedkey",
];

/// Names whose values are secret, and words of names that make them so, in lower case.
const SECRET_NAMES: [&str; 6] = ["pass", "auth", "sig", "psk", "otp", "jwt"];

/// Headers of which everything to the line's end is secret, in lower case.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Schemes of authorization, in lower case: the next word is secret.
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// Flags that take a user with a password.
const USER_FLAGS: [&str; 3] = ["-u", "--user", "--proxy-user"];

/// How keys of services begin that are secret by themselves.
const KEY_STARTS: [&str; 12] =
    ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "xapp-", "sk_live_", "rk_live_", "npm_", "eyJ"];

/// Such a key is at least so long, bytes.
const KEY_BYTES: usize = 20;

const BEGIN_KEY: &str = "-----BEGIN ";
const END_KEY: &str = "-----END ";

/// `text` without its secrets.
#[must_use]
pub fn redact(text: &str) -> String {
    let text = without_keys(text);
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        Line::default().redact(line, &mut out);
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
    let is_separator = |c: char| "_-.".contains(c);
    let joined: String = name.chars().filter(|c| !is_separator(*c)).map(|c| c.to_ascii_lowercase()).collect();
    let is_name = |word: &str| SECRET_NAMES.iter().any(|secret| word.eq_ignore_ascii_case(secret));
    SECRET_WORDS.iter().any(|word| joined.contains(word))
        || name.split(is_separator).any(is_name)
        || SECRET_HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header))
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

/// What is known while the words of a line are gone through.
#[derive(Default)]
struct Line {
    /// Something other than blanks, quotes and dashes of lists came before.
    has_begun: bool,
    /// A secret name stood there without a value: that may be the one of `value`, as in `{"name":"TOKEN","value":"x"}`.
    is_named: bool,
}

impl Line {
    /// Rules 2 to 5: goes through the words of a line.
    fn redact(mut self, line: &str, out: &mut String) {
        let mut rest = line;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(MARK) {
                out.push_str(MARK);
                (rest, self.has_begun) = (after, true);
                continue;
            }
            let word_end = rest.bytes().position(|byte| !is_name_byte(byte)).unwrap_or(rest.len());
            if word_end > 0 {
                let (word, after) = rest.split_at(word_end);
                rest = self.after(word, after, out);
                self.has_begun |= word.bytes().any(|byte| byte != b'-');
                continue;
            }
            if let Some(after) = userinfo(rest) {
                out.push_str("://");
                out.push_str(MARK);
                rest = after;
                continue;
            }
            let first = rest.chars().next().unwrap_or_default();
            self.has_begun |= !first.is_whitespace() && !['"', '\'', '{', ','].contains(&first);
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }

    /// Gives out the word; what is left after the value that it makes secret, if it does.
    fn after<'a>(&mut self, word: &str, after: &'a str, out: &mut String) -> &'a str {
        if is_key(word) {
            out.push_str(MARK);
            return after;
        }
        out.push_str(word);
        let lower = word.to_ascii_lowercase();
        let lead = Lead::of(after);
        if SECRET_HEADERS.contains(&lower.as_str()) && lead.is_separated {
            out.push(' ');
            out.push_str(MARK);
            return &after[line_end(after)..];
        }
        // With a number behind it, that is a line of the source.
        let is_secret = is_secret_name(word) && !word.ends_with(".rs");
        let is_value = lower == "value" && core::mem::take(&mut self.is_named);
        let is_scheme = SCHEMES.contains(&lower.as_str()) && after.starts_with(BLANKS);
        let is_argument = word.starts_with('-') && after.starts_with(BLANKS) || lead.quote.is_some() && after.starts_with(BLANKS);
        if is_secret && (lead.is_separated || is_argument) || is_value && lead.is_separated || is_scheme {
            let whole_line = !self.has_begun && lead.has_blank && lead.is_separated;
            return self.value(&lead, after, whole_line, out);
        }
        self.is_named |= is_secret;
        password_of_user(&lower, after, out)
    }

    fn value<'a>(&self, lead: &Lead<'a>, after: &'a str, whole_line: bool, out: &mut String) -> &'a str {
        out.push_str(&after[..after.len() - lead.value.len()]);
        let end = match lead.quote {
            Some(quote) => closing(lead.value, quote),
            None if whole_line => line_end(lead.value),
            None if lead.is_element => lead.value.find('<').unwrap_or(line_end(lead.value)),
            None => value_end(lead.value),
        };
        if end > 0 {
            out.push_str(MARK);
        }
        &lead.value[end..]
    }
}

/// What may stand between a flag and its argument; the system's lists of arguments have zeros.
const BLANKS: [char; 3] = [' ', '\t', '\0'];

/// What stands between a name and its value.
struct Lead<'a> {
    is_separated: bool,
    /// There is a blank at the separator.
    has_blank: bool,
    /// It is an element of XML.
    is_element: bool,
    /// What opens the value, and will close it.
    quote: Option<&'a str>,
    value: &'a str,
}

impl<'a> Lead<'a> {
    /// Of what follows a name: its closing quote, a separator, the opening quote of its value; with blanks and colours anywhere.
    fn of(after: &'a str) -> Self {
        let (mut rest, mut has_blank) = (quote(after).map_or(after, |(_, rest)| rest), false);
        let (mut is_separated, is_element) = (false, after.starts_with('>'));
        loop {
            if let Some(next) = rest.strip_prefix(BLANKS).or_else(|| colour(rest)) {
                has_blank |= rest.starts_with(BLANKS);
                rest = next;
            } else if let Some(next) = separator(rest).filter(|_| is_separated || !rest.starts_with("::")) {
                is_separated = true;
                rest = next;
            } else {
                break;
            }
        }
        match quote(rest) {
            Some((quote, value)) => Lead { is_separated, has_blank, is_element, quote: Some(quote), value },
            None => Lead { is_separated, has_blank, is_element, quote: None, value: rest },
        }
    }
}

/// A separator, and what follows it.
fn separator(text: &str) -> Option<&str> {
    let escaped = || ["%3d", "%3D", "%3a", "%3A"].iter().find_map(|escaped| text.strip_prefix(escaped));
    text.strip_prefix([':', '=', '>']).or_else(escaped)
}

const QUOTES: [&str; 4] = ["\"", "'", "`", "&quot;"];

/// A quote, escaped once or often, and what follows it.
fn quote(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches('\\');
    QUOTES.iter().find_map(|quote| Some((*quote, text.strip_prefix(quote)?)))
}

/// What follows a sequence that only changes a terminal's colours.
fn colour(text: &str) -> Option<&str> {
    let sequence = text.strip_prefix("\x1b[")?;
    sequence.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').strip_prefix('m')
}

/// Rule 5.
fn is_key(word: &str) -> bool {
    let is_web_token = || !word.starts_with("eyJ") || word.matches('.').count() == 2;
    word.len() >= KEY_BYTES && KEY_STARTS.iter().any(|start| word.starts_with(start)) && is_web_token()
}

/// Rule 4 without a scheme: `user:password@host`, and a flag with `user:password`.
fn password_of_user<'a>(word: &str, after: &'a str, out: &mut String) -> &'a str {
    if let Some(password) = after.strip_prefix(':').filter(|password| !password.starts_with(['/', ':']))
        && let Some(at) = password[..token_end(password)].rfind('@').filter(|at| *at > 0)
    {
        out.push(':');
        out.push_str(MARK);
        return &password[at..];
    }
    if USER_FLAGS.contains(&word) {
        let user = Lead::of(after).value;
        let end = token_end(user);
        if let Some(colon) = user[..end].find(':').filter(|colon| colon + 1 < end) {
            out.push_str(&after[..after.len() - user.len() + colon + 1]);
            out.push_str(MARK);
            return &user[end..];
        }
    }
    after
}

/// Where something that holds no blanks and no quotes ends.
fn token_end(text: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || ['"', '\'', '`', '<', '>', '\0'].contains(&c);
    let end = text.find(ends).unwrap_or(text.len());
    text[..end].find("&quot;").unwrap_or(end)
}

fn line_end(text: &str) -> usize {
    text.trim_end_matches(['\n', '\r']).len()
}

/// Where a value without quotes of its own ends: at the next blank that is in no brackets and no quotes. What separates parts of queries and lists may be a
/// part of it.
fn value_end(value: &str) -> usize {
    let (mut depth, mut open, mut before) = (0_u32, None, '(');
    for (at, c) in value.char_indices() {
        match (c, open) {
            ('\n', _) => return at,
            (c, Some(quote)) if c == quote && before != '\\' => open = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) if "([{,=: ".contains(before) => open = Some(c),
            ('(' | '[' | '{', None) => depth += 1,
            (')' | ']' | '}', None) => depth = depth.saturating_sub(1),
            (c, None) if depth == 0 && (c.is_whitespace() || c == '\0') => return at,
            (_, None) => {}
        }
        before = c;
    }
    value.len()
}

/// Where `quote` closes; a backslash takes the next character with it. A quote that never closes goes to the line's end.
fn closing(value: &str, quote: &str) -> usize {
    let mut escaped = false;
    for (at, c) in value.char_indices() {
        match c {
            '\n' => break,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if value[at..].starts_with(quote) => return at,
            _ => {}
        }
    }
    value.find('\n').unwrap_or(line_end(value))
}

/// What is left from the `@` on, if the text begins with `://` and has user and password before the next blank, quote or slash.
fn userinfo(rest: &str) -> Option<&str> {
    let authority = rest.strip_prefix("://")?;
    let end = token_end(authority);
    // The last one: a password that was not escaped may have an @ or a slash in it.
    let at = authority[..end].rfind('@')?;
    (authority[..at] != *MARK).then(|| &authority[at..])
}

#[cfg(test)]
mod tests;
