//! Certificates of a [`TestGatewayBuilder`] that come from afar.

use serde_json::json;

use crate::{TestGatewayBuilder, TestMoto, TestPebble, free_port};

impl TestGatewayBuilder {
    /// A certificate `acme` for these domains, ordered from `pebble` by TLS-ALPN-01. The first listener is where Pebble
    /// looks for the answer. Retries and renewals are quick; change what a test wants under `/certificates/N/acme`.
    pub fn acme(self, pebble: &TestPebble, domains: &[&str]) -> Self {
        self.listen(pebble.tls_port()).source(json!({
            "name": "acme",
            "domains": domains,
            "acme": {
                "directory": pebble.directory(),
                "ca_file": pebble.ca_file(),
                "contact": "ops@example.com",
                "accept_terms": true,
                "resolvers": [pebble.dns.address().to_string()],
                "min_interval": "1s",
                "first_retry": "1s",
            },
        }))
    }

    /// A listener `http` where `pebble` looks for HTTP-01.
    pub fn http_listener(self, port: u16) -> Self {
        let listener = json!({ "name": "http", "address": format!("127.0.0.1:{port}"), "http": {} });
        self.add("/listeners", listener)
    }

    /// A certificate `s3`: `chain.pem` and `key.pem` of a bucket, read every 5 s.
    pub fn s3(self, moto: &TestMoto, bucket: &str) -> Self {
        self.aws(moto).source(json!({
            "name": "s3",
            "s3": {
                "bucket": bucket,
                "chain": "chain.pem",
                "key": "key.pem",
                "region": moto.region(),
                "endpoint": moto.endpoint(),
                "path_style": true,
                "poll": "5s",
            },
        }))
    }

    /// A certificate `secret`: a secret's JSON in the default fields, read every 5 s.
    pub fn secrets_manager(self, moto: &TestMoto, secret: &str) -> Self {
        self.aws(moto).source(json!({
            "name": "secret",
            "secrets_manager": {
                "secret": secret,
                "region": moto.region(),
                "endpoint": moto.endpoint(),
                "poll": "5s",
            },
        }))
    }

    /// The credentials that `moto` takes.
    pub fn aws(mut self, moto: &TestMoto) -> Self {
        for (name, value) in moto.environment() {
            self = self.env(name, value);
        }
        self
    }

    /// A free port for the first listener, which [`TestGatewayBuilder::acme`] has put where Pebble looks.
    pub fn elsewhere(self) -> Self {
        self.listen(free_port())
    }
}
