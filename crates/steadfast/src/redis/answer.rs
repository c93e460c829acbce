//! Answers of the Redis protocol, for people and for programs.

use redis::Value;
use serde_json::{Value as Json, json};

use crate::show;

/// For people: a line for each thing, those in something else behind their number.
pub(super) fn text(answer: &Value) -> String {
    match answer {
        Value::Array(elements) | Value::Set(elements) => numbered(elements.iter().map(text)),
        Value::Map(pairs) => numbered(pairs.iter().map(|(key, value)| format!("{} => {}", text(key), text(value)))),
        Value::Attribute { data, .. } => text(data),
        Value::Push { data, .. } => numbered(data.iter().map(text)),
        Value::Nil => "(nothing)".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::BulkString(bytes) => show::escape(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Double(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        other => format!("{other:?}"),
    }
}

fn numbered(lines: impl ExactSizeIterator<Item = String>) -> String {
    if lines.len() == 0 {
        return "(empty)".to_owned();
    }
    let width = lines.len().to_string().len();
    let indented = |line: String| line.replace('\n', &format!("\n{:width$}  ", ""));
    lines.enumerate().map(|(k, line)| format!("{:>width$}) {}", k + 1, indented(line))).collect::<Vec<_>>().join("\n")
}

/// For programs. Bytes that are no UTF-8 are escaped.
pub(super) fn json(answer: &Value) -> Json {
    match answer {
        Value::Array(elements) | Value::Set(elements) => elements.iter().map(json).collect(),
        Value::Map(pairs) => pairs.iter().map(|(key, value)| (text(key), json(value))).collect::<serde_json::Map<_, _>>().into(),
        Value::Attribute { data, .. } => json(data),
        Value::Push { data, .. } => data.iter().map(json).collect(),
        Value::Nil => Json::Null,
        Value::Int(number) => json!(number),
        Value::BulkString(bytes) => show::text(bytes).into(),
        Value::Double(number) => json!(number),
        Value::Boolean(truth) => json!(truth),
        other => text(other).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn each_thing_has_its_line() {
        let inner = Value::Array(vec![bulk("x"), Value::Nil]);
        let mut all = vec![bulk("a\nb"), Value::Int(7), inner, Value::Map(vec![(bulk("k"), Value::Double(1.5))])];
        assert_eq!(text(&Value::Array(all.clone())), "1) a\\nb\n2) 7\n3) 1) x\n   2) (nothing)\n4) 1) k => 1.5");
        assert_eq!(json(&Value::Array(all.clone())), json!(["a\nb", 7, ["x", null], {"k": 1.5}]));
        all.extend((0..6).map(Value::Int));
        assert!(text(&Value::Array(all)).starts_with(" 1) a"));
        assert_eq!((text(&Value::Array(vec![])), json(&Value::Okay)), ("(empty)".to_owned(), json!("OK")));
    }
}
