use std::collections::BTreeSet;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{self, Message};
use crate::ports::free_address;
use crate::process::Double;
use crate::{eventually, tool};

/// The DNS server that Pebble asks (`pebble-challtestsrv`): every name is 127.0.0.1 until a test says otherwise.
#[derive(Debug)]
pub struct TestDns {
    address: SocketAddr,
    management: SocketAddr,
    double: Double,
}

impl TestDns {
    /// A server that nobody else asks.
    pub async fn start() -> Self {
        let (address, management) = (free_address(), free_address());
        let none = String::new();
        let arguments = [
            ("-dnsserver", address.to_string()),
            ("-management", management.to_string()),
            ("-defaultIPv4", "127.0.0.1".to_owned()),
            ("-defaultIPv6", none.clone()),
            ("-http01", none.clone()),
            ("-https01", none.clone()),
            ("-tlsalpn01", none.clone()),
            ("-doh", none),
        ];
        let arguments = arguments.map(|(name, value)| [name.to_owned(), value]).concat();
        let double = Double::start(&tool("bin/pebble-challtestsrv"), arguments, &[]);
        let dns = Self {
            address,
            management,
            double,
        };
        eventually("the DNS server answers", Duration::from_secs(60), async || {
            post(dns.management, "/dns-request-history", json!({ "host": "." }))
                .await
                .ok()
        })
        .await;
        dns
    }

    /// The address at which it answers, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The addresses of a name. None: it has no address.
    pub async fn set_addresses(&self, name: &str, addresses: &[&str]) {
        self.tell("/add-a", json!({ "host": name, "addresses": addresses }))
            .await;
    }

    /// Sets the address that names without addresses of their own resolve to; empty: none.
    pub async fn set_default_address(&self, address: &str) {
        self.tell("/set-default-ipv4", json!({ "ip": address })).await;
    }

    /// One more value at a name.
    pub async fn add_txt(&self, name: &str, value: &str) {
        self.tell("/set-txt", json!({ "host": absolute(name), "value": value }))
            .await;
    }

    /// No values at a name.
    pub async fn clear_txt(&self, name: &str) {
        self.tell("/clear-txt", json!({ "host": absolute(name) })).await;
    }

    /// The values at a name, as somebody who asks gets them.
    pub async fn txt(&self, name: &str) -> Vec<String> {
        crate::dns_question::txt(self.address, name).await
    }

    /// Sets the CAA records of this name, which say who may issue: pairs of tag and value.
    pub async fn set_caa(&self, name: &str, policies: &[(&str, &str)]) {
        let policies: Vec<_> = policies
            .iter()
            .map(|(tag, value)| json!({ "tag": tag, "value": value }))
            .collect();
        self.tell("/add-caa", json!({ "host": name, "policies": policies }))
            .await;
    }

    /// Nobody says who may issue.
    pub async fn clear_caa(&self, name: &str) {
        self.tell("/clear-caa", json!({ "host": name })).await;
    }

    /// An alias.
    pub async fn set_cname(&self, name: &str, target: &str) {
        self.tell("/set-cname", json!({ "host": name, "target": target }))
            .await;
    }

    /// The log that it has written.
    pub fn log(&self) -> String {
        self.double.log().text()
    }

    /// A hook for `exec` that writes and clears TXT records of this server, in a file of this folder.
    pub fn hook(&self, folder: &Path) -> PathBuf {
        let path = folder.join("dns-hook");
        let script = format!(
            r#"#!/bin/sh
case $1 in
  present) call=set-txt ;;
  cleanup) call=clear-txt ;;
esac
echo "$1 $2" >>"$0.calls"
exec curl --silent --fail --data "{{\"host\": \"$2.\", \"value\": \"$3\"}}" "http://{}/$call"
"#,
            self.management
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// For the bridge from a hosted zone.
    pub(crate) fn mirror(&self) -> Mirror {
        Mirror(self.management)
    }

    async fn tell(&self, path: &str, body: Value) {
        let answer = post(self.management, path, body)
            .await
            .expect("the DNS server answers");
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    }
}

/// Writes a zone's TXT records into a DNS server that may be gone already.
#[derive(Debug)]
pub(crate) struct Mirror(SocketAddr);

impl Mirror {
    /// Shows these records in the place of those shown before.
    pub(crate) async fn show(&self, before: &[(String, String)], now: &[(String, String)]) {
        let names: BTreeSet<_> = before.iter().map(|(name, _)| name).collect();
        for name in names {
            self.tell("/clear-txt", json!({ "host": absolute(name) })).await;
        }
        for (name, value) in now {
            self.tell("/set-txt", json!({ "host": absolute(name), "value": value }))
                .await;
        }
    }

    async fn tell(&self, path: &str, body: Value) {
        post(self.0, path, body).await.ok();
    }
}

async fn post(management: SocketAddr, path: &str, body: Value) -> std::io::Result<Message> {
    let request = Message::request("POST", path, "localhost", body.to_string());
    http::ask(management, &request).await
}

fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}
