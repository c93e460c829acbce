//! JSON to messages, as etcd's gateway reads them.
//!
//! Fields go by the protos' names or by their camelCase; unknown ones are passed over; `null` is the same as nothing. Integers may be text;
//! bytes are base64 of the standard alphabet, padded; enums are names or numbers. Of a field that is there twice the last one counts, of two
//! fields of one choice the one that the proto names last.
//!
//! `prost-reflect` can read JSON by itself, but not by these rules: where it passes over unknown fields it passes over unknown names of enums
//! as well, and a comparison by `"GREATR"` would be one for equality.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value as Field};
use serde_json::Value;
use serde_json::value::Number;

/// Bits that no byte needs may be anything, as in Go's decoder.
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Why a text is not the message asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    /// It is not JSON.
    #[error("the body is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A value cannot be one of the field's.
    #[error("{path}: {found} where {expected} is expected")]
    Value {
        /// Which, from the message down.
        path: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
}

/// What is expected in a place where something else is.
type Expected = String;

/// Reads a message.
pub(super) fn message(descriptor: &MessageDescriptor, text: &[u8]) -> Result<DynamicMessage, Malformed> {
    match serde_json::from_slice(text)? {
        Value::Null => Ok(DynamicMessage::new(descriptor.clone())),
        Value::Object(object) => fields(descriptor, object, ""),
        other => Err(malformed("the body", &other, "an object".to_owned())),
    }
}

fn malformed(path: &str, found: &Value, expected: Expected) -> Malformed {
    /// As much of a wrong value as an error repeats, characters.
    const SHOWN: usize = 64;
    let text = found.to_string();
    let found = if text.chars().count() > SHOWN { text.chars().take(SHOWN).chain("…".chars()).collect() } else { text };
    Malformed::Value { path: path.to_owned(), found, expected }
}

/// Reads the fields of the message at `path`.
fn fields(descriptor: &MessageDescriptor, mut object: serde_json::Map<String, Value>, path: &str) -> Result<DynamicMessage, Malformed> {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let own = object.remove(field.name());
        let Some(value) = object.remove(field.json_name()).or(own).filter(|value| !value.is_null()) else { continue };
        let path = if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
        let value = if field.is_list() { list(&field, value, &path)? } else { single(&field.kind(), value, &path)? };
        message.set_field(&field, value);
    }
    Ok(message)
}

fn list(field: &FieldDescriptor, value: Value, path: &str) -> Result<Field, Malformed> {
    let Value::Array(items) = value else { return Err(malformed(path, &value, "a list".to_owned())) };
    let item = |(at, item): (usize, Value)| {
        if item.is_null() { Ok(Field::default_value(&field.kind())) } else { single(&field.kind(), item, &format!("{path}[{at}]")) }
    };
    Ok(Field::List(items.into_iter().enumerate().map(item).collect::<Result<_, _>>()?))
}

fn single(kind: &Kind, value: Value, path: &str) -> Result<Field, Malformed> {
    let read = match (kind, &value) {
        (Kind::Message(descriptor), Value::Object(_)) => {
            let Value::Object(object) = value else { unreachable!("it was just seen to be one") };
            return Ok(Field::Message(fields(descriptor, object, path)?));
        }
        (Kind::Message(_), _) => Err("an object".to_owned()),
        (Kind::Enum(descriptor), _) => enumerated(descriptor, &value),
        (Kind::Bool, Value::Bool(truth)) => Ok(Field::Bool(*truth)),
        (Kind::Bool, _) => Err("true or false".to_owned()),
        (Kind::String, Value::String(text)) => Ok(Field::String(text.clone())),
        (Kind::String, _) => Err("text".to_owned()),
        (Kind::Bytes, Value::String(text)) => base64(text),
        (Kind::Bytes, _) => Err(BASE64_EXPECTED.to_owned()),
        (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32, _) => integer(&value).map(Field::I32).ok_or_else(|| bounds(i32::MIN, i32::MAX)),
        (Kind::Uint32 | Kind::Fixed32, _) => integer(&value).map(Field::U32).ok_or_else(|| bounds(0, u32::MAX)),
        (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64, _) => integer(&value).map(Field::I64).ok_or_else(|| bounds(i64::MIN, i64::MAX)),
        (Kind::Uint64 | Kind::Fixed64, _) => integer(&value).map(Field::U64).ok_or_else(|| bounds(0, u64::MAX)),
        (Kind::Double | Kind::Float, _) => Err("nothing: no call takes floating point numbers".to_owned()),
    };
    read.map_err(|expected| malformed(path, &value, expected))
}

fn bounds(lowest: impl std::fmt::Display, highest: impl std::fmt::Display) -> Expected {
    format!("a whole number from {lowest} to {highest}, or one as text,")
}

/// A whole number, or the text of one in JSON's own form.
fn integer<T>(value: &Value) -> Option<T>
where
    T: TryFrom<i64> + TryFrom<u64>,
{
    let whole = |number: &Number| match number.as_i64() {
        Some(number) => T::try_from(number).ok(),
        None => number.as_u64().and_then(|number| T::try_from(number).ok()),
    };
    match value {
        Value::Number(number) => whole(number),
        Value::String(text) => whole(&serde_json::from_str(text).ok()?),
        _ => None,
    }
}

const BASE64_EXPECTED: &str = "text in base64 (standard alphabet, padded)";

/// Line ends in it count for nothing, as in Go's decoder.
fn base64(text: &str) -> Result<Field, Expected> {
    let decoded = if text.contains(['\r', '\n']) { BASE64.decode(text.replace(['\r', '\n'], "")) } else { BASE64.decode(text) };
    decoded.map(|bytes| Field::Bytes(bytes.into())).map_err(|error| format!("{BASE64_EXPECTED}, which it is not ({error}),"))
}

/// A name of the enum, or any number: what it means is for the call to say.
fn enumerated(descriptor: &EnumDescriptor, value: &Value) -> Result<Field, Expected> {
    let number = match value {
        Value::String(name) => descriptor.get_value_by_name(name).map(|value| value.number()),
        Value::Number(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
        _ => None,
    };
    let names = || descriptor.values().map(|value| value.name().to_owned()).collect::<Vec<_>>().join(", ");
    number.map(Field::EnumNumber).ok_or_else(|| format!("one of {}", names()))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::proto::{self, etcdserverpb as pb};

    fn read<M: prost::Message + Default>(name: &str, text: &str) -> Result<M, String> {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("our own");
        let descriptor = pool.get_message_by_name(&format!("etcdserverpb.{name}")).expect("it exists");
        let message = message(&descriptor, text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(M::decode(message.encode_to_vec().as_slice()).expect("the same message"))
    }

    fn range(text: &str) -> Result<pb::RangeRequest, String> {
        read("RangeRequest", text)
    }

    #[test]
    fn fields_go_by_either_name_and_integers_may_be_text() {
        let expected = pb::RangeRequest {
            key: "a".into(),
            range_end: "b".into(),
            limit: i64::MIN,
            sort_target: 3,
            serializable: true,
            ..pb::RangeRequest::default()
        };
        let limit = i64::MIN;
        for text in [
            format!(r#"{{"key":"YQ==","range_end":"Yg==","limit":{limit},"sort_target":"MOD","serializable":true}}"#),
            format!(r#"{{"key":"Y\r\nQ==","rangeEnd":"Yh==","limit":" {limit}","sortTarget":3,"serializable":true,"limits":[{{}}]}}"#),
            format!(
                r#"{{"key":"YQ==","range_end":"!","rangeEnd":"Yg==","limit":1,"limit":"{limit}","sortTarget":"MOD","serializable":true,"revision":null}}"#
            ),
        ] {
            assert_eq!(range(&text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(range("null"), Ok(pb::RangeRequest::default()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            ("x", "the body is not JSON: expected value at line 1 column 1"),
            ("[1]", "the body: [1] where an object is expected"),
            (r#"{"key":1}"#, "key: 1 where text in base64 (standard alphabet, padded) is expected"),
            (
                r#"{"limit":1.0}"#,
                "limit: 1.0 where a whole number from -9223372036854775808 to 9223372036854775807, or one as text, is expected",
            ),
            (r#"{"serializable":"true"}"#, r#"serializable: "true" where true or false is expected"#),
            (r#"{"sort_order":"UP"}"#, r#"sort_order: "UP" where one of NONE, ASCEND, DESCEND is expected"#),
            (r#"{"sort_order":"1"}"#, r#"sort_order: "1" where one of NONE, ASCEND, DESCEND is expected"#),
        ];
        for (text, expected) in table {
            assert_eq!(range(text), Err(expected.to_owned()), "{text}");
        }
        for wrong in ["99999999999999999999", "\"\"", "\"05\"", "\"+5\"", "\"1e3\"", "true"] {
            assert!(range(&format!("{{\"limit\":{wrong}}}")).is_err(), "{wrong}");
        }
        for wrong in ["YQ", "YQ=", "_-==", "!", "Y Q=="] {
            let error = range(&format!("{{\"key\":\"{wrong}\"}}")).expect_err(wrong);
            assert!(error.starts_with("key: ") && error.contains("base64"), "{error}");
        }
        let nested = r#"{"success":[{"request_put":{}},{"request_range":{"limit":{}}}]}"#;
        let error = read::<pb::TxnRequest>("TxnRequest", nested).expect_err("an object is no number");
        assert!(error.starts_with("success[1].request_range.limit: {} where a whole number"), "{error}");
        let long = format!("{{\"limit\":\"{}\"}}", "x".repeat(100_000));
        assert!(range(&long).expect_err("no number").len() < 300);
    }

    #[test]
    fn of_one_choice_the_last_field_of_the_proto_counts_and_null_in_a_list_is_a_default() {
        let text = r#"{"success":[{"request_put":{"key":"YQ=="},"request_range":{"key":"YQ=="}},null]}"#;
        let txn: pb::TxnRequest = read("TxnRequest", text).expect("a transaction");
        assert!(matches!(txn.success[0].request, Some(pb::request_op::Request::RequestPut(_))), "{txn:?}");
        assert_eq!(txn.success[1], pb::RequestOp::default());
    }

    /// A message with some of its fields, of values that are hard to write.
    fn some(descriptor: &MessageDescriptor, depth: usize, random: &mut fastrand::Rng) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields().filter(|_| random.bool()).collect::<Vec<_>>() {
            if matches!(field.kind(), Kind::Message(_)) && depth == 0 {
                continue;
            }
            let items = if field.is_list() { random.usize(0..3) } else { 1 };
            let mut values: Vec<Field> = (0..items).map(|_| some_value(&field.kind(), depth, random)).collect();
            message.set_field(&field, if field.is_list() { Field::List(values) } else { values.remove(0) });
        }
        message
    }

    fn some_value(kind: &Kind, depth: usize, random: &mut fastrand::Rng) -> Field {
        let any = random.i64(..);
        let wide = *random.choice(&[0, 1, i64::MIN, i64::MAX, any]).expect("there are some");
        match kind {
            Kind::Message(descriptor) => Field::Message(some(descriptor, depth - 1, random)),
            Kind::Enum(descriptor) => {
                let known = random.choice(descriptor.values()).expect("an enum has values").number();
                Field::EnumNumber(if random.bool() { known } else { random.i32(..) })
            }
            Kind::Bool => Field::Bool(random.bool()),
            Kind::String => Field::String((0..random.usize(0..9)).map(|_| random.char(..)).collect()),
            Kind::Bytes => Field::Bytes((0..random.usize(0..9)).map(|_| random.u8(..)).collect::<Vec<_>>().into()),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Field::I32(wide as i32),
            Kind::Uint32 | Kind::Fixed32 => Field::U32(wide as u32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Field::I64(wide),
            Kind::Uint64 | Kind::Fixed64 => Field::U64(wide as u64),
            Kind::Double | Kind::Float => unreachable!("no message has one"),
        }
    }

    /// Of all messages: what is written is read again, and what is damaged is read or refused.
    #[test]
    fn what_is_written_is_read_and_damage_does_no_harm() {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("our own");
        for descriptor in pool.all_messages() {
            for seed in 0..200 {
                let mut random = fastrand::Rng::with_seed(seed);
                let written = some(&descriptor, 4, &mut random);
                let mut text = Vec::new();
                crate::gateway::encode::message(&written, &mut text);
                let shown = String::from_utf8_lossy(&text).into_owned();
                let read = message(&descriptor, &text).unwrap_or_else(|error| panic!("{error} in {shown}"));
                assert_eq!(read.encode_to_vec(), written.encode_to_vec(), "seed {seed}: {shown}");
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(0..text.len());
                    text[at] = *random.choice(b"{}[]\",:0e-x\xff").expect("there are some");
                }
                let _ = message(&descriptor, &text);
            }
        }
    }

    #[test]
    fn nesting_beyond_all_measure_is_refused() {
        let text = format!("{}{}", "{\"success\":[{\"request_txn\":".repeat(1000), "}]}".repeat(1000));
        assert!(read::<pb::TxnRequest>("TxnRequest", &text).expect_err("too deep").contains("recursion limit"));
    }
}
