//! `steadfast recovery force`: a cluster whose quorum is lost for good begins anew, as the one member whose disk is left. It says what may be lost, and
//! does nothing until the operator has said that this is accepted, in a word that only this state of this disk has.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use steadfast_server::quorum_loss::LastMember;
use steadfast_types::Configuration;

use crate::show;
use crate::usage::UsageError;

/// What `steadfast recovery force` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
For when more voters are lost, with their disks, than a majority can spare. If enough machines can be
brought back with their disks, bring them back instead: nothing is lost then.

Run it on each disk that is left, and take the one with the greatest last entry. The first call shows
what may be lost and changes nothing; it prints the word that the second one needs. All other members
must be stopped, and never be started again with their old directories.

Examples:
  steadfast recovery force --data-dir /var/lib/steadfast
  steadfast recovery force --data-dir /var/lib/steadfast --accept-loss n1-1042-7")]
pub(crate) struct ForceArgs {
    /// The data directory of a member that does not run
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The word that the first call printed
    #[arg(long, value_name = "WORD")]
    accept_loss: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Shows what may be lost, or begins anew.
pub(crate) fn run(args: &ForceArgs) -> Result<()> {
    let member = LastMember::open(&args.data_dir).context("this directory can't begin a cluster anew")?;
    let plan = Plan::of(&member);
    let Some(given) = &args.accept_loss else {
        show::print(if args.json { plan.json().to_string() } else { plan.text(args) })?;
        return Ok(());
    };
    if *given != plan.word {
        return Err(UsageError(format!(
            "--accept-loss {given} is not the word for this disk as it is now: run the command without it, read what may be lost, and give the word that it prints"
        ))
        .into());
    }
    if let [first, ..] = plan.running.as_slice() {
        bail!(
            "{first} still runs and is a member of the same cluster: stop it first, or, if a majority still runs, let the cluster recover by itself"
        );
    }
    let name = member.identity().name.clone();
    let (cluster, begun) = member.begin_anew()?;
    if args.json {
        show::print(
            json!({"name": name, "cluster": cluster.to_string(), "revision": begun.revision.0, "last_entry": begun.position.index.0}),
        )?;
        return Ok(());
    }
    show::print(format!(
        "{name} is now the only member of the new cluster {cluster}, at revision {}. Start it as before. Then empty the directories of the other\nmachines, and for each: {} member add NAME --peer ADDR, and start it with the command that is printed.",
        begun.revision.0,
        show::program(),
    ))?;
    Ok(())
}

/// What there is, and what would be lost.
struct Plan {
    name: String,
    cluster: String,
    voters: Vec<String>,
    index: u64,
    term: u64,
    suspect: bool,
    running: Vec<String>,
    spare: usize,
    word: String,
}

impl Plan {
    fn of(member: &LastMember) -> Self {
        let survivor = member.survivor();
        let name = member.identity().name.clone();
        let configuration = &survivor.configuration;
        Plan {
            cluster: member.cluster().to_string(),
            voters: configuration.voters.union(&configuration.outgoing).map(|id| member.name_of(*id)).collect(),
            index: survivor.last.index.0,
            term: survivor.last.term.0,
            suspect: survivor.suspect,
            running: member.running(),
            spare: spare(configuration),
            word: format!("{name}-{}-{}", survivor.last.index, survivor.last.term),
            name,
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "name": self.name, "cluster": self.cluster, "voters": self.voters, "last_entry": {"index": self.index, "term": self.term},
            "suspect": self.suspect, "running": self.running, "disks_that_hold_everything": self.spare + 1, "accept_loss": self.word,
        })
    }

    fn text(&self, args: &ForceArgs) -> String {
        let Plan { name, cluster, voters, index, term, .. } = self;
        let (all, needed) = (voters.len(), self.spare + 1);
        let mut lines = vec![
            format!("{name}, a member of the cluster {cluster} with {all} voters: {}.", voters.join(", ")),
            format!("Its last entry: {index} of term {term}."),
            String::new(),
            "If the cluster begins anew from this disk alone:".into(),
        ];
        lines.push(match needed {
            0 | 1 => "- Nothing that was acknowledged is lost: this disk has all of it.".into(),
            _ => format!(
                "- LOST: whatever was acknowledged after entry {index} and reached only other members. An acknowledged write is on {} of\n  {all} voters, not on all. With the disks of any {needed} voters at hand, the one with the greatest last entry (term first, then\n  number) has everything that was acknowledged: compare them before you go on.",
                all - self.spare
            ),
        });
        if self.suspect {
            lines.push("- This disk may have lost the end of its own log in a crash: what it acknowledged there may be lost, too.".into());
        }
        lines.push("- What stands in its log unacknowledged is kept: a client that got an error may find its write done.".into());
        lines.push(
            "- The other members' directories are of no more use. Never start them again: empty them, and add the machines as new members."
                .into(),
        );
        lines.push(
            "- Clients see another cluster id. Leases run on with their full time. Keys, revisions, users and roles stay as they are."
                .into(),
        );
        lines.push(String::new());
        match self.running.as_slice() {
            [] => {
                let directory = show::shell_word(&args.data_dir.display().to_string());
                lines.push("Nothing has been changed. To go on:".into());
                lines.push(format!(
                    "  {} recovery force --data-dir {directory} --accept-loss {}",
                    show::program(),
                    show::shell_word(&self.word)
                ));
            }
            running => lines.push(format!("Nothing has been changed. First stop {}: it still runs.", running.join(", "))),
        }
        lines.join("\n")
    }
}

/// How many voters may lack what was acknowledged.
fn spare(configuration: &Configuration) -> usize {
    let of_half = |voters: usize| voters.saturating_sub(1) / 2;
    of_half(configuration.voters.len()) + of_half(configuration.outgoing.len())
}
