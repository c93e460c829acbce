//! A certificate that a node makes for itself, so that what is said can't be overheard. It proves nothing of who the node is.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::files::{TlsError, TlsFiles};

const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";

/// The node's own certificate in `directory`, for these hosts; made if it is not there. Its time never ends: whoever takes it looks neither at
/// its signer nor at its time.
///
/// # Errors
/// The directory can't be written.
pub fn self_signed(directory: &Path, hosts: &[String]) -> Result<TlsFiles, TlsError> {
    let files = TlsFiles { cert: directory.join(CERT), key: directory.join(KEY), trusted_ca: None };
    if files.cert.exists() && files.key.exists() {
        return Ok(files);
    }
    let failed = |problem: String| TlsError::NotMade { path: directory.display().to_string(), problem };
    let (cert, key) = make(hosts).map_err(|error| failed(error.to_string()))?;
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        // The certificate last: with both there, both are whole.
        write_private(&files.key, &key)?;
        write_private(&files.cert, &cert)
    };
    write().map_err(|error| failed(error.to_string()))?;
    Ok(files)
}

fn make(hosts: &[String]) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, "steadfast");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    Ok((cert.pem(), key.serialize_pem()))
}

/// Writes a file that only its owner reads, durably, in the place of an older one.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
