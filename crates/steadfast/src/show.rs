//! How things are shown: bytes, sizes, tables, commands.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value};

/// Prints a line of result. A reader that has gone away is an error like any other; `main` ends quietly on it.
pub(crate) fn print(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints a line for whoever is still reading: what runs on does not end because its terminal has.
pub(crate) fn say(text: impl Display) {
    let _ = print(text);
}

/// Bytes on one line: UTF-8 as it is, but control characters, backslashes and anything else escaped.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Bytes as text: UTF-8 exactly as it is, anything else escaped.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => escape(bytes),
    }
}

/// Puts bytes into a JSON object: as `name` if they are UTF-8, else as `name_base64`.
pub(crate) fn json_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_string(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), base64(bytes).into()),
    };
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let sextet = (bits >> (18 - 6 * i)) as usize & 63;
            text.push(if i <= group.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    text
}

/// A size with three significant digits, in binary units.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let decimals = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.decimals$} {}", UNITS[unit])
}

/// A table without lines, two spaces between columns; the columns named in `numbers` are set to the right.
pub(crate) fn table(header: &[&str], numbers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    for (column, name) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        if numbers.contains(name) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A word as a POSIX shell reads it back.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_string() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// How to call this program from the current directory.
pub(crate) fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "steadfast".into() };
    let found = std::env::var_os("PATH").and_then(|search| {
        let mut places = std::env::split_paths(&search).map(|place| place.join("steadfast"));
        places.find_map(|place| place.canonicalize().ok())
    });
    if found.as_deref() == Some(path.as_path()) {
        return "steadfast".into();
    }
    let here = std::env::current_dir().ok();
    let near = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    let shown = near.map_or(path.clone(), |near| Path::new(".").join(near));
    shell_word(&shown.to_string_lossy())
}

/// A signal's name, for those that people send.
pub(crate) fn signal_name(signal: i32) -> String {
    let names =
        [(1, "HUP"), (2, "INT"), (3, "QUIT"), (4, "ILL"), (6, "ABRT"), (7, "BUS"), (9, "KILL"), (11, "SEGV"), (13, "PIPE"), (15, "TERM")];
    match names.iter().find(|(number, _)| *number == signal) {
        Some((_, name)) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_escaped_only_where_they_must_be() {
        assert_eq!(escape("grüße, 世界".as_bytes()), "grüße, 世界");
        assert_eq!(escape(b"a\\b\n\xff\x00c\x1b"), r"a\\b\n\xff\u{0}c\u{1b}");
        assert_eq!(text(b"two\nlines"), "two\nlines");
        assert_eq!(text(b"\xfe"), r"\xfe");
    }

    #[test]
    fn base64_follows_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn json_says_which_bytes_are_text() {
        let mut object = Map::new();
        json_bytes(&mut object, "key", b"k");
        json_bytes(&mut object, "value", b"\xff");
        assert_eq!(Value::Object(object), serde_json::json!({"key": "k", "value_base64": "/w=="}));
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10 * 1024, "10.0 KiB"),
            (1_048_575, "1.00 MiB"),
            (300 << 20, "300 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn shell_words_survive_a_shell() {
        assert_eq!(shell_word("/a/b-c=1,2"), "/a/b-c=1,2");
        assert_eq!(shell_word("my data"), "'my data'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn tables_are_aligned_and_have_no_trailing_spaces() {
        let rows = [["n1", "7"], ["longer", "12345"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&["NODE", "TERM"], &["TERM"], rows), "NODE     TERM\nn1          7\nlonger  12345");
    }
}
