//! `steadfast certs`: a CA and certificates for a trial, so that TLS does not begin with recipes. Whoever has a CA of their own needs none of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::Args;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::show;
use crate::usage::UsageError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the CA's certificate is good.
const CA_LIFE: Duration = DAY.saturating_mul(3650);

/// How long the others are.
const LIFE: Duration = DAY.saturating_mul(365);

/// Clocks of other machines may be behind by so much.
const BEHIND: Duration = Duration::from_secs(60 * 60);

/// What `steadfast certs` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Writes ca, server, peer and client, each as .crt and .key, readable by their owner alone. What is there
is never overwritten: if the CA is there it signs what is missing. So to renew a certificate, remove its
two files and call this again; to make one for more hosts, likewise.

The CA's key makes members and clients: keep ca.key away from the nodes, which do not need it.

Examples:
  steadfast certs certs --hosts 10.0.0.1,10.0.0.2,10.0.0.3,localhost
  steadfast serve … --cert-file certs/server.crt --key-file certs/server.key --trusted-ca-file certs/ca.crt \\
    --peer-cert-file certs/peer.crt --peer-key-file certs/peer.key --peer-trusted-ca-file certs/ca.crt
  steadfast status --endpoints https://10.0.0.1:2379 \\
    --cacert certs/ca.crt --cert certs/client.crt --key certs/client.key")]
pub(crate) struct CertsArgs {
    /// Where the files go; made if it is missing
    directory: PathBuf,
    /// Names and IP addresses that nodes are reached at by clients and by each other
    #[arg(long, value_name = "HOST,…", value_delimiter = ',', required = true)]
    hosts: Vec<String>,
    /// The common name in the client's certificate
    #[arg(long, value_name = "NAME", default_value = "client")]
    client_name: String,
}

/// Two files that go together.
struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn new(directory: &Path, name: &str) -> Self {
        Pair { cert: directory.join(name).with_extension("crt"), key: directory.join(name).with_extension("key") }
    }

    /// Whether both are there. One without the other is an error.
    fn is_there(&self) -> Result<bool> {
        match (self.cert.exists(), self.key.exists()) {
            (true, false) => Err(half(&self.cert, &self.key)),
            (false, true) => Err(half(&self.key, &self.cert)),
            (both, _) => Ok(both),
        }
    }

    fn write(&self, cert: &str, key: &KeyPair) -> Result<()> {
        write_new(&self.key, &key.serialize_pem())?;
        write_new(&self.cert, cert)
    }
}

fn half(there: &Path, missing: &Path) -> anyhow::Error {
    let text = format!("{} is there and {} is not: remove it, or bring the other back", there.display(), missing.display());
    UsageError(text).into()
}

/// Makes what is missing.
pub(crate) fn run(args: &CertsArgs) -> Result<()> {
    let directory = &args.directory;
    check_hosts(&args.hosts)?;
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let ca = Pair::new(directory, "ca");
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let wanted = [
        ("server", "steadfast", &args.hosts[..], &both[..1]),
        ("peer", "steadfast peer", &args.hosts[..], &both[..]),
        ("client", &args.client_name, &[], &both[1..]),
    ];
    let mut missing = Vec::new();
    for (name, common_name, hosts, purposes) in wanted {
        let pair = Pair::new(directory, name);
        if !pair.is_there()? {
            missing.push((pair, leaf(common_name, hosts, purposes)?));
        }
    }
    let has_ca = ca.is_there()?;
    if !has_ca && missing.len() < wanted.len() {
        let text = format!("{} has certificates, but not the CA that signed them: name another directory", directory.display());
        return Err(UsageError(text).into());
    }
    if missing.is_empty() {
        let text = format!("{} has all certificates already: remove the two files of one to renew it", directory.display());
        return Err(UsageError(text).into());
    }
    let issuer = if has_ca { read_ca(&ca)? } else { make_ca(&ca)? };
    for (pair, params) in &missing {
        let key = KeyPair::generate()?;
        pair.write(&params.signed_by(&key, &issuer)?.pem(), &key)?;
    }
    let days = LIFE.as_secs() / DAY.as_secs();
    let names: Vec<String> = missing.iter().map(|(pair, _)| pair.cert.display().to_string()).collect();
    show::print(format!("Made {}, each with its key, good for {days} days, signed by {}.", names.join(", "), ca.cert.display()))?;
    Ok(())
}

fn check_hosts(hosts: &[String]) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '*');
    match hosts.iter().find(|host| host.is_empty() || !host.chars().all(good) || is_address(host)) {
        None => Ok(()),
        Some(host) => {
            Err(UsageError(format!("{host:?} is no host: give names and IP addresses without ports, like --hosts n1,10.0.0.1")).into())
        }
    }
}

/// Whether it has a port: a colon, but not those of IPv6.
fn is_address(host: &str) -> bool {
    host.contains(':') && host.parse::<std::net::IpAddr>().is_err()
}

fn leaf(common_name: &str, hosts: &[String], purposes: &[ExtendedKeyUsagePurpose]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = purposes.to_vec();
    params.use_authority_key_identifier_extension = true;
    set_life(&mut params, LIFE);
    Ok(params)
}

fn make_ca(pair: &Pair) -> Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    let key = KeyPair::generate()?;
    // Of its own name, so that a certificate of another CA is told apart from a forged one.
    let number: String = key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("steadfast trial CA {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, CA_LIFE);
    pair.write(&params.self_signed(&key)?.pem(), &key)?;
    Ok(Issuer::new(params, key))
}

fn read_ca(pair: &Pair) -> Result<Issuer<'static, KeyPair>> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let (cert, key) = (read(&pair.cert)?, read(&pair.key)?);
    let key = KeyPair::from_pem(&key).with_context(|| format!("{} is no private key", pair.key.display()))?;
    Issuer::from_ca_cert_pem(&cert, key).with_context(|| format!("{} is no certificate of a CA", pair.cert.display()))
}

#[allow(clippy::disallowed_methods, reason = "a certificate's life is of the calendar")]
fn set_life(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BEHIND).into();
    params.not_after = (now + life).into();
}

/// Writes a file that is not there yet, for its owner alone.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use steadfast_server::tls::{Tls, TlsFiles, Trust};

    use super::*;

    fn args(directory: &Path) -> CertsArgs {
        CertsArgs { directory: directory.to_owned(), hosts: vec!["localhost".into(), "10.0.0.1".into()], client_name: "me".into() }
    }

    fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
        paths.map(|path| (path.clone(), fs::read(&path).expect("readable"))).collect()
    }

    #[test]
    fn nothing_is_overwritten_and_what_is_missing_is_signed_by_the_same_ca() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        run(&args(directory.path())).expect("made");
        let first = contents(directory.path());
        assert_eq!(first.len(), 8);
        for path in first.keys() {
            assert_eq!(fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
        assert!(run(&args(directory.path())).expect_err("all is there").to_string().contains("to renew it"));

        let server = Pair::new(directory.path(), "server");
        fs::remove_file(&server.cert).expect("there");
        let error = run(&args(directory.path())).expect_err("half a pair").to_string();
        assert!(error.contains("server.key is there and"), "{error}");
        fs::remove_file(&server.key).expect("there");
        run(&args(directory.path())).expect("made again");
        let second = contents(directory.path());
        let changed: Vec<&PathBuf> = second.keys().filter(|path| first[*path] != second[*path]).collect();
        assert_eq!(changed, [&server.cert, &server.key]);

        let peer = Pair::new(directory.path(), "peer");
        let trusted_ca = Some(directory.path().join("ca.crt"));
        Tls::new(TlsFiles { cert: peer.cert, key: peer.key, trusted_ca }, Trust::Peers { allowed_cn: None }).expect("nodes can use them");
    }

    #[test]
    fn hosts_are_names_and_addresses_without_ports() {
        check_hosts(&["n1.example.org", "10.0.0.1", "fd00::1", "*.example.org"].map(String::from)).expect("good");
        for bad in ["", "n1:2379", "http://n1", "a b"] {
            assert!(check_hosts(&[bad.to_string()]).expect_err(bad).to_string().contains("without ports"));
        }
    }
}
