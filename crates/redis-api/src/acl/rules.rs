//! The rules that make a user: what `ACL SETUSER` takes, one word each, and what `ACL LIST` shows.

use super::commands::Commands;
use super::patterns::Pattern;
use super::user::{Password, User};
use crate::engine::level::Level;

const SYNTAX: &str = "Syntax error";
const UNKNOWN: &str = "Unknown command or category name in ACL";
const HASH: &str = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
const NO_PASSWORD: &str = "The password you are trying to remove from the user does not exist";
const AFTER_ALL_KEYS: &str = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
                              Try 'resetkeys' to start with an empty list of patterns";
const AFTER_ALL_CHANNELS: &str = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. \
                                  Try 'resetchannels' to start with an empty list of channels";
const SELECTORS: &str = "Selectors are not supported here: give each set of rights to a user of its own";
const LEVEL: &str = "There is no such level: consistency=eventual, session, causal or strong";

/// A user who has no more than so many of anything.
const MOST: usize = 4096;
const TOO_MANY: &str = "The user has too many of them already";

impl User {
    /// Takes a rule to heart.
    ///
    /// # Errors
    /// Why it is none. Nothing has changed then.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), &'static str> {
        let lower = rule.to_ascii_lowercase();
        match lower.as_slice() {
            b"on" => self.is_on = true,
            b"off" => self.is_on = false,
            b"sanitize-payload" => self.sanitizes = Some(true),
            b"skip-sanitize-payload" => self.sanitizes = Some(false),
            b"nopass" => {
                self.needs_no_password = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.needs_no_password = false;
                self.passwords.clear();
            }
            b"allkeys" => self.keys = vec![Pattern::all()],
            b"resetkeys" => self.keys.clear(),
            b"allchannels" => self.channels = vec![b"*".to_vec()],
            b"resetchannels" => self.channels.clear(),
            b"allcommands" => self.commands = Commands::all(true),
            b"nocommands" => self.commands = Commands::all(false),
            b"clearselectors" => {}
            b"reset" => *self = User { sanitizes: Some(true), ..User::new(&self.name) },
            _ => return self.apply_with_sign(rule, &lower),
        }
        Ok(())
    }

    fn apply_with_sign(&mut self, rule: &[u8], lower: &[u8]) -> Result<(), &'static str> {
        if let Some(level) = lower.strip_prefix(b"consistency=") {
            self.level = Some(Level::named(level).ok_or(LEVEL)?);
            return Ok(());
        }
        let Some((sign, rest)) = rule.split_first() else { return Err(SYNTAX) };
        match sign {
            b'>' => self.add_password(Password::of(rest)),
            b'#' => self.add_password(Password::of_hash(rest).ok_or(HASH)?),
            b'<' => self.remove_password(Password::of(rest)),
            b'!' => self.remove_password(Password::of_hash(rest).ok_or(HASH)?),
            b'~' | b'%' => self.add_pattern(Pattern::parse(rule).ok_or(SYNTAX)?),
            b'&' => self.add_channel(rest),
            b'+' | b'-' => self.commands.say(*sign == b'+', rest).then_some(()).ok_or(UNKNOWN),
            b'(' => Err(SELECTORS),
            _ => Err(SYNTAX),
        }
    }

    fn add_password(&mut self, password: Password) -> Result<(), &'static str> {
        if self.passwords.len() >= MOST {
            return Err(TOO_MANY);
        }
        if !self.passwords.contains(&password) {
            self.passwords.push(password);
        }
        self.needs_no_password = false;
        Ok(())
    }

    fn remove_password(&mut self, password: Password) -> Result<(), &'static str> {
        let at = self.passwords.iter().position(|held| *held == password).ok_or(NO_PASSWORD)?;
        self.passwords.remove(at);
        Ok(())
    }

    fn add_pattern(&mut self, pattern: Pattern) -> Result<(), &'static str> {
        if pattern.is_all() {
            self.keys = vec![pattern];
        } else if self.has_all_keys() {
            return Err(AFTER_ALL_KEYS);
        } else if self.keys.len() >= MOST {
            return Err(TOO_MANY);
        } else if !self.keys.contains(&pattern) {
            self.keys.push(pattern);
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), &'static str> {
        if pattern == b"*" {
            self.channels.clear();
        } else if self.channels.iter().any(|held| held == b"*") {
            return Err(AFTER_ALL_CHANNELS);
        } else if self.channels.len() >= MOST {
            return Err(TOO_MANY);
        }
        if !self.channels.iter().any(|held| held == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// Its flags.
    pub fn flags(&self) -> Vec<&'static str> {
        let sanitizes = self.sanitizes.map(|sanitizes| if sanitizes { "sanitize-payload" } else { "skip-sanitize-payload" });
        let on = if self.is_on { "on" } else { "off" };
        [Some(on), self.needs_no_password.then_some("nopass"), sanitizes].into_iter().flatten().collect()
    }

    /// The hashes of its passwords.
    pub fn password_hashes(&self) -> impl ExactSizeIterator<Item = String> {
        self.passwords.iter().map(|password| hex::encode(password.bytes()))
    }

    /// The rules of its commands.
    pub fn command_rules(&self) -> String {
        self.commands.rules()
    }

    /// The rules of its keys.
    pub fn key_rules(&self) -> Vec<u8> {
        self.keys.iter().map(Pattern::rule).collect::<Vec<_>>().join(&b' ')
    }

    /// The rules of its channels.
    pub fn channel_rules(&self) -> Vec<u8> {
        self.channels.iter().map(|pattern| [b"&", pattern.as_slice()].concat()).collect::<Vec<_>>().join(&b' ')
    }

    /// The rules that make it of a new user, in one line.
    pub fn rules(&self) -> Vec<u8> {
        let mut rules: Vec<Vec<u8>> = self.flags().into_iter().map(|flag| flag.as_bytes().to_vec()).collect();
        rules.extend(self.password_hashes().map(|hash| format!("#{hash}").into_bytes()));
        rules.extend(self.keys.iter().map(Pattern::rule));
        if !self.channels.iter().any(|pattern| pattern == b"*") {
            rules.push(b"resetchannels".to_vec());
        }
        rules.extend(self.channels.iter().map(|pattern| [b"&", pattern.as_slice()].concat()));
        rules.push(self.command_rules().into_bytes());
        rules.extend(self.level.map(|level| format!("consistency={}", level.name()).into_bytes()));
        rules.join(&b' ')
    }
}
