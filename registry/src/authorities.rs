//! The certificate authorities that the operator trusts for a server, instead of those of the system.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Reads the certificates of a file (PEM).
///
/// # Errors
/// The problem, as a text with the path: the file cannot be read, or has no certificate.
pub(crate) fn read_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let problem = |problem: &str| format!("the certificates in {} cannot be used: {problem}", path.display());
    let pem = std::fs::read(path).map_err(|error| problem(&error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| problem(&error.to_string()))?;
    if certificates.is_empty() {
        return Err(problem("it has none"));
    }
    Ok(certificates)
}

/// True if this is the text of an error about a certificate that none of the trusted authorities has signed, or that is
/// not one of the server. The clients of PostgreSQL, Redis and S3 pass on the text alone, in two forms.
pub(crate) fn is_untrusted(text: &str) -> bool {
    text.contains("invalid peer certificate") || text.contains("InvalidCertificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(read_authorities(&path).unwrap_err().contains("ca.pem cannot be used: No such file"));
        for text in ["", "no certificate", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(read_authorities(&path).unwrap_err().contains("it has none"), "{text}");
        }
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
        assert!(read_authorities(&path).unwrap_err().contains("missing section end"));
    }

    #[test]
    fn the_errors_of_both_clients_are_recognized() {
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let as_io = std::io::Error::new(std::io::ErrorKind::InvalidData, untrusted.clone());
        assert!(is_untrusted(&untrusted.to_string()) && is_untrusted(&format!("{as_io:?}")));
        assert!(!is_untrusted("connection refused"));
    }
}
