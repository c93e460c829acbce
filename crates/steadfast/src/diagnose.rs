//! `steadfast diagnose`: what is known of one node, by itself and by the others, as a readable summary and as a bundle of files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use steadfast_etcd_api::proto::steadfast::v1::cluster_client::ClusterClient;
use steadfast_etcd_api::proto::steadfast::v1::{BundleFile, DiagnoseRequest, StatusRequest};
use tonic::Code;

use crate::endpoints::{Cluster, Endpoint};
use crate::{client, show, user};

/// A server that has not answered at all by then is passed over.
const FIRST_WAIT: Duration = Duration::from_millis(1500);

/// How long a server may take: it waits some seconds for a node that is silent.
const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// The largest bundle that is taken, bytes.
const BUNDLE_BYTES: usize = 32 * 1024 * 1024;

/// The file that is printed.
const SUMMARY: &str = "summary.txt";

/// The file that is printed with `--json`.
const REPORT: &str = "diagnosis.json";

/// What `steadfast diagnose` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Any server is asked; it asks the node itself and all other servers. Of a node that is dead, hung or cut off
it tells what the others know. Passwords, tokens and keys are taken out of all texts; look through
the bundle all the same before you send it to strangers.

Examples:
  steadfast diagnose n2
  steadfast diagnose n2 --output n2.tar.gz
  steadfast diagnose n2 --json | jq -r '.findings[].rule'")]
pub(crate) struct DiagnoseArgs {
    /// The node: its name, or its id in hexadecimal; a server or an agent
    node: String,
    #[command(flatten)]
    cluster: Cluster,
    /// Write all files of the bundle: into a new directory, or into one file if it ends in .tar.gz
    #[arg(long, value_name = "DIR|FILE.tar.gz")]
    output: Option<PathBuf>,
    /// Print the findings and figures as one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints what is known and writes the bundle, if it is asked for.
pub(crate) async fn run(args: &DiagnoseArgs) -> Result<()> {
    // Before anybody is asked: a bundle that can't be written is not worth the wait.
    if let Some(output) = args.output.as_deref().filter(|output| output.exists()) {
        bail!("{} exists already: give --output another name", output.display());
    }
    let files = ask_any(args).await?;
    if let Some(output) = &args.output {
        write(output, &files).with_context(|| format!("writing the bundle to {}", output.display()))?;
    }
    let wanted = if args.json { REPORT } else { SUMMARY };
    let shown = files.iter().find(|file| file.name == wanted).ok_or_else(|| anyhow!("the server's bundle has no {wanted}"))?;
    show::print(shown.text.trim_end())?;
    if let (Some(output), false) = (&args.output, args.json) {
        show::print(format!("\n{} files in {}", files.len(), output.display()))?;
    }
    Ok(())
}

async fn ask_any(args: &DiagnoseArgs) -> Result<Vec<BundleFile>> {
    let mut reasons = Vec::new();
    for endpoint in args.cluster.endpoints()? {
        match tokio::time::timeout(ANSWER_WAIT, ask(args, &endpoint)).await {
            Ok(Ok(files)) => return Ok(files),
            Ok(Err(Refused::ByAll(error))) => return Err(error),
            Ok(Err(Refused::Here(reason))) => reasons.push(format!("{endpoint}: {reason}")),
            Err(_) => reasons.push(format!("{endpoint}: no answer in {} s", ANSWER_WAIT.as_secs())),
        }
    }
    Err(anyhow!("no server tells of the node ({}): give the addresses of running servers with --endpoints", reasons.join("; ")))
}

/// Why a server gave no bundle.
enum Refused {
    /// Another may give one.
    Here(String),
    /// No other will.
    ByAll(anyhow::Error),
}

async fn ask(args: &DiagnoseArgs, endpoint: &Endpoint) -> Result<Vec<BundleFile>, Refused> {
    let here = |error: anyhow::Error| Refused::Here(error.to_string().trim_start_matches(&format!("{endpoint}: ")).to_string());
    let channel = client::connect_patiently(endpoint, ANSWER_WAIT).await.map_err(here)?;
    let link = user::link(channel, args.cluster.user.as_ref()).await.map_err(Refused::ByAll)?;
    // What else is wrong shows in the call itself.
    if tokio::time::timeout(FIRST_WAIT, ClusterClient::new(link.clone()).status(StatusRequest {})).await.is_err() {
        return Err(Refused::Here(format!("no answer in {} ms", FIRST_WAIT.as_millis())));
    }
    let mut client = ClusterClient::new(link).max_decoding_message_size(BUNDLE_BYTES);
    match client.diagnose(DiagnoseRequest { node: args.node.clone() }).await {
        Ok(response) => Ok(response.into_inner().files),
        Err(status) => Err(match status.code() {
            Code::Unimplemented => Refused::Here("answers, but is no Steadfast node that knows of diagnosis".into()),
            Code::NotFound | Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => {
                Refused::ByAll(client::read_error(status))
            }
            _ => Refused::Here(client::in_words(&status)),
        }),
    }
}

/// Only names that are nothing but names: what a server says must not lead out of the directory.
fn safe(file: &BundleFile) -> Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_plain = !file.name.is_empty() && !file.name.starts_with('.') && file.name.chars().all(plain);
    if is_plain { Ok(&file.name) } else { bail!("the server's bundle has a file of the name {:?}", file.name) }
}

fn write(output: &Path, files: &[BundleFile]) -> Result<()> {
    files.iter().try_for_each(|file| safe(file).map(drop))?;
    if output.to_string_lossy().ends_with(".tar.gz") { write_archive(output, files) } else { write_directory(output, files) }
}

fn write_directory(output: &Path, files: &[BundleFile]) -> Result<()> {
    fs::create_dir(output)?;
    for file in files {
        fs::write(output.join(&file.name), &file.text)?;
    }
    Ok(())
}

fn write_archive(output: &Path, files: &[BundleFile]) -> Result<()> {
    let folder = output.file_name().unwrap_or_default().to_string_lossy().trim_end_matches(".tar.gz").to_string();
    let mut archive = tar::Builder::new(GzEncoder::new(fs::File::create_new(output)?, Compression::default()));
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, Path::new(&folder).join(&file.name), file.text.as_bytes())?;
    }
    let mut written = archive.into_inner()?.finish()?;
    Ok(written.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read as _;

    fn file(name: &str, text: &str) -> BundleFile {
        BundleFile { name: name.into(), text: text.into() }
    }

    #[test]
    fn both_forms_hold_all_files() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let files = [file(SUMMARY, "well"), file(REPORT, "{}")];
        let (directory, archive) = (scratch.path().join("n1"), scratch.path().join("n1.tar.gz"));
        write(&directory, &files).expect("written");
        assert_eq!(fs::read_to_string(directory.join(SUMMARY)).expect("there"), "well");
        write(&archive, &files).expect("written");
        let mut unpacked = tar::Archive::new(GzDecoder::new(fs::File::open(&archive).expect("there")));
        let read = |entry: std::io::Result<tar::Entry<'_, GzDecoder<fs::File>>>| {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a name").display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            (name, text)
        };
        let found: Vec<(String, String)> = unpacked.entries().expect("entries").map(read).collect();
        assert_eq!(found, [("n1/summary.txt".into(), "well".into()), ("n1/diagnosis.json".into(), "{}".into())]);
        assert!(write(&directory, &files).is_err() && write(&archive, &files).is_err(), "nothing is written over");
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        for name in ["../x", "/etc/x", "a/b", "", ".", "..", ".ssh", "a\\b", "a\nb"] {
            assert!(write(&scratch.path().join("out"), &[file(name, "")]).is_err(), "{name:?}");
        }
    }
}
