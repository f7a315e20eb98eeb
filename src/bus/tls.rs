//! Whom to trust, and TLS's errors in words that say what to do.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::config;

/// The roots, read once for all hosts of one try.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    config: Arc<ClientConfig>,
    /// Where the roots are from, for messages.
    source: String,
}

impl Trust {
    /// Reads the roots: `ca-file` and nothing else, or the system's (3.7 ms, so only when a host needs them).
    ///
    /// # Errors
    /// In words, when there is no usable root.
    pub(super) fn load(tls: &config::Tls) -> Result<Trust, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS can't be set up: {error}"))?;
        if !tls.verify {
            let verifier = Arc::new(Insecure(provider));
            let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
            return Ok(Trust { config: Arc::new(config), source: "anybody".to_owned() });
        }
        let mut roots = RootCertStore::empty();
        let source = match &tls.ca_file {
            Some(file) => {
                let told = |what: String| format!("ca-file {}: {what}", file.display());
                let certificates = CertificateDer::pem_file_iter(file).map_err(|error| told(error.to_string()))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|error| told(format!("is no sound PEM: {error}")))?;
                    roots.add(certificate).map_err(|error| told(format!("holds a bad certificate: {error}")))?;
                }
                if roots.is_empty() {
                    return Err(told("holds no certificate in PEM".to_owned()));
                }
                format!("the CAs in {}", file.display())
            }
            None => {
                // Some of a system's roots are often odd; the others count.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err("this system has no CA certificates: install ca-certificates or set ca-file".to_owned());
                }
                "this system's CAs".to_owned()
            }
        };
        Ok(Trust { config: Arc::new(builder.with_root_certificates(roots).with_no_client_auth()), source })
    }

    /// A client for one connection to `host`, a name (then sent as SNI) or an address.
    pub(super) fn client(&self, host: &str) -> Result<ClientConnection, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is no name that a certificate can be for"))?;
        ClientConnection::new(self.config.clone(), name).map_err(|error| format!("TLS can't be set up: {error}"))
    }

    /// What a handshake or a connection died of, and what to do.
    pub(super) fn explain(&self, error: &Error) -> String {
        match error {
            Error::InvalidCertificate(error) => format!("its TLS certificate is refused: {}", self.flaw(error)),
            Error::InvalidMessage(_) => {
                "this port does not speak TLS: use stomp:// for it, or the broker's TLS port".to_owned()
            }
            Error::AlertReceived(alert) => format!("it refused the TLS connection with the alert {alert:?}"),
            Error::PeerIncompatible(what) => format!("it speaks no TLS that is safe (1.2 or 1.3 is needed): {what:?}"),
            other => format!("TLS failed: {other}"),
        }
    }

    fn flaw(&self, error: &CertificateError) -> String {
        let source = &self.source;
        match error {
            CertificateError::UnknownIssuer => {
                format!("none of {source} signed it; set ca-file to the PEM of the CA that did")
            }
            // The usual way there: the CA was made anew, under its old name.
            CertificateError::BadSignature => {
                format!("{source} hold one of the same name as the CA that signed it, but with another key")
            }
            CertificateError::Expired => "it has expired".to_owned(),
            CertificateError::ExpiredContext { not_after, .. } => format!("it expired at {}", moment(*not_after)),
            CertificateError::NotValidYet => "it is not valid yet; is this machine's clock right?".to_owned(),
            CertificateError::NotValidYetContext { not_before, .. } => {
                format!("it is not valid before {}; is this machine's clock right?", moment(*not_before))
            }
            CertificateError::NotValidForName => "it is for another name; use the name it is for".to_owned(),
            CertificateError::NotValidForNameContext { expected, presented } => {
                let presented = if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") };
                format!("it is for {presented}, not for {:?}; use a name it is for", expected.to_str())
            }
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "it is a CA's own; have the CA sign a server certificate (CA:FALSE) and give that to the broker"
                    .to_owned()
            }
            other => other.to_string(),
        }
    }
}

fn moment(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second).map_or_else(|_| format!("second {second}"), |time| time.to_string())
}

/// `tls-verify: false`: encrypted, but to whoever answers. The signatures of the handshake are still checked, so that
/// a broken peer is told from an unknown one.
#[derive(Debug)]
struct Insecure(Arc<CryptoProvider>);

impl ServerCertVerifier for Insecure {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
