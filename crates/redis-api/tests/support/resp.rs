//! Reads answers of both protocol versions.

/// An answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Double(Vec<u8>),
    Boolean(bool),
    Verbatim(Vec<u8>),
    Array(Vec<Value>),
    Set(Vec<Value>),
    Map(Vec<Value>),
    Push(Vec<Value>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |name: &str, bytes: &[u8]| format!("{name}\"{}\"", bytes.escape_ascii());
        match self {
            Value::Null => f.write_str("null"),
            Value::Simple(bytes) => f.write_str(&text("+", bytes)),
            Value::Error(bytes) => f.write_str(&text("-", bytes)),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Bulk(bytes) => f.write_str(&text("", bytes)),
            Value::Double(bytes) => f.write_str(&text(",", bytes)),
            Value::Boolean(is_true) => write!(f, "{is_true}"),
            Value::Verbatim(bytes) => f.write_str(&text("=", bytes)),
            Value::Array(values) => f.debug_list().entries(values).finish(),
            Value::Set(values) => f.debug_set().entries(values).finish(),
            Value::Map(values) => f.debug_tuple("map").field(values).finish(),
            Value::Push(values) => f.debug_tuple("push").field(values).finish(),
        }
    }
}

/// The answer that `bytes` begin with and how long it is; nothing if it is not there whole.
pub fn parse(bytes: &[u8]) -> Option<(Value, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (kind, line, mut at) = (bytes[0], &bytes[1..end], end + 2);
    let text = std::str::from_utf8(line).unwrap_or_default();
    let number = || text.parse::<i64>().expect("a number");
    let value = match kind {
        b'+' => Value::Simple(line.to_vec()),
        b'-' => Value::Error(line.to_vec()),
        b':' => Value::Integer(number()),
        b',' => Value::Double(line.to_vec()),
        b'#' => Value::Boolean(line == b"t"),
        b'_' => Value::Null,
        b'$' | b'*' if line == b"-1" => Value::Null,
        b'$' | b'=' => {
            let length = number() as usize;
            let content = bytes.get(at..at + length)?.to_vec();
            assert_eq!(bytes.get(at + length..at + length + 2)?, b"\r\n");
            at += length + 2;
            if kind == b'$' { Value::Bulk(content) } else { Value::Verbatim(content) }
        }
        b'*' | b'~' | b'%' | b'>' => {
            let length = number() as usize * if kind == b'%' { 2 } else { 1 };
            let mut values = Vec::new();
            for _ in 0..length {
                let (value, used) = parse(&bytes[at..])?;
                values.push(value);
                at += used;
            }
            match kind {
                b'*' => Value::Array(values),
                b'~' => Value::Set(values),
                b'%' => Value::Map(values),
                _ => Value::Push(values),
            }
        }
        _ => panic!("no answer begins with {:?}", char::from(kind)),
    };
    Some((value, at))
}

/// The one answer that `bytes` are.
pub fn parse_all(bytes: &[u8]) -> Value {
    let (value, used) = parse(bytes).expect("a whole answer");
    assert_eq!(used, bytes.len(), "more than one answer: {:?}", bytes.escape_ascii().to_string());
    value
}
