//! `steadfast snapshot status`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use steadfast_server::restore::SnapshotFile;
use steadfast_snapshots::seal::Sealed;
use steadfast_snapshots::{Hashed, summarize};

use crate::show;

#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// The snapshot
    file: PathBuf,
    /// Take a file that does not end with its SHA-256, or with a wrong one
    #[arg(long)]
    skip_hash_check: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Reads all of it, and so checks every page.
pub(super) fn run(args: &StatusArgs) -> Result<()> {
    let bar = super::bar("checking");
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let snapshot = SnapshotFile::open(&args.file, args.skip_hash_check, &mut progress)?;
    bar.set_message("reading");
    let summary = summarize(&snapshot.pages()?, Hashed::Everything, &mut |done| progress(done, snapshot.bytes()));
    let summary = summary.map_err(|reason| snapshot.content(reason))?;
    bar.finish_and_clear();
    let hash = format!("{:08x}", summary.hash);
    if args.json {
        show::print(json!({
            "hash": hash,
            "revision": summary.revision,
            "total_keys": summary.total_keys,
            "total_bytes": summary.total_bytes,
            "sealed": snapshot.sealed() == Sealed::Yes,
        }))?;
        return Ok(());
    }
    let row = vec![hash, summary.revision.to_string(), summary.total_keys.to_string(), show::size(summary.total_bytes)];
    show::print(show::table(&["HASH", "REVISION", "TOTAL KEYS", "SIZE"], &["REVISION", "TOTAL KEYS", "SIZE"], [row]))?;
    Ok(())
}
