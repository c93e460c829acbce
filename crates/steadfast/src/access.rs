//! How a cluster is spoken with: in plain text, or over TLS by the options that every client command takes.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use steadfast_server::tls::{DialTrust, dialling};
use tokio_rustls::rustls::ClientConfig;

use crate::usage::UsageError;

/// The options of TLS.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArgs {
    /// Speak TLS with servers whose certificate a CA in this file signed, PEM
    #[arg(long, env = "STEADFAST_CACERT", hide_env = true, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// The certificate that shows the cluster who this client is, PEM
    #[arg(long, env = "STEADFAST_CERT", hide_env = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The key of --cert, PEM
    // Its id differs from its name, for commands have arguments named so.
    #[arg(long = "key", id = "tls-key", env = "STEADFAST_KEY", hide_env = true, value_name = "FILE")]
    own_key: Option<PathBuf>,
    /// Speak TLS with any server, whatever its certificate: for trials only
    #[arg(long, env = "STEADFAST_INSECURE_SKIP_TLS_VERIFY", hide_env = true, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", hide_default_value = true, hide_possible_values = true)]
    insecure_skip_tls_verify: bool,
}

impl TlsArgs {
    /// Reads the files: the configuration of TLS, if the options speak of it.
    pub(crate) fn config(&self) -> Result<Option<Arc<ClientConfig>>> {
        let wrong = |text: &str| Err(UsageError(text.to_owned()).into());
        let trust = match (&self.cacert, self.insecure_skip_tls_verify) {
            (_, true) => DialTrust::Anyone,
            (Some(path), false) => DialTrust::Ca(path),
            (None, false) if self.cert.is_some() || self.own_key.is_some() => {
                return wrong("--cert and --key need --cacert: the file of the CA that signed the servers' certificates");
            }
            (None, false) => return Ok(None),
        };
        let own = match (&self.cert, &self.own_key) {
            (Some(cert), Some(key)) => Some((cert.as_path(), key.as_path())),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return wrong("--cert and --key go together: give both"),
        };
        match dialling(trust, own) {
            Ok(config) => Ok(Some(config)),
            Err(error) => Err(UsageError(error.to_string()).into()),
        }
    }
}
