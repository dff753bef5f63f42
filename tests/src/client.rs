use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::TokioIo;
use proto::routeguide::route_guide_client::RouteGuideClient;
use proto::routeguide::{Feature, Point};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::{TestGateway, TlsOptions, Trust};

/// An ordinary gRPC client: tonic over TLS, verified. It counts how often it had to connect.
#[derive(Debug, Clone)]
pub struct TestClient {
    channel: Channel,
    connects: Arc<AtomicUsize>,
}

impl TestClient {
    /// Connects to the first listener.
    pub async fn connect(gateway: &TestGateway, ca: &impl Trust) -> Self {
        Self::connect_with(gateway.address(), ca, TlsOptions::default()).await
    }

    /// Connects with these options of TLS.
    pub async fn connect_with(address: SocketAddr, ca: &impl Trust, options: TlsOptions) -> Self {
        let connects = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connects);
        let (config, name) = (options.config(ca), options.name);
        let endpoint = Endpoint::from_shared(format!("https://{name}")).unwrap();
        let connector = service_fn(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            let (config, name) = (Arc::clone(&config), name.clone());
            async move {
                let tcp = tokio::net::TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let name = rustls::pki_types::ServerName::try_from(name).unwrap();
                let tls = tokio_rustls::TlsConnector::from(config)
                    .connect(name, tcp)
                    .await?;
                Ok::<_, std::io::Error>(TokioIo::new(tls))
            }
        });
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .expect("a connection");
        Self { channel, connects }
    }

    /// The generated client of RouteGuide.
    pub fn guide(&self) -> RouteGuideClient<Channel> {
        RouteGuideClient::new(self.channel.clone())
    }

    /// The channel itself.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Number of times that it has connected; 1 means that the connection was kept.
    pub fn connects(&self) -> usize {
        self.connects.load(Ordering::SeqCst)
    }

    /// One unary RPC whose answer is known.
    pub async fn ping(&self) -> Result<(), tonic::Status> {
        let nowhere = Point {
            latitude: 11,
            longitude: 13,
        };
        let answer: Feature = self.guide().get_feature(nowhere).await?.into_inner();
        if answer.location == Some(nowhere) {
            Ok(())
        } else {
            Err(tonic::Status::data_loss("another's answer"))
        }
    }
}
