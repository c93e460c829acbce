//! Numbers as Redis reads and prints them.

/// The integer that `text` is, in the one form Redis takes: no sign but a minus, no leading zeros, no blanks.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !is_negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    if is_negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// The float that `text` is: decimal or hexadecimal, or an infinity by name. Nothing that rounds to infinity or to zero, and no NaN.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if unsigned.starts_with(['+', '-']) {
        return None;
    }
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        return parse_hex(digits).map(|value| sign * value);
    }
    let value: f64 = unsigned.parse().ok()?;
    let is_named = unsigned.starts_with(|c: char| c.is_ascii_alphabetic());
    let has_mantissa = || unsigned.bytes().take_while(|byte| !matches!(byte, b'e' | b'E')).any(|byte| matches!(byte, b'1'..=b'9'));
    if value.is_nan() || (value.is_infinite() && !is_named) || (value == 0.0 && has_mantissa()) {
        return None;
    }
    Some(sign * value)
}

/// Whole hexadecimal digits with a binary exponent, which is as much as anyone writes.
fn parse_hex(digits: &str) -> Option<f64> {
    let (mantissa, exponent) = digits.split_once(['p', 'P']).unwrap_or((digits, "0"));
    let mantissa = if mantissa.starts_with('+') { return None } else { u64::from_str_radix(mantissa, 16).ok()? };
    let exponent: i32 = exponent.parse().ok()?;
    let value = mantissa as f64 * f64::powi(2.0, exponent);
    (value.is_finite() && (value != 0.0 || mantissa == 0)).then_some(value)
}

/// Appends `value` as C's `%.17g` prints it, which is how Redis 7.0 shows scores.
pub fn put_f64(out: &mut Vec<u8>, value: f64) {
    /// Below this, each whole number has at most 17 digits.
    const WHOLE: f64 = 1e17;
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.fract() == 0.0 && value.abs() < WHOLE {
        put_i64(out, value as i64);
    } else {
        put_digits(out, value);
    }
}

fn put_digits(out: &mut Vec<u8>, value: f64) {
    const DIGITS: i32 = 17;
    let scientific = format!("{:.16e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: Vec<u8> = mantissa.bytes().filter(|&byte| byte != b'.').collect();
    let kept = digits.iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    let digits = &digits[..kept];
    if value < 0.0 {
        out.push(b'-');
    }
    if !(-4..DIGITS).contains(&exponent) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()).as_bytes());
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend_from_slice(digits);
    } else {
        let whole = (exponent + 1) as usize;
        out.extend_from_slice(&digits[..whole.min(digits.len())]);
        out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(digits.len())));
        if digits.len() > whole {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

/// Appends `value` in decimal.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
