//! Settings of the whole process: admin interface, logs, timeouts, limits, workers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use gateway::access_log::Destination;
use gateway::settings::{Limits, Timeouts};

use super::bounds::{Amount, BACKEND_BOUNDS, BoundTable, CLIENT_BOUNDS, LIMIT_BOUNDS, TIMEOUT_BOUNDS};
use super::diagnostic::{Place, Spanned};
use super::fields::Fields;
use super::unknown::closest_or;
use super::values::{self, ValueError, shorten, value_error};
use super::{Admin, Log, LogFormat, NO_STATE, cgroup};

/// The address that the admin interface listens on unless the file names another.
pub(crate) const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// The crates that are ours, by which parts of the log are named.
pub(crate) const LOG_PARTS: [&str; 5] = ["h2gate", "gateway", "http2", "certmgr", "certstore"];

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// Crates of others that have a log. They say errors alone unless they are named.
const DEPENDENCIES: [&str; 15] = [
    "rustls",
    "rustls_platform_verifier",
    "h2",
    "hyper_util",
    "hyper_rustls",
    "tonic",
    "tower",
    "hickory_net",
    "hickory_proto",
    "hickory_resolver",
    "aws_config",
    "aws_runtime",
    "aws_sigv4",
    "aws_smithy_runtime",
    "notify",
];

/// The admin interface, with the place of its address.
pub(super) fn admin(file: &Fields<'_>) -> Spanned<Admin> {
    let fields = file.inner("admin");
    let hosts = fields.values("hosts", values::host_pattern);
    let address = fields.spanned("address", values::socket_address);
    let address = address.unwrap_or(Spanned::new(ADMIN_ADDRESS, Place::FILE));
    if !address.value.ip().is_loopback() {
        let message = format!(
            "the admin interface on {} can be reached from outside, without any authentication",
            address.value
        );
        let port = address.value.port();
        let remedy = format!("write \"127.0.0.1:{port}\", unless the network is private");
        fields.warning(address.place, message, remedy);
    }
    let hosts = hosts.into_iter().map(|host| host.value).collect();
    address.map(|address| Admin { address, hosts })
}

/// The place where state is kept; `None` is nowhere.
pub(super) fn state_dir(file: &Fields<'_>) -> Spanned<Option<PathBuf>> {
    match file.spanned("state_dir", values::path) {
        None => Spanned::new(None, Place::FILE),
        Some(given) => given.map(|text| (text != NO_STATE).then(|| file.in_folder("state_dir", &text))),
    }
}

pub(super) fn log(file: &Fields<'_>) -> Log {
    let fields = file.inner("log");
    Log {
        level: fields.value("level", log_level).unwrap_or_default(),
        format: match fields.choice("format") {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        },
    }
}

/// `info` or `info,gateway=debug`: one level for all, then levels of parts.
fn log_level(text: &str) -> Result<String, ValueError> {
    let mut parts = text.split(',').map(str::trim);
    let mut written = level(parts.next().unwrap_or_default())?.to_owned();
    for part in parts {
        let Some((component, value)) = part.split_once('=') else {
            return Err(value_error!(
                "`{part}` names no part of the program";
                "write PART=LEVEL, as in info,gateway=debug"
            ));
        };
        let known = [LOG_PARTS.as_slice(), &DEPENDENCIES].concat();
        if !known.contains(&component) {
            let remedy = closest_or(component, &known, || {
                format!("parts are {}", LOG_PARTS.join(", "))
            });
            return Err(value_error!("there is no part `{}`", shorten(component); "{remedy}"));
        }
        written.push_str(&format!(",{component}={}", level(value)?));
    }
    Ok(written)
}

fn level(text: &str) -> Result<&'static str, ValueError> {
    let lower = text.to_ascii_lowercase();
    let name = if lower == "warning" { "warn" } else { &lower };
    let level = LEVELS.into_iter().find(|level| *level == name);
    level.ok_or_else(|| {
        value_error!(
            "`{}` is not a level", shorten(text);
            "levels are {}", LEVELS.join(", ")
        )
    })
}

pub(super) fn access_log(file: &Fields<'_>) -> Option<Spanned<Destination>> {
    let fields = file.map("access_log")?;
    fields.choice("format");
    let path = fields.spanned("path", values::path)?;
    Some(match path.value.as_str() {
        "-" => Spanned::new(Destination::Stdout, fields.place),
        text => Spanned::new(Destination::File(fields.in_folder("path", text)), path.place),
    })
}

pub(super) fn timeouts(file: &Fields<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    set_all(&TIMEOUT_BOUNDS, &mut timeouts, &file.inner("timeouts"));
    timeouts
}

/// The limits of the data path, and how many orders at CAs may be under way at once.
pub(super) fn limits(file: &Fields<'_>) -> (Limits, usize) {
    let mut limits = Limits::default();
    let fields = file.inner("limits");
    set_all(&LIMIT_BOUNDS, &mut limits, &fields);
    set_all(&CLIENT_BOUNDS, &mut limits.client, &fields.inner("client"));
    set_all(&BACKEND_BOUNDS, &mut limits.backend, &fields.inner("backend"));
    if limits.connection_memory > limits.memory_for_peers() {
        let place = fields.place_of("connection_memory");
        let message = "`connection_memory` is more than `process_memory` leaves for connections";
        let remedy = "one connection must fit into it; 20 MiB of `process_memory`, at most a third, are the process's own";
        fields.error(place, message, remedy);
    }
    let max_orders = usize::try_from(fields.count("max_orders"));
    (limits, max_orders.unwrap_or(usize::MAX))
}

fn set_all<T>(bounds: &BoundTable<T>, target: &mut T, fields: &Fields<'_>) {
    for (name, amount) in fields.amounts() {
        if !bounds.set(target, name, amount.value) {
            let what = match amount.value {
                Amount::Unlimited => "cannot be unlimited",
                _ => "is too large",
            };
            fields.error(amount.place, format!("`{name}` {what}"), None);
        }
    }
}

pub(super) fn workers(file: &Fields<'_>) -> NonZeroUsize {
    const MANY: u64 = 1_024;
    let given = file.spanned("workers", values::count);
    if let Some(many) = given.as_ref().filter(|given| given.value > MANY) {
        let message = format!("`workers` is more than {MANY}");
        file.error(many.place, message, "one per CPU is right; leave it out");
    }
    let given = given.and_then(|given| NonZeroUsize::new(usize::try_from(given.value).ok()?));
    given.unwrap_or_else(cgroup::workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_levels_are_one_for_all_and_then_per_part() {
        assert_eq!(log_level("INFO"), Ok("info".to_owned()));
        assert_eq!(
            log_level("warning, gateway=debug,http2=trace"),
            Ok("warn,gateway=debug,http2=trace".to_owned())
        );
        assert_eq!(
            log_level("info,gatway=debug")
                .expect_err("typo")
                .remedy
                .as_deref(),
            Some("did you mean `gateway`?")
        );
        for text in [
            "",
            "loud",
            "gateway=debug",
            "info,debug",
            "info,gateway=loud",
            "info,",
        ] {
            assert!(log_level(text).is_err(), "{text}");
        }
    }
}
