//! What `HELP` answers: the subcommands and what they do.

use crate::commands::table;
use crate::engine::call::{Call, Outcome};

pub(super) fn help(call: &mut Call<'_>) -> Outcome {
    let Some(command) = table::find(call.argument(0)) else { return Ok(()) };
    let supported = || command.subcommands.iter().filter(|subcommand| !subcommand.summary.starts_with("Not supported"));
    call.reply.array(1 + 2 * supported().count());
    call.reply.simple(&format!("{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", command.name.to_ascii_uppercase()));
    for subcommand in supported() {
        call.reply.simple(&subcommand.name.to_ascii_uppercase());
        call.reply.simple(&format!("    {}", subcommand.summary));
    }
    Ok(())
}
