//! What a Redis client says before anything of it is run: requests in frames and in lines, tokens, patterns, rules of users. The first byte of an input
//! chooses.

use steadfast_redis_api::acl::users::Users;
use steadfast_redis_api::engine::token;
use steadfast_redis_api::protocol::glob;
use steadfast_redis_api::protocol::number::{parse_f64, parse_i64, put_f64};
use steadfast_redis_api::protocol::request::{Parser, ProtocolError};

/// Requests, and what ended them.
type Read = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// The requests that come in these pieces, as a connection takes them.
fn requests<'a>(pieces: impl Iterator<Item = &'a [u8]>, is_stranger: bool) -> Read {
    let (mut parser, mut buffer, mut found) = (Parser::new(), Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.poll(&buffer, is_stranger) {
                Ok(None) => break,
                Ok(Some(length)) => {
                    assert!((1..=buffer.len()).contains(&length), "{length} of {} bytes", buffer.len());
                    let arguments = parser.arguments(&buffer);
                    let bytes: usize = arguments.iter().map(<[u8]>::len).sum();
                    assert!(arguments.len() + bytes <= length, "{arguments:?} in {length} bytes");
                    found.push(arguments.iter().map(<[u8]>::to_vec).collect());
                    buffer.drain(..length);
                }
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// Requests are the same in whatever pieces they come, and what was read is read again from its frames.
fn check_requests(input: &[u8], is_stranger: bool) {
    let whole = requests(std::iter::once(input), is_stranger);
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(requests(input.chunks(size), is_stranger), whole, "in pieces of {size}");
    }
    let mut frames = Vec::new();
    for request in &whole.0 {
        frames.extend_from_slice(format!("*{}\r\n", request.len()).as_bytes());
        for argument in request {
            frames.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            frames.extend_from_slice(argument);
            frames.extend_from_slice(b"\r\n");
        }
    }
    assert_eq!(requests(std::iter::once(frames.as_slice()), false), (whole.0, None));
}

/// A line of rules makes a user or changes nothing, and a user's own line makes it again.
fn check_rules(input: &[u8]) {
    let mut users = Users::new();
    for rule in input.split(|&byte| byte == b' ') {
        let before = users.lines().collect::<Vec<_>>();
        if users.set("user", [rule]).is_err() {
            assert_eq!(users.lines().collect::<Vec<_>>(), before);
        }
    }
    let Some(user) = users.get("user") else { return };
    let line = user.rules();
    let mut again = Users::new();
    again.set("user", line.split(|&byte| byte == b' ')).expect("a user's own rules");
    assert_eq!(again.get("user").map(|user| user.rules()), Some(line));
}

/// Reads what a client says.
pub fn check(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    match kind {
        0 => check_requests(rest, false),
        1 => check_requests(rest, true),
        2 => {
            if let Ok(seen) = token::parse(rest) {
                assert_eq!(token::parse(&token::text(&seen)), Ok(seen));
            }
        }
        3 => {
            let (pattern, text) = rest.split_at(rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len()));
            glob::matches(pattern, text, false);
            assert!(glob::matches(b"*", text, true));
        }
        4 => check_rules(rest),
        5 => {
            if let Some(number) = parse_i64(rest) {
                assert_eq!(number.to_string().as_bytes(), rest);
            }
            if let Some(number) = parse_f64(rest) {
                let mut text = Vec::new();
                put_f64(&mut text, number);
                assert_eq!(parse_f64(&text), Some(number));
            }
        }
        _ => check_requests(input, false),
    }
}
