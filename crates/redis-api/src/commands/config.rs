//! `CONFIG`: the settings of the process.

use crate::engine::call::{Call, Outcome};
use crate::engine::host::SettingError;
use crate::protocol::errors::{Failure, NO_CONFIG_FILE, wrong_arity};
use crate::protocol::glob;

pub(super) fn get(call: &mut Call<'_>) -> Outcome {
    let patterns = call.arguments.from(2);
    let mut settings = call.host.settings();
    settings.retain(|(name, _)| patterns.iter().any(|pattern| glob::matches(pattern, name.as_bytes(), true)));
    call.reply.map(settings.len());
    for (name, value) in settings {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    Ok(())
}

pub(super) fn set(call: &mut Call<'_>) -> Outcome {
    if !call.len().is_multiple_of(2) {
        return Err(wrong_arity("config|set"));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut changes: Vec<(String, String)> = Vec::new();
    for (name, value) in call.pairs(2)? {
        let name = text(name).to_ascii_lowercase();
        if changes.iter().any(|(known, _)| *known == name) {
            return Err(failed(&name, "duplicate parameter"));
        }
        changes.push((name, text(value)));
    }
    call.host.change_settings(&changes).map_err(|(name, error)| match error {
        SettingError::Unknown => Failure::of(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")),
        SettingError::Immutable => failed(&name, "can't set immutable config"),
        SettingError::Invalid(reason) => failed(&name, &reason),
    })?;
    call.reply.ok();
    Ok(())
}

fn failed(name: &str, reason: &str) -> Failure {
    Failure::of(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
}

pub(super) fn resetstat(call: &mut Call<'_>) -> Outcome {
    call.host.reset_counts();
    call.reply.ok();
    Ok(())
}

pub(super) fn rewrite(_call: &mut Call<'_>) -> Outcome {
    Err(NO_CONFIG_FILE)
}
