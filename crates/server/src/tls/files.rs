//! The files of a certificate, its key and the trusted CAs: PEM, read whole, checked together.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use steadfast_types::limits;

/// Why files can't be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// Which.
        path: String,
        /// The operating system's words.
        reason: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} {problem}")]
    Content {
        /// Which.
        path: String,
        /// What is wrong with it, and what should be there.
        problem: String,
    },
    /// The files can't be used together.
    #[error("{path} can't be used: {problem}")]
    Refused {
        /// The certificate's file.
        path: String,
        /// Why.
        problem: String,
    },
    /// A certificate for this node could not be made.
    #[error("a certificate can't be made in {path}: {problem}")]
    NotMade {
        /// The directory.
        path: String,
        /// Why.
        problem: String,
    },
}

/// Where a certificate, its key, and the CAs that sign the other side's are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and after it those between it and the CA, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
    /// The CAs, PEM. `None`: nobody is authenticated.
    pub trusted_ca: Option<PathBuf>,
}

/// The bytes of all files, as one reading found them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    trusted_ca: Option<Vec<u8>>,
}

/// What the files say.
pub(super) struct Material {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) trusted: Option<Arc<RootCertStore>>,
}

impl TlsFiles {
    /// Reads all files.
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        Ok(Contents { cert: read(&self.cert)?, key: read(&self.key)?, trusted_ca: self.trusted_ca.as_deref().map(read).transpose()? })
    }

    /// What was read, understood.
    pub(super) fn understand(&self, contents: &Contents) -> Result<Material, TlsError> {
        let chain = certificates(&self.cert, &contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|error| content(&self.key, format!("holds no private key in PEM that is not encrypted ({error})")))?;
        let trusted = match (&self.trusted_ca, &contents.trusted_ca) {
            (Some(path), Some(bytes)) => Some(roots(path, bytes)?),
            _ => None,
        };
        Ok(Material { chain, key, trusted })
    }
}

/// The CAs of a file.
pub(super) fn read_roots(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    roots(path, &read(path)?)
}

fn roots(path: &Path, bytes: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path, bytes)? {
        store.add(certificate).map_err(|error| content(path, format!("holds a certificate that is no CA's: {error}")))?;
    }
    Ok(Arc::new(store))
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match all {
        Ok(all) if all.is_empty() => Err(content(path, "holds no certificate in PEM".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(content(path, format!("is not PEM: {error}"))),
    }
}

fn content(path: &Path, problem: String) -> TlsError {
    TlsError::Content { path: path.display().to_string(), problem }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |reason| TlsError::Unreadable { path: path.display().to_string(), reason };
    let mut bytes = Vec::new();
    let limit = limits::CERTIFICATE_FILE_BYTES;
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    match bytes.len() as u64 > limit {
        true => Err(content(path, format!("is larger than {limit} bytes: it can't be a file of certificates"))),
        false => Ok(bytes),
    }
}
