//! The loop of the Redis port over TLS.

mod redis_common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use redis_common::{Event, PATIENCE, Server};
use rustls::{ClientConnection, StreamOwned};
use steadfast_server::redis::Limits;
use steadfast_server::tls::{DialTrust, Tls, Trust, dialling, self_signed, server_name};

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn serve(limits: Limits) -> (Server, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let files = self_signed(directory.path(), &["127.0.0.1".to_owned()]).unwrap();
    (Server::start(limits, Some(Tls::new(files, Trust::Clients).unwrap())), directory)
}

fn connect(server: &Server) -> Stream {
    let config = dialling(DialTrust::Anyone, None).unwrap();
    let session = ClientConnection::new(config, server_name("127.0.0.1:0").unwrap()).unwrap();
    StreamOwned::new(session, server.connect().stream)
}

fn expect(stream: &mut Stream, text: &str) {
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer == text.as_bytes());
}

#[test]
fn commands_and_answers_of_any_size_go_over_tls() {
    let (server, _directory) = serve(Limits { output_paused_bytes: 10_000, ..Limits::default() });
    let mut stream = connect(&server);
    stream.write_all(b"say a\nsay b\n").unwrap();
    expect(&mut stream, "a\nb\n");
    // More than all buffers on the way hold, both ways.
    stream.write_all(format!("blob 3000000\n{}", "b".repeat(3_000_000)).as_bytes()).unwrap();
    stream.write_all(b"big 30000000\nbig 100\nsay c\n").unwrap();
    expect(&mut stream, &format!("3000000\n{}\n{}\nc\n", "x".repeat(30_000_000), "x".repeat(100)));
    stream.write_all(b"quit\n").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the end is said, not only there");
    assert_eq!(rest, b"\n");
    server.wait_for(Event::Closed(1));
}

#[test]
fn held_answers_go_over_tls_when_their_mark_is_reached() {
    let (server, _directory) = serve(Limits::default());
    let (mut writer, mut other) = (connect(&server), connect(&server));
    writer.write_all(b"say first\nwrite a\n").unwrap();
    expect(&mut writer, "first\n");
    server.wait_for(Event::Turn(1));
    other.write_all(b"say b\n").unwrap();
    expect(&mut other, "b\n");
    server.reach(1);
    expect(&mut writer, "a\n");
}

#[test]
fn half_an_end_is_answered() {
    let (server, _directory) = serve(Limits::default());
    let mut stream = connect(&server);
    stream.write_all(b"say a\n").unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"a\n");
}

#[test]
fn who_speaks_plain_text_or_nothing_at_all_is_shown_out() {
    let (server, _directory) = serve(Limits { handshake: Duration::from_millis(1), ..Limits::default() });
    let mut plain = server.connect();
    plain.send("say a\n");
    // What comes is an alert.
    let rest = plain.rest();
    assert!(rest.len() < 20 && !rest.contains(&b'a'), "{rest:?}");
    let mut silent = server.connect();
    assert_eq!(silent.rest(), b"");
    let half = server.connect();
    half.stream.shutdown(Shutdown::Write).unwrap();
    let mut gone = 0;
    while gone < 3 {
        gone += usize::from(matches!(server.events.recv_timeout(PATIENCE).unwrap(), Event::Closed(_)));
    }
}
