//! A client of the Redis protocol that sees answers as they are.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Text(String),
    Error(String),
    Integer(i64),
    Nothing,
    Many(Vec<Answer>),
}

/// A connection.
pub struct Redis(BufReader<TcpStream>);

impl Redis {
    pub fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        Ok(Redis(BufReader::new(stream)))
    }

    /// The answer to a command, whose words are separated by blanks. An error: the connection ended, and its outcome is unknown.
    pub fn ask(&mut self, command: &str) -> io::Result<Answer> {
        let words: Vec<&str> = command.split(' ').collect();
        let mut request = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| request += &format!("${}\r\n{word}\r\n", word.len()));
        self.0.get_mut().write_all(request.as_bytes())?;
        self.read()
    }

    fn read(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (kind, rest) = line.trim_end().split_at(1);
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match kind {
            "+" => Answer::Text(rest.to_owned()),
            "-" => Answer::Error(rest.to_owned()),
            ":" => Answer::Integer(number()?),
            "$" if number()? < 0 => Answer::Nothing,
            "$" => {
                let mut bytes = vec![0; usize::try_from(number()?).map_err(io::Error::other)? + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Answer::Text(String::from_utf8(bytes).map_err(io::Error::other)?)
            }
            "*" => Answer::Many((0..number()?.max(0)).map(|_| self.read()).collect::<io::Result<_>>()?),
            _ => return Err(io::Error::other(format!("an answer that begins with {kind}"))),
        })
    }
}
