//! One HTTP request to a node's admin port.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The most that is read of an answer, bytes.
const ANSWER_BYTES: u64 = 64 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The status code and the body of the answer.
pub(super) async fn call(address: &str, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let what = || format!("{method} http://{address}{path}");
    let answer = tokio::time::timeout(PATIENCE, exchange).await.with_context(what)?.with_context(what)?;
    parse(&String::from_utf8_lossy(&answer)).with_context(what)
}

/// The same without a runtime and without the answer, for a process that is about to end.
pub(super) fn call_at_once(address: &str, method: &str, path: &str) -> Result<()> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes())?;
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(stream, ANSWER_BYTES), &mut answer)?;
    match parse(&String::from_utf8_lossy(&answer))? {
        (200, _) => Ok(()),
        (code, text) => bail!("status {code}: {}", text.trim()),
    }
}

fn parse(answer: &str) -> Result<(u16, String)> {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("the answer is no HTTP") };
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer has no status")?;
    Ok((code, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_a_body() {
        assert_eq!(parse("HTTP/1.1 404 Not Found\r\na: b\r\n\r\nbody").expect("HTTP"), (404, "body".into()));
        parse("hello").expect_err("no HTTP");
        parse("a b c\r\n\r\n").expect_err("no status");
    }
}
