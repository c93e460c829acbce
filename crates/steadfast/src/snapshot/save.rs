//! `steadfast snapshot save`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use steadfast_etcd_api::proto::etcdserverpb::SnapshotRequest;
use steadfast_etcd_api::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use steadfast_snapshots::seal::{SEAL_BYTES, Seal, Sealed, is_sealed};
use tempfile::NamedTempFile;

use crate::client::{self, read_error};
use crate::endpoints::Cluster;
use crate::show;

#[derive(Args, Debug)]
pub(super) struct SaveArgs {
    /// Where to; a file of that name is replaced when the snapshot is complete
    file: PathBuf,
    #[command(flatten)]
    cluster: Cluster,
}

/// Asks one node for a snapshot. What is not complete leaves no file.
pub(super) async fn run(args: &SaveArgs) -> Result<()> {
    let parent = args.file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = args.file.display();
    let file = NamedTempFile::new_in(parent).with_context(|| format!("making a file in {}", parent.display()))?;
    let bytes = tokio::select! {
        received = receive(args, &file) => received?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            bail!("interrupted; {place} is not written")
        }
    };
    file.as_file().sync_all().with_context(|| format!("writing {place}"))?;
    file.persist(&args.file).with_context(|| format!("writing {place}"))?;
    std::fs::File::open(parent)?.sync_all()?;
    show::print(format!("{place}: {}, complete and checked.", show::size(bytes)))?;
    Ok(())
}

/// Writes what comes, and compares the hash at its end; how many bytes it was.
async fn receive(args: &SaveArgs, file: &NamedTempFile) -> Result<u64> {
    let writing = || format!("writing {}", args.file.display());
    let channel = client::open(&args.cluster).await?;
    let mut maintenance = MaintenanceClient::new(channel);
    let mut messages = maintenance.snapshot(SnapshotRequest {}).await.map_err(read_error)?.into_inner();
    let mut out = BufWriter::with_capacity(1 << 20, file.as_file());
    let bar = super::bar("receiving");
    let (mut seal, mut end, mut bytes) = (Seal::default(), Vec::new(), 0);
    while let Some(message) = messages.message().await.map_err(read_error)? {
        out.write_all(&message.blob).with_context(writing)?;
        bytes += message.blob.len() as u64;
        bar.set_length(bytes + message.remaining_bytes);
        bar.set_position(bytes);
        // The last bytes may be the hash, so they wait.
        end.extend_from_slice(&message.blob);
        let seen = end.len().saturating_sub(SEAL_BYTES);
        seal.update(&end[..seen]);
        end.drain(..seen);
    }
    out.flush().with_context(writing)?;
    bar.finish_and_clear();
    if is_sealed(bytes) != Some(Sealed::Yes) || end != seal.finish() {
        bail!("the snapshot came damaged or cut short ({bytes} bytes); {} is not written: try again", args.file.display());
    }
    Ok(bytes)
}
