//! Where a cluster is reached: the `--endpoints` that every client command takes.

use anyhow::Result;
use clap::Args;
use steadfast_client::NobodyTrusted;
pub(crate) use steadfast_client::{Endpoint, host_and_port};

use crate::access::TlsArgs;
use crate::usage::UsageError;
use crate::user::User;

/// Which cluster a command talks to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Cluster {
    /// Client addresses of the cluster's nodes; one that is down is passed over
    #[arg(long, env = "STEADFAST_ENDPOINTS", value_name = "ADDR,…", value_delimiter = ',', default_value = "127.0.0.1:2379")]
    endpoints: Vec<Endpoint>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Who asks, where the cluster wants to know: name and password
    #[arg(long, env = "STEADFAST_USER", hide_env_values = true, value_name = "NAME:PASSWORD")]
    pub(crate) user: Option<User>,
}

impl Cluster {
    /// The endpoints, each with how it is spoken with.
    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>> {
        self.like(&self.endpoints)
    }

    /// Other endpoints, to be spoken with in the same way.
    pub(crate) fn like(&self, endpoints: &[Endpoint]) -> Result<Vec<Endpoint>> {
        let tls = self.tls.config()?;
        let endpoints: Vec<Endpoint> = endpoints.iter().map(|endpoint| endpoint.clone().with_tls(tls.clone())).collect();
        endpoints.iter().try_for_each(|endpoint| endpoint.tls().map(drop)).map_err(whom_to_trust)?;
        Ok(endpoints)
    }
}

/// The remedy of an endpoint that speaks TLS with nobody to trust.
pub(crate) fn whom_to_trust(NobodyTrusted(address): NobodyTrusted) -> UsageError {
    let remedy = "give the CA that signed the servers' certificates with --cacert, or --insecure-skip-tls-verify";
    UsageError(format!("https://{address}: {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_needs_to_know_whom_to_trust() {
        let endpoint: Endpoint = "https://n1".parse().expect("valid");
        let error = whom_to_trust(endpoint.tls().expect_err("nobody is trusted")).to_string();
        assert!(error.starts_with("https://n1:2379: ") && error.contains("--cacert"), "{error}");
    }
}
