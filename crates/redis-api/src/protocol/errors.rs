//! The texts of error answers, all in one place: clients compare them, so they are Redis's to the letter.

use std::borrow::Cow;

/// What a command failed with: a code, a blank and a text, as they go over the wire. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Cow<'static, [u8]>);

impl Failure {
    /// A failure that is always the same.
    pub const fn new(text: &'static str) -> Self {
        Failure(Cow::Borrowed(text.as_bytes()))
    }

    /// A failure whose text is made of what was asked.
    pub fn of(text: impl Into<Vec<u8>>) -> Self {
        Failure(Cow::Owned(text.into()))
    }

    /// The text.
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}

macro_rules! failures {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)*) => {
        $($(#[doc = $doc])* pub const $name: Failure = Failure::new($text);)*
    };
}

failures! {
    /// The key holds another type.
    WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
    /// No integer where one is wanted.
    NOT_INTEGER = "ERR value is not an integer or out of range";
    /// No float where one is wanted.
    NOT_FLOAT = "ERR value is not a valid float";
    /// Options that do not go together, or are none.
    SYNTAX = "ERR syntax error";
    /// A sum that does not fit.
    OVERFLOW = "ERR increment or decrement would overflow";
    /// A negative count that is too great.
    DECREMENT_OVERFLOW = "ERR decrement would overflow";
    /// A float sum that is none.
    NOT_A_NUMBER = "ERR increment would produce NaN or Infinity";
    /// A score that is none.
    SCORE_NOT_A_NUMBER = "ERR resulting score is not a number (NaN)";
    /// A field that holds no integer.
    HASH_NOT_INTEGER = "ERR hash value is not an integer";
    /// A field that holds no float.
    HASH_NOT_FLOAT = "ERR hash value is not a float";
    /// A key that must be there.
    NO_SUCH_KEY = "ERR no such key";
    /// A place outside a list.
    INDEX = "ERR index out of range";
    /// A number out of its range.
    OUT_OF_RANGE = "ERR value is out of range";
    /// A negative number.
    NOT_POSITIVE = "ERR value is out of range, must be positive";
    /// A place before a string.
    OFFSET = "ERR offset is out of range";
    /// A place before a string, or after the longest.
    BIT_OFFSET = "ERR bit offset is not an integer or out of range";
    /// Neither 0 nor 1.
    BIT = "ERR bit is not an integer or out of range";
    /// Neither 0 nor 1.
    BIT_WANTED = "ERR The bit argument must be 1 or 0.";
    /// A negation of several strings.
    NOT_OF_ONE = "ERR BITOP NOT must be called with a single source key.";
    /// A string that would be too long.
    TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    /// A cursor that no scan gave.
    CURSOR = "ERR invalid cursor";
    /// No range of scores.
    SCORE_RANGE = "ERR min or max is not a float";
    /// No range of members.
    LEX_RANGE = "ERR min or max not valid string range item";
    /// The connection has to authenticate.
    NO_AUTH = "NOAUTH Authentication required.";
    /// A wrong password.
    WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled.";
    /// A password where none is known.
    NO_PASSWORD = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
    /// The connection has to authenticate before it says hello.
    HELLO_NO_AUTH = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";
    /// A protocol version there is not.
    NO_PROTOCOL = "NOPROTO unsupported protocol version";
    /// No number of a protocol version.
    PROTOCOL_NUMBER = "ERR Protocol version is not an integer or out of range";
    /// A name with blanks.
    CLIENT_NAME = "ERR Client names cannot contain spaces, newlines or special characters.";
    /// There is one database.
    DATABASE = "ERR DB index is out of range";
    /// A transaction within a transaction.
    NESTED_MULTI = "ERR MULTI calls can not be nested";
    /// Keys are watched before the transaction begins.
    WATCH_IN_MULTI = "ERR WATCH inside MULTI is not allowed";
    /// There is no transaction.
    EXEC_WITHOUT_MULTI = "ERR EXEC without MULTI";
    /// There is no transaction.
    DISCARD_WITHOUT_MULTI = "ERR DISCARD without MULTI";
    /// A command of the transaction was refused.
    EXEC_ABORTED = "EXECABORT Transaction discarded because of previous errors.";
    /// A transaction with too many commands.
    TRANSACTION_TOO_LONG = "ERR transaction is too long";
    /// A key onto itself.
    SAME_OBJECT = "ERR source and destination objects are the same";
    /// No key to count.
    NO_KEYS = "ERR numkeys should be greater than 0";
    /// More keys than arguments.
    TOO_MANY_KEYS = "ERR Number of keys can't be greater than number of args";
    /// A count of none.
    NO_COUNT = "ERR count should be greater than 0";
    /// A limit below 0.
    NEGATIVE_LIMIT = "ERR LIMIT can't be negative";
    /// A weight that is none.
    WEIGHT = "ERR weight value is not a float";
    /// Options of `ZADD`.
    XX_AND_NX = "ERR XX and NX options at the same time are not compatible";
    /// Options of `ZADD`.
    GT_LT_NX = "ERR GT, LT, and/or NX options at the same time are not compatible";
    /// Options of `ZADD`.
    INCR_PAIRS = "ERR INCR option supports a single increment-element pair";
    /// Options of `ZRANGE`.
    LIMIT_NEEDS_RANGE = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
    /// Options of `ZRANGE`.
    SCORES_WITH_LEX = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";
    /// Options of `EXPIRE`.
    NX_ALONE = "ERR NX and XX, GT or LT options at the same time are not compatible";
    /// Options of `EXPIRE`.
    GT_AND_LT = "ERR GT and LT options at the same time are not compatible";
    /// Options of `LPOS`.
    RANK_ZERO = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list";
    /// Options of `LPOS`.
    NEGATIVE_COUNT = "ERR COUNT can't be negative";
    /// Options of `LPOS`.
    NEGATIVE_MAXLEN = "ERR MAXLEN can't be negative";
    /// Options of `LCS`.
    LCS_BOTH = "ERR If you want both the length and indexes, please just use IDX.";
    /// Keys of `LCS`.
    LCS_TYPE = "ERR The specified keys must contain string values";
    /// A command without keys.
    NO_KEY_ARGUMENTS = "ERR The command has no key arguments";
    /// No command at all.
    INVALID_COMMAND = "ERR Invalid command specified";
    /// Arguments of another number.
    INVALID_ARGUMENTS = "ERR Invalid number of arguments specified for command";
    /// Arguments that do not say where the keys are.
    INVALID_KEYS = "ERR Invalid arguments specified for command";
    /// A number of a connection.
    CLIENT_ID = "ERR Invalid client ID";
    /// A number of a connection.
    CLIENT_ID_ZERO = "ERR client-id should be greater than 0";
    /// A connection there is not.
    NO_SUCH_CLIENT = "ERR No such client";
    /// A time-out below 0.
    NEGATIVE_TIMEOUT = "ERR timeout is negative";
    /// No time-out.
    TIMEOUT = "ERR timeout is not an integer or out of range";
    /// Use is not counted.
    NO_FREQUENCY = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
    /// A key that the user may not touch.
    KEY_NOT_PERMITTED = "NOPERM this user has no permissions to access one of the keys used as arguments";
    /// A name of a user with blanks.
    USER_NAME = "ERR Usernames can't contain spaces or null characters";
    /// The user that connections are which do not say who they are.
    DEFAULT_STAYS = "ERR The 'default' user cannot be removed";
    /// A length of a password.
    PASSWORD_BITS = "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096";
    /// Users are not in a file.
    NO_ACL_FILE = "ERR there is no ACL file here: ACL SETUSER and ACL DELUSER are all it takes";
    /// A transaction at the level strong.
    STRONG_TRANSACTION = "NOTSTRONG transactions are not strong: use CONSISTENCY SET causal before MULTI, or commands one by one";
    /// A command of all keys at the level strong.
    STRONG_WITHOUT_KEY = "NOTSTRONG the level strong is one of single keys, and the command names none: use the level causal";
    /// A level for one command, within a transaction.
    WITH_IN_MULTI = "ERR CONSISTENCY WITH inside MULTI is not allowed: a transaction has one level, the connection's at EXEC";
    /// A change of users, within a transaction.
    USERS_IN_MULTI = "ERR users are the same on all nodes and not changed inside MULTI: use ACL SETUSER and ACL DELUSER before it or after it";
    /// A change of users that never began.
    USERS_BUSY = "ERR the users are as they were: too many changes of them wait; try again";
    /// A change of users of which it is not known whether it was made.
    USERS_UNKNOWN = "UNKNOWN whether the users were changed is not known: no majority of the nodes has said so in time; ACL LIST tells, once there is one (see `steadfast status`)";
    /// Settings come from elsewhere.
    NO_CONFIG_FILE = "ERR The server is running without a config file";
}

/// A command that the user may not run.
pub fn command_not_permitted(full_name: &str) -> Failure {
    Failure::of(format!("NOPERM this user has no permissions to run the '{full_name}' command"))
}

/// A command of a transaction that the user may not run any more.
pub fn not_permitted_any_more(is_key: bool) -> Failure {
    let reason = if is_key { "no permission to touch the specified keys" } else { "no permission to execute the command or subcommand" };
    Failure::of(format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. \
         This command is no longer allowed for the following reason: {reason}"
    ))
}

/// No rule of a user, and why.
pub fn not_a_rule(rule: &[u8], why: &str) -> Failure {
    Failure::of([b"ERR Error in ACL SETUSER modifier '", rule, b"': ", why.as_bytes()].concat())
}

/// Too many wrong passwords came from where the connection comes from.
pub fn too_many_passwords(seconds: u64) -> Failure {
    Failure::of(format!("WRONGPASS too many wrong passwords came from your address: try again in {seconds} s"))
}

/// No user of this name.
pub fn no_such_user(name: &[u8]) -> Failure {
    Failure::of([b"ERR User '", name, b"' not found"].concat())
}

/// No command of this name.
pub fn no_such_command(name: &[u8]) -> Failure {
    Failure::of([b"ERR Command '", name, b"' not found"].concat())
}

/// No category of this name.
pub fn no_such_category(name: &[u8]) -> Failure {
    Failure::of([b"ERR Unknown category '", name, b"'"].concat())
}

/// No level of consistency.
pub fn not_a_level(name: &[u8]) -> Failure {
    Failure::of([b"ERR '", name, b"' is no level: eventual, session, causal or strong"].concat())
}

/// No mode of replication.
pub fn not_a_replication(name: &[u8]) -> Failure {
    Failure::of([b"ERR '", name, b"' is no mode of replication: async, semi-sync k or sync"].concat())
}

/// No number of replicas.
pub fn not_a_count_of_replicas(count: &[u8]) -> Failure {
    Failure::of([b"ERR semi-sync waits for 1 replica or more, not '", count, b"': for none there is async, for all sync"].concat())
}

/// No token. It may be long.
pub fn not_a_token(text: &[u8]) -> Failure {
    let shown = &text[..text.len().min(40)];
    Failure::of([b"ERR '", shown, b"' is no token: SESSION TOKEN gives one"].concat())
}

/// A command that no level makes a difference to.
pub fn not_of_data(name: &str) -> Failure {
    Failure::of(format!("ERR CONSISTENCY WITH runs commands that read or write keys, and '{name}' does not: send it by itself"))
}

/// A key that is no register, at the level strong.
pub fn not_strong(key: &[u8]) -> Failure {
    let remedy = b"' is under no strong prefix: make one of its prefixes strong in the cluster's strong state, or use the level causal";
    Failure::of([b"NOTSTRONG '", key, remedy].concat())
}

/// A key that is about to become a register.
pub fn becoming_strong(key: &[u8]) -> Failure {
    Failure::of([b"TRYAGAIN '", key, b"' is under a prefix that is being made strong: until all replicas know, nobody uses it"].concat())
}

/// A strong request that changed nothing, since no majority answered in time.
pub fn no_quorum(timeout_ms: u64) -> Failure {
    let remedy = "nothing was changed: try again, or at another node";
    Failure::of(format!("NOQUORUM no majority of the key's replicas took part in {timeout_ms} ms, and {remedy}"))
}

/// A strong request whose outcome is not known.
pub fn unknown_outcome(held_by: usize, of: usize, timeout_ms: u64) -> Failure {
    let remedy = "it may have taken effect, or may yet, once: read the key";
    Failure::of(format!(
        "UNKNOWN {held_by} of {of} replicas are known to hold this write after {timeout_ms} ms, and its outcome is unknown: {remedy}"
    ))
}

/// More strong requests wait than may.
pub const STRONG_BUSY: Failure =
    Failure::new("TRYAGAIN too many requests of strong keys wait at this node, or for this key; nothing was changed");

/// The name of a strong key is too long.
pub fn strong_key_too_long(most: usize) -> Failure {
    Failure::of(format!("ERR the name of a strong key has {most} bytes at most"))
}

/// The value of a strong key would be too large.
pub fn strong_value_too_large(most: usize) -> Failure {
    Failure::of(format!("ERR the value of a strong key, with all its elements, has {most} bytes at most; nothing was changed"))
}

/// A strong key's value was written by another version of this program.
pub const STRONG_VALUE_UNKNOWN: Failure =
    Failure::new("ERR the value of this strong key is none that this version knows: run the version that wrote it");

/// A register together with other keys.
pub fn register_with_others(key: &[u8]) -> Failure {
    Failure::of(
        [b"NOTSTRONG '", key, b"' is under a strong prefix, and such keys are read and written one by one: name no other key"].concat(),
    )
}

/// A register in a transaction.
pub fn register_in_transaction(key: &[u8]) -> Failure {
    Failure::of(
        [b"NOTSTRONG '", key, b"' is under a strong prefix, and such keys are no part of transactions: use it outside of MULTI"].concat(),
    )
}

/// What the token says did not come in time.
pub fn behind(timeout_ms: u64) -> Failure {
    let remedy = "try again, ask the replica that gave the token, or use CONSISTENCY SET eventual";
    Failure::of(format!("BEHIND this replica has not seen all that the connection's token says after {timeout_ms} ms: {remedy}"))
}

/// A write that too few replicas acknowledged in time.
pub fn unacknowledged(holding: usize, wanted: usize, timeout_ms: u64) -> Failure {
    let outcome = "its outcome is unknown: it is kept unless this replica is lost before the others have it";
    Failure::of(format!("NOREPLICAS {holding} of {wanted} other replicas hold this write after {timeout_ms} ms, and {outcome}"))
}

/// A command there is not, with what it was given.
pub fn unknown_command<'a>(name: &[u8], arguments: impl Iterator<Item = &'a [u8]>) -> Failure {
    /// As much of the name, and of all arguments, is shown.
    const SHOWN: usize = 128;
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(&name[..name.len().min(SHOWN)]);
    text.extend_from_slice(b"', with args beginning with: ");
    let start = text.len();
    for argument in arguments {
        let left = SHOWN.saturating_sub(text.len() - start);
        if left == 0 {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(&argument[..argument.len().min(left)]);
        text.extend_from_slice(b"' ");
    }
    Failure::of(text)
}

/// A subcommand there is not.
pub fn unknown_subcommand(command: &str, subcommand: &[u8]) -> Failure {
    /// As much of the name is shown.
    const SHOWN: usize = 128;
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(&subcommand[..subcommand.len().min(SHOWN)]);
    text.extend_from_slice(format!("'. Try {} HELP.", command.to_ascii_uppercase()).as_bytes());
    Failure::of(text)
}

/// Too few or too many arguments; `full_name` is `get` or `config|get`.
pub fn wrong_arity(full_name: &str) -> Failure {
    Failure::of(format!("ERR wrong number of arguments for '{full_name}' command"))
}

/// A command that Redis has and this server has not.
pub fn unsupported(name: &str, reason: &str) -> Failure {
    Failure::of(format!("ERR {} is not supported here: {reason}", name.to_ascii_uppercase()))
}

/// A transaction that is given up because `EXEC` itself was wrong.
pub fn exec_aborted(failure: &Failure) -> Failure {
    let text = failure.text();
    Failure::of([b"EXECABORT Transaction discarded because of: ", text.strip_prefix(b"ERR ").unwrap_or(text)].concat())
}

/// A deadline that cannot be.
pub fn invalid_expire(name: &str) -> Failure {
    Failure::of(format!("ERR invalid expire time in '{name}' command"))
}
