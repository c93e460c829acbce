//! A real Redis server of a test's own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::resp::{Value, parse};

/// A server that keeps nothing, and listens in a directory of its own.
#[derive(Debug)]
pub struct RedisServer {
    process: Child,
    directory: TempDir,
}

impl RedisServer {
    pub fn start() -> Self {
        let program =
            std::env::var("REDIS_SERVER").expect("REDIS_SERVER is the path of redis-server 7.0.15 (Debian's package redis-server)");
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket");
        let mut command = Command::new(&program);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--loglevel", "notice"]).arg("--unixsocket").arg(&socket);
        let mut process =
            command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("redis-server starts");
        // It says so once it listens; its later words are thrown away with the pipe's other end kept open.
        let mut out = process.stdout.take().expect("it was asked for");
        let mut said = Vec::new();
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&said).contains("ready to accept connections at") {
            let read = out.read(&mut chunk).expect("its words");
            assert!(read > 0, "{program} ended: {}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&chunk[..read]);
        }
        process.stdout = Some(out);
        RedisServer { process, directory }
    }

    pub fn connect(&self) -> Redis {
        Redis { stream: UnixStream::connect(self.directory.path().join("socket")).expect("the server listens"), bytes: Vec::new() }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection to the real server.
#[derive(Debug)]
pub struct Redis {
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl Redis {
    pub fn call(&mut self, command: &[Vec<u8>]) -> Value {
        let mut request = format!("*{}\r\n", command.len()).into_bytes();
        for argument in command {
            request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            request.extend_from_slice(argument);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&request).expect("sent");
        loop {
            if let Some((value, used)) = parse(&self.bytes) {
                self.bytes.drain(..used);
                return value;
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk).expect("an answer");
            assert!(read > 0, "the server closed the connection after {command:?}");
            self.bytes.extend_from_slice(&chunk[..read]);
        }
    }
}
