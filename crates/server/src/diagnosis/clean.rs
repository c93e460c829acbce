//! Takes secrets out of what is told of a node, by `steadfast_health::redact` and by what is known here of our own flags.

use serde_json::Value;
use steadfast_health::redact::{MARK, is_secret_name, redact};

/// Flags whose URLs may have secrets in any part: of chat services whoever knows the path may write.
const SECRET_URLS: [&str; 2] = ["--alert-webhook", "--alertmanager"];

/// Flags whose values are commands: their arguments may be anything.
const COMMANDS: [&str; 1] = ["--alert-command"];

/// A value of JSON without its secrets. Each text is looked at by itself: as one text, what follows a secret could go with it.
pub(super) fn value(value: Value) -> Value {
    match value {
        Value::String(text) => redact(&text).into(),
        Value::Array(items) => items.into_iter().map(self::value).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, field)| match field {
                Value::String(_) if is_secret_name(&name) => (name, MARK.into()),
                other => (name, self::value(other)),
            })
            .collect(),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
    }
}

/// A command line without its secrets. Cleaning twice is as once.
pub(super) fn command(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut flag: Option<String> = None;
    let clean = |word: String| {
        let before = flag.take();
        match (before, word.split_once('=')) {
            // A flag, whatever came before: that one takes nothing.
            (_, Some((name, text))) if name.starts_with("--") => format!("{name}={}", argument(name, text)),
            (_, None) if word.starts_with("--") => {
                flag = Some(word.clone());
                redact(&word)
            }
            (Some(flag), _) => argument(&flag, &word),
            (None, _) => redact(&word),
        }
    };
    words.into_iter().map(clean).collect()
}

/// What a flag is given.
fn argument(flag: &str, text: &str) -> String {
    if SECRET_URLS.contains(&flag) {
        return text.split(',').map(origin).collect::<Vec<_>>().join(",");
    }
    if COMMANDS.contains(&flag) {
        return redact(text.split(' ').next().unwrap_or_default());
    }
    if is_secret_name(flag) { MARK.to_owned() } else { redact(text) }
}

/// Scheme, host and port of a URL: what may be shown of one that may have secrets in all other parts.
pub(crate) fn origin(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // With an @ behind it, it may be the half of a password that was not escaped.
    if rest[end..].contains('@') {
        return format!("{scheme}://…");
    }
    let authority = &rest[..end];
    format!("{scheme}://{}", authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_flag_gives_its_secret_away() {
        let line = [
            "steadfast",
            "serve",
            "--faults",
            "--alert-webhook",
            "https://u:XYZZY@chat.example/services/XYZZY?key=XYZZY",
            "--alertmanager=http://u:XYZZY@alerts:9093/XYZZY",
            "--alert-command",
            "/bin/page --to XYZZY",
            "--auth-token",
            "XYZZY",
            "--cluster-token=XYZZY",
            "--key-file",
            "/etc/n1.key",
            "-x",
            "password=XYZZY",
        ];
        let clean = command(line.map(String::from));
        assert_eq!(command(clean.clone()), clean);
        let clean = clean.join(" ");
        assert!(!clean.contains("XYZZY"), "{clean}");
        let kept = ["--faults", "https://chat.example", "=http://alerts:9093", "/bin/page", "--key-file /etc/n1.key"];
        assert!(kept.iter().all(|part| clean.contains(part)), "{clean}");
    }

    #[test]
    fn of_urls_only_what_is_surely_no_secret_is_shown() {
        for (url, shown) in [
            ("https://u:XYZZY@h:1/XYZZY?XYZZY#XYZZY", "https://h:1"),
            ("http://u:a/XYZZY@h", "http://…"),
            ("http://[::1]:9093", "http://[::1]:9093"),
            ("XYZZY", "…"),
        ] {
            assert_eq!(origin(url), shown);
        }
    }

    #[test]
    fn json_stays_json_and_keeps_what_is_no_secret() {
        let clean = value(json!({ "log": ["got token=XYZZY", "fine"], "api_key": "XYZZY", "password": { "count": 3 }, "n": 1 }));
        assert_eq!(clean, json!({ "log": ["got token=[secret]", "fine"], "api_key": MARK, "password": { "count": 3 }, "n": 1 }));
    }
}
