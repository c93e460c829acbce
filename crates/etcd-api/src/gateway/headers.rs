//! HTTP headers that become metadata of the call, as grpc-gateway v1 passes them on: `Authorization` under its own name, `Grpc-Metadata-X` as
//! `x`. The `grpcgateway-` copies that it makes of others are left out: no call reads them.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use tonic::Status;
use tonic::metadata::MetadataMap;

const PREFIX: &str = "grpc-metadata-";

/// The metadata of a request with these headers.
pub(super) fn metadata(headers: &HeaderMap) -> MetadataMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        let name = match name.as_str().strip_prefix(PREFIX).map(HeaderName::try_from) {
            Some(Ok(name)) => name,
            None if name == header::AUTHORIZATION => name.clone(),
            Some(Err(_)) | None => continue,
        };
        metadata.append(name, value.clone());
    }
    MetadataMap::from_headers(metadata)
}

/// How long the client wants to wait, by its `Grpc-Timeout`: digits and a unit, of hours (`H`) to nanoseconds (`n`).
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let invalid = || Status::invalid_argument(format!("invalid grpc-timeout: {text}"));
    let unit = text.chars().last().ok_or_else(invalid)?;
    let count: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| invalid())?;
    Ok(Some(match unit {
        'H' => Duration::from_secs(count.saturating_mul(3600)),
        'M' => Duration::from_secs(count.saturating_mul(60)),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return Err(invalid()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn the_token_and_named_metadata_pass_and_nothing_else() {
        let sent = headers(&[
            ("authorization", "t"),
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-", "no name"),
            ("cookie", "c"),
            ("content-type", "application/json"),
        ]);
        let passed = metadata(&sent).into_headers();
        assert_eq!(passed, headers(&[("authorization", "t"), ("hasleader", "true")]));
    }

    #[test]
    fn timeouts_have_a_unit() {
        let read = |text| timeout(&headers(&[("grpc-timeout", text)])).map_err(|status| status.message().to_owned());
        assert_eq!(read("2H"), Ok(Some(Duration::from_secs(7200))));
        assert_eq!(read("1M"), Ok(Some(Duration::from_secs(60))));
        assert_eq!(read("7n"), Ok(Some(Duration::from_nanos(7))));
        assert_eq!(read("18446744073709551615H"), Ok(Some(Duration::from_secs(u64::MAX))));
        assert_eq!(timeout(&HeaderMap::new()).expect("none"), None);
        for wrong in ["", "5", "S", "5x", "-5S", "5 S", "99999999999999999999S"] {
            assert_eq!(read(wrong), Err(format!("invalid grpc-timeout: {wrong}")));
        }
    }
}
