//! Properties of requests, answers, numbers and patterns.

use proptest::collection::vec;
use proptest::prelude::*;
use steadfast_redis_api::protocol::glob;
use steadfast_redis_api::protocol::number::{parse_f64, parse_i64, put_f64};
use steadfast_redis_api::protocol::reply::{Reply, Version};
use steadfast_redis_api::protocol::request::{Parser, ProtocolError};

mod support;

use support::resp::{Value, parse_all};

type Requests = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// The requests that bytes are which come in these pieces, as a connection takes them.
fn requests<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Requests {
    let (mut parser, mut buffer, mut found) = (Parser::new(), Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.poll(&buffer, false) {
                Ok(None) => break,
                Ok(Some(length)) => {
                    let arguments = parser.arguments(&buffer);
                    assert!(arguments.len() <= length, "more arguments than bytes");
                    found.push(arguments.iter().map(<[u8]>::to_vec).collect());
                    buffer.drain(..length);
                }
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

fn framed(command: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for argument in command {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Each byte in quotes, as an inline request.
fn quoted(command: &[Vec<u8>]) -> Vec<u8> {
    let word = |argument: &Vec<u8>| format!("\"{}\"", argument.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>());
    format!("{}\r\n", command.iter().map(word).collect::<Vec<_>>().join(" ")).into_bytes()
}

fn command() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 0..12), 1..5)
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "*",
        "$",
        "\r\n",
        "\r",
        "\n",
        "1",
        "2",
        "3",
        "-1",
        "0",
        "9999999999",
        "536870912",
        "a",
        "PING",
        "\"",
        "'",
        "\\",
        "\\x4",
        " ",
        "\0",
        "\u{ff}",
    ];
    vec(prop::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

fn value() -> impl Strategy<Value = Value> {
    let text = || vec(any::<u8>().prop_filter("no line end", |byte| !matches!(byte, b'\r' | b'\n')), 0..8);
    let leaf = prop_oneof![
        Just(Value::Null),
        text().prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        vec(any::<u8>(), 0..8).prop_map(Value::Bulk),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec(inner.clone(), 0..4).prop_map(Value::Set),
            vec(inner.clone(), 0..4).prop_map(Value::Push),
            vec((inner.clone(), inner), 0..3).prop_map(|pairs| Value::Map(pairs.into_iter().flat_map(|(a, b)| [a, b]).collect())),
        ]
    })
}

fn write(reply: &mut Reply<'_>, value: &Value) {
    let values = match value {
        Value::Null => return reply.null(),
        Value::Error(text) => return reply.error(text),
        Value::Integer(number) => return reply.integer(*number),
        Value::Boolean(is_true) => return reply.boolean(*is_true),
        Value::Bulk(bytes) | Value::Simple(bytes) | Value::Double(bytes) | Value::Verbatim(bytes) => return reply.bulk(bytes),
        Value::Array(values) | Value::Set(values) | Value::Push(values) | Value::Map(values) => values,
    };
    match value {
        Value::Set(_) => reply.set(values.len()),
        Value::Push(_) => reply.push(values.len()),
        Value::Map(_) => reply.map(values.len() / 2),
        _ => reply.array(values.len()),
    }
    values.iter().for_each(|value| write(reply, value));
}

/// What version 2 makes of an answer.
fn flat(value: Value) -> Value {
    match value {
        Value::Array(values) | Value::Set(values) | Value::Push(values) | Value::Map(values) => {
            Value::Array(values.into_iter().map(flat).collect())
        }
        Value::Boolean(is_true) => Value::Integer(is_true.into()),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn requests_are_what_was_sent(commands in vec((command(), any::<bool>()), 0..5)) {
        let bytes: Vec<u8> = commands.iter().flat_map(|(command, is_inline)| if *is_inline { quoted(command) } else { framed(command) }).collect();
        let sent: Vec<Vec<Vec<u8>>> = commands.into_iter().map(|(command, _)| command).collect();
        prop_assert_eq!(requests([bytes.as_slice()]), (sent, None));
    }

    #[test]
    fn pieces_make_no_difference(commands in vec(command(), 0..3), hostile in hostile()) {
        let bytes = [commands.iter().flat_map(|command| framed(command)).collect(), hostile].concat();
        let whole = requests([bytes.as_slice()]);
        for cut in 0..=bytes.len() {
            prop_assert_eq!(&requests([&bytes[..cut], &bytes[cut..]]), &whole, "cut at {}", cut);
        }
        prop_assert_eq!(&requests(bytes.chunks(1)), &whole);
    }

    #[test]
    fn answers_are_read_as_written(value in value()) {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, Version::Three), &value);
        prop_assert_eq!(parse_all(&out), value.clone());
        out.clear();
        write(&mut Reply::new(&mut out, Version::Two), &value);
        prop_assert_eq!(parse_all(&out), flat(value));
    }

    #[test]
    fn integers_have_one_form(number in any::<i64>(), text in "-?[0-9]{1,20}") {
        prop_assert_eq!(parse_i64(number.to_string().as_bytes()), Some(number));
        if let Some(number) = parse_i64(text.as_bytes()) {
            prop_assert_eq!(number.to_string(), text);
        }
    }

    #[test]
    fn floats_are_read_as_printed(bits in any::<u64>(), small in -1e6..1e6) {
        for number in [f64::from_bits(bits), small, small.round(), small * 1e-9] {
            let mut text = Vec::new();
            put_f64(&mut text, number);
            if !number.is_nan() {
                prop_assert_eq!(parse_f64(&text), Some(number), "{}", String::from_utf8_lossy(&text));
            }
        }
    }

    #[test]
    fn patterns_match_what_they_say(pattern in "[ab*?]{0,8}", text in "[abc]{0,8}") {
        prop_assert_eq!(glob::matches(pattern.as_bytes(), text.as_bytes(), false), plainly(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn patterns_never_panic(pattern in r"[\[\]\\^a-c*?-]{0,12}", text in r"[a-c\]\\-]{0,8}") {
        let _ = glob::matches(pattern.as_bytes(), text.as_bytes(), true);
    }
}

fn plainly(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|at| plainly(rest, &text[at..])),
        [b'?', rest @ ..] => !text.is_empty() && plainly(rest, &text[1..]),
        [byte, rest @ ..] => text.first() == Some(byte) && plainly(rest, &text[1..]),
    }
}

#[test]
fn limits_are_those_of_redis() {
    let error = |bytes: &[u8]| requests([bytes]).1;
    assert_eq!(error(&[b"*".as_slice(), &[b'1'; 65536]].concat()), Some(ProtocolError::LongCount));
    assert_eq!(error(&[b"*1\r\n$".as_slice(), &[b'1'; 65536]].concat()), Some(ProtocolError::LongLength));
    assert_eq!(error(&[b'a'; 65537]), Some(ProtocolError::LongLine));
    assert_eq!(error(&[b'a'; 65536]), None);
    for count in ["2147483648", "a", "", "01", "1 "] {
        assert_eq!(error(format!("*{count}\r\n").as_bytes()), Some(ProtocolError::Count), "{count}");
    }
    for length in ["536870913", "-1", "", "04"] {
        assert_eq!(error(format!("*1\r\n${length}\r\n").as_bytes()), Some(ProtocolError::Length), "{length}");
    }
    assert_eq!(error(b"*1\r\nPING\r\n"), Some(ProtocolError::Dollar(b'P')));
    assert_eq!(error(b"*1\r\n\r\n"), Some(ProtocolError::Dollar(b'\r')));
    assert_eq!(error(b"set \"a\"b\r\n"), Some(ProtocolError::Quotes));
    assert_eq!(error(b"*2147483647\r\n$536870912\r\n"), None, "what is announced is not allocated");
    assert_eq!(Parser::new().poll(b"*11\r\n", true), Err(ProtocolError::StrangerCount));
    assert_eq!(Parser::new().poll(b"*1\r\n$16385\r\n", true), Err(ProtocolError::StrangerLength));
}

#[test]
fn many_stars_cost_no_more_than_the_product_of_lengths() {
    let pattern = [b"a*".repeat(50), b"b".to_vec()].concat();
    assert!(!glob::matches(&pattern, &[b'a'; 2000], false));
}

#[test]
fn classes_and_escapes() {
    for (pattern, text, is_match) in [
        ("h[ae]llo", "hello", true),
        ("h[^e]llo", "hello", false),
        ("h[a-d]llo", "hcllo", true),
        ("h[d-a]llo", "hcllo", true),
        ("h[a-", "h-", true),
        (r"h\*", "h*", true),
        (r"h\*", "hx", false),
        (r"[\]]", "]", true),
        ("HE?LO", "hello", true),
    ] {
        assert_eq!(glob::matches(pattern.as_bytes(), text.as_bytes(), true), is_match, "{pattern} {text}");
    }
}

#[test]
fn floats_look_as_in_redis() {
    for (number, text) in [
        (3.1, "3.1000000000000001"),
        (1e20, "1e+20"),
        (0.00001, "1.0000000000000001e-05"),
        (0.0001, "0.0001"),
        (-2.5, "-2.5"),
        (123_456_789.125, "123456789.125"),
        (f64::NEG_INFINITY, "-inf"),
        (1e17, "1e+17"),
        (12_345_678_901_234_567.0, "12345678901234568"),
    ] {
        let mut out = Vec::new();
        put_f64(&mut out, number);
        assert_eq!(String::from_utf8_lossy(&out), text);
    }
    for text in ["1e400", "1e-400", "nan", "", " 1", "1 ", "1x", "+-1", "--1", "0x", "0x+1"] {
        assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
    }
    for (text, number) in [("0x10", 16.0), ("+1", 1.0), (".5", 0.5), ("5.", 5.0), ("-Infinity", f64::NEG_INFINITY), ("0e5", 0.0)] {
        assert_eq!(parse_f64(text.as_bytes()), Some(number), "{text}");
    }
}
