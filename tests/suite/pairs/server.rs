//! A server that shows exactly the chain that it is given.

use std::process::Stdio;
use std::sync::Arc;

use e2e::pem;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::kinds::{Kind, Kinds};

/// Ends when it is dropped.
#[derive(Debug)]
pub(super) enum Server {
    Rustls(u16, AbortHandle),
    OpenSsl(
        u16,
        #[expect(dead_code, reason = "the process ends with it")] Child,
    ),
}

impl Server {
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Rustls(port, _) | Self::OpenSsl(port, _) => *port,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Rustls(_, task) = self {
            task.abort();
        }
    }
}

pub(super) async fn serve(kinds: &Kinds, kind: &Kind) -> Server {
    let chain = std::fs::read(kinds.path(&format!("{}.crt", kind.id))).unwrap();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .unwrap();
    let key = kinds.path(&format!("{}.key", kind.id));
    match kind.text("server") {
        Some("openssl") => openssl(kinds, kind, &chain, &key).await,
        _ => rustls(chain, &key).await,
    }
}

async fn rustls(chain: Vec<CertificateDer<'static>>, key: &str) -> Server {
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    // Unlike everything else that makes a configuration, this does not look whether the two fit.
    let certified = CertifiedKey::new(chain, any_supported_type(&key).unwrap());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                // The first of a request is all that matters of it.
                stream.read_u8().await?;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await?;
                stream.shutdown().await
            });
        }
    });
    Server::Rustls(port, serving.abort_handle())
}

/// For keys that rustls cannot sign with.
async fn openssl(kinds: &Kinds, kind: &Kind, chain: &[CertificateDer<'static>], key: &str) -> Server {
    let write = |name: &str, certificates: &[CertificateDer<'static>]| {
        let path = kinds.path(&format!("{}.{name}", kind.id));
        let text: String = certificates.iter().map(|one| pem("CERTIFICATE", one)).collect();
        std::fs::write(&path, text).unwrap();
        path
    };
    let (leaf, rest) = (write("leaf", &chain[..1]), write("rest", &chain[1..]));
    let mut server = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-www"])
        .args(["-cert", &leaf, "-cert_chain", &rest, "-key", key])
        .args(["-cipher", "DEFAULT@SECLEVEL=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    while let Some(line) = said.next_line().await.unwrap() {
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            let (_, port) = address.rsplit_once(':').unwrap();
            let port = port.parse().unwrap();
            tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
            return Server::OpenSsl(port, server);
        }
    }
    panic!("{}: openssl s_server does not start", kind.id);
}
