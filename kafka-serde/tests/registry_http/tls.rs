//! Real handshakes: whom the client trusts, and by whom it is trusted.

use std::sync::Arc;

use kafka_serde::{Error, ErrorKind, RegistryBuilder, SchemaId};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::script::{found, hasty};

/// A private authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate of it, with its key.
struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certifies(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate, key }
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

/// A registry behind TLS, which knows the schema 1.
struct Server {
    url: String,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves with this certificate, to clients that `clients` certifies, or to all.
async fn serve(identity: Identity, clients: Option<&Authority>) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
    let config = config.with_single_cert(vec![identity.certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that refuses, or is refused, gets no further than this.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(found().as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    Server { url, task }
}

async fn ask(registry: RegistryBuilder) -> Result<(), Error> {
    registry.retries(0).build().unwrap().schema(SchemaId::Id(1)).await.map(drop)
}

/// The causes of an error, from the outside in.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_configured_and_nowhere_else() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = serve(authority.certifies("localhost", ExtendedKeyUsagePurpose::ServerAuth), None).await;
    ask(hasty(&server.url).ca_certificates(authority.pem())).await.unwrap();
    let several = format!("{}{}", other.pem(), authority.pem());
    ask(hasty(&server.url).ca_certificates(several)).await.unwrap();
    for stranger in [hasty(&server.url), hasty(&server.url).ca_certificates(other.pem())] {
        let error = ask(stranger).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RegistryUnavailable);
        assert!(chain(&error).contains("certificate"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let server = serve(authority.certifies("registry.example", ExtendedKeyUsagePurpose::ServerAuth), None).await;
    let error = ask(hasty(&server.url).ca_certificates(authority.pem())).await.unwrap_err();
    assert!(chain(&error).contains("not valid for name"), "{}", chain(&error));
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_it_has_one() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let identity = authority.certifies("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let server = serve(identity, Some(&clients)).await;
    let with = |issuer: &Authority| {
        let Identity { certificate, key } = issuer.certifies("orders", ExtendedKeyUsagePurpose::ClientAuth);
        hasty(&server.url).ca_certificates(authority.pem()).client_certificate(certificate.pem(), key.serialize_pem())
    };
    ask(with(&clients)).await.unwrap();
    ask(with(&strangers)).await.unwrap_err();
    ask(hasty(&server.url).ca_certificates(authority.pem())).await.unwrap_err();
}
