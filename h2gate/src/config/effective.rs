//! The configuration that runs, in the shape of the file, with defaults filled in and secrets redacted.

mod certificate;

use gateway::access_log::Destination;
use gateway::settings::{
    Backend, ClientAuthMode, EndpointAddress, Listener, Protocol, Redirect, Route, TlsVersion, WithoutAlpn,
};
use serde_json::{Map, Value, json};

use super::bounds::{Amount, BACKEND_BOUNDS, BoundTable, CLIENT_BOUNDS, LIMIT_BOUNDS, TIMEOUT_BOUNDS};
use super::keys::{Section, Shape, TOP};
use super::values::write_duration;
use super::{Admin, LogFormat, NO_STATE, Resolved};

const REDACTED: &str = "<redacted>";

pub(super) fn json(resolved: &Resolved) -> Value {
    let gateway = &resolved.gateway;
    let mut limits = amounts(&LIMIT_BOUNDS, &gateway.limits);
    limits.insert("max_orders".to_owned(), json!(resolved.max_orders));
    limits.insert(
        "client".to_owned(),
        amounts(&CLIENT_BOUNDS, &gateway.limits.client).into(),
    );
    limits.insert(
        "backend".to_owned(),
        amounts(&BACKEND_BOUNDS, &gateway.limits.backend).into(),
    );
    let mut all = json!({
        "listeners": gateway.listeners.iter().map(listener).collect::<Vec<_>>(),
        "certificates": certificate::certificates(&resolved.certificates),
        "trust_bundles": resolved.trust_bundles.iter().map(certificate::trust_bundle).collect::<Vec<_>>(),
        "routes": gateway.routes.iter().map(|r| route(r, &gateway.backends)).collect::<Vec<_>>(),
        "backends": gateway.backends.iter().map(backend).collect::<Vec<_>>(),
        "state_dir": state_dir(resolved),
        "admin": admin(&resolved.admin),
        "log": {
            "level": resolved.log.level,
            "format": match resolved.log.format { LogFormat::Text => "text", LogFormat::Json => "json" },
        },
        "timeouts": amounts(&TIMEOUT_BOUNDS, &gateway.timeouts),
        "limits": limits,
        "workers": gateway.workers,
        "core_dumps": resolved.core_dumps,
    });
    if let (Some(log), Some(map)) = (&resolved.access_log, all.as_object_mut()) {
        let path = match log {
            Destination::Stdout => "-".to_owned(),
            Destination::File(path) => path.display().to_string(),
        };
        map.insert("access_log".to_owned(), json!({ "path": path, "format": "json" }));
    }
    redact(&mut all, &TOP);
    all
}

fn admin(admin: &Admin) -> Value {
    let mut map = Map::new();
    map.insert("address".to_owned(), json!(admin.address.to_string()));
    if !admin.hosts.is_empty() {
        map.insert("hosts".to_owned(), json!(admin.hosts));
    }
    map.into()
}

fn state_dir(resolved: &Resolved) -> String {
    match &resolved.state_dir {
        Some(directory) => directory.display().to_string(),
        None => NO_STATE.to_owned(),
    }
}

fn listener(listener: &Listener) -> Value {
    let mut map = Map::new();
    map.insert("name".to_owned(), json!(listener.name));
    map.insert("address".to_owned(), json!(listener.address.to_string()));
    if let Protocol::Http1(http1) = &listener.protocol {
        let redirect = match http1.redirect {
            Redirect::Https => "https",
            Redirect::None => "none",
        };
        map.insert("http".to_owned(), json!({ "redirect": redirect }));
    }
    if let Some(tls) = listener.tls() {
        let written = |name: &&String| certificate::is_written(name);
        let mut value = json!({
            "certificates": tls.certificates.iter().filter(written).collect::<Vec<_>>(),
            "min_version": match tls.min_version { TlsVersion::V1_2 => "1.2", TlsVersion::V1_3 => "1.3" },
            "without_alpn": match tls.without_alpn { WithoutAlpn::Serve => "serve", WithoutAlpn::Refuse => "refuse" },
        });
        if let (Some(auth), Some(map)) = (&tls.client_auth, value.as_object_mut()) {
            let mode = match auth.mode {
                ClientAuthMode::Required => "required",
                ClientAuthMode::Optional => "optional",
            };
            map.insert(
                "client_auth".to_owned(),
                json!({ "mode": mode, "trust": auth.trust }),
            );
        }
        map.insert("tls".to_owned(), value);
    }
    let Protocol::Http2(http2) = &listener.protocol else {
        return map.into();
    };
    if !http2.trusted_peers.is_empty() {
        let peers = http2
            .trusted_peers
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        map.insert("trusted_peers".to_owned(), json!(peers));
    }
    let headers = &http2.add_headers;
    let headers = json!({
        "forwarded_for": headers.forwarded_for,
        "forwarded_proto": headers.forwarded_proto,
        "request_id": headers.request_id,
        "client_certificate": headers.client_certificate,
    });
    map.insert("add_headers".to_owned(), headers);
    map.into()
}

fn route(route: &Route, backends: &[Backend]) -> Value {
    let mut matched = Map::new();
    if !route.listeners.is_empty() {
        matched.insert("listener".to_owned(), json!(route.listeners));
    }
    if !route.hosts.is_empty() {
        matched.insert("host".to_owned(), json!(route.hosts));
    }
    for (key, value) in [("service", &route.service), ("method", &route.method)] {
        if let Some(value) = value {
            matched.insert(key.to_owned(), json!(value));
        }
    }
    let backend = backends.get(route.backend).map(|backend| backend.name.as_str());
    json!({ "name": route.name, "match": matched, "backend": backend })
}

fn backend(backend: &Backend) -> Value {
    let endpoint = |endpoint: &EndpointAddress| match endpoint {
        EndpointAddress::Address(address) => address.to_string(),
        EndpointAddress::Name { host, port } => format!("{host}:{port}"),
    };
    json!({
        "name": backend.name,
        "endpoints": backend.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "connect_timeout": write_duration(backend.connect_timeout),
        "tcp_user_timeout": write_duration(backend.tcp_user_timeout),
    })
}

fn amounts<T>(bounds: &BoundTable<T>, of: &T) -> Map<String, Value> {
    let value = |shape: Shape, amount: Amount| match amount {
        Amount::Rate { burst, per_second } => json!({ "burst": burst, "per_second": per_second }),
        Amount::Number(number) if !matches!(shape, Shape::Size) => json!(number),
        amount => json!(amount.text(shape)),
    };
    bounds
        .amounts(of)
        .into_iter()
        .map(|(key, amount)| (key.name.to_owned(), value(key.shape, amount)))
        .collect()
}

/// Replaces the value of every key that its table calls secret.
fn redact(value: &mut Value, section: &'static Section) {
    let Some(map) = value.as_object_mut() else { return };
    for (name, value) in map {
        match section.key(name) {
            Some(key) if key.secret => *value = json!(REDACTED),
            // What no table knows cannot be known to be harmless.
            None => *value = json!(REDACTED),
            Some(key) => match (key.shape, value) {
                (Shape::Map(inner), value) => redact(value, inner),
                (Shape::Maps(inner), Value::Array(items)) => {
                    items.iter_mut().for_each(|item| redact(item, inner))
                }
                _ => {}
            },
        }
    }
}

/// Block style for mappings and for lists of mappings, flow style for the rest; keys in the order of the
/// reference.
pub(super) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    write_map(value, &TOP, 0, &mut text);
    text
}

fn write_map(value: &Value, section: &'static Section, depth: usize, text: &mut String) {
    for key in section.keys {
        let Some(value) = value.get(key.name) else {
            continue;
        };
        let indent = "  ".repeat(depth);
        match (key.shape, value) {
            (Shape::Map(inner), Value::Object(map)) if !map.is_empty() => {
                text.push_str(&format!("{indent}{}:\n", key.name));
                write_map(value, inner, depth + 1, text);
            }
            (Shape::Maps(inner), Value::Array(items)) if !items.is_empty() => {
                text.push_str(&format!("{indent}{}:\n", key.name));
                for item in items {
                    let mut block = String::new();
                    write_map(item, inner, depth + 2, &mut block);
                    // The dash takes the place of the last two spaces before the first key.
                    let dash = depth * 2 + 2;
                    if block.len() > dash {
                        block.replace_range(dash..dash + 2, "- ");
                    }
                    text.push_str(&block);
                }
            }
            // JSON is YAML's flow style.
            (_, value) => text.push_str(&format!("{indent}{}: {value}\n", key.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Fallback, Form, Key};
    use super::*;

    static INNER: Section = Section {
        title: "a store",
        about: "",
        keys: &[
            Key {
                name: "user",
                shape: Shape::Text(Form::Name),
                fallback: Fallback::Required,
                about: "",
                secret: false,
            },
            Key {
                name: "password",
                shape: Shape::Text(Form::Name),
                fallback: Fallback::Required,
                about: "",
                secret: true,
            },
        ],
        one_of: None,
        future: &[],
        synonyms: &[],
    };
    static OUTER: Section = Section {
        title: "the top level",
        about: "",
        keys: &[Key {
            name: "stores",
            shape: Shape::Maps(&INNER),
            fallback: Fallback::Required,
            about: "",
            secret: false,
        }],
        one_of: None,
        future: &[],
        synonyms: &[],
    };

    #[test]
    fn secret_and_unknown_keys_are_redacted() {
        let mut value =
            json!({ "stores": [{ "user": "u", "password": "p", "stray": "s" }], "other": { "a": 1 } });
        redact(&mut value, &OUTER);
        let expected = json!({
            "stores": [{ "user": "u", "password": "<redacted>", "stray": "<redacted>" }],
            "other": "<redacted>",
        });
        assert_eq!(value, expected);
    }
}
