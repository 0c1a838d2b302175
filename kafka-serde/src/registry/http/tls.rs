//! TLS by rustls with ring: the platform's authorities or the given ones, and a client certificate.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::Error;
use crate::registry::setting;

#[derive(Clone, Default)]
pub(super) struct Tls {
    /// Authorities in place of the platform's, as PEM.
    pub(super) authorities: Option<Vec<u8>>,
    /// Certificate chain and private key of this client, as PEM.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    pub(super) fn config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| setting("TLS cannot be set up").with_source(error))?;
        let config = match &self.authorities {
            None => config
                .with_platform_verifier()
                .map_err(|error| setting("the platform's certificate authorities cannot be used").with_source(error))?,
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("ca_certificates", pem)? {
                    roots
                        .add(certificate)
                        .map_err(|error| setting("ca_certificates: a certificate cannot be used").with_source(error))?;
                }
                config.with_root_certificates(roots)
            }
        };
        let Some((chain, key)) = &self.identity else { return Ok(config.with_no_client_auth()) };
        let chain = certificates("client_certificate", chain)?;
        // The cause is not shown: it may quote the key.
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| setting("client_certificate: the key is no private key in PEM form without a password"))?;
        config
            .with_client_auth_cert(chain, key)
            .map_err(|error| setting("client_certificate: certificate and key cannot be used").with_source(error))
    }
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| setting(format!("{name}: not in PEM form")).with_source(error))?;
    if found.is_empty() {
        return Err(setting(format!("{name}: no certificate in it; it must be in PEM form")));
    }
    Ok(found)
}
