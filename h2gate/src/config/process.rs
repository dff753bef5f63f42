//! Settings of the whole process: admin interface, logs, timeouts, limits, workers.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use gateway::access_log::Destination;
use gateway::settings::{Limits, Timeouts};

use super::bounds::{
    self, Amount, BACKEND_BOUNDS, BoundTable, CLIENT_BOUNDS, LIMIT_BOUNDS, MAX_ORDERS, TIMEOUT_BOUNDS,
};
use super::certificate::path_text;
use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::unknown::closest;
use super::values::{self, Wrong};
use super::{Log, LogFormat, NO_STATE, cgroup, path};

/// The address that the admin interface listens on unless told otherwise.
pub(crate) const ADMIN_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

/// The place where state is kept unless told otherwise.
const STATE_DIR: &str = "/var/lib/h2gate";

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

/// The address that the admin interface listens on, and the names by which it may be asked.
pub(super) fn admin(file: &Fields<'_>, found: &mut Diagnostics) -> (Spanned<SocketAddr>, Vec<String>) {
    let fields = file.map("admin", found);
    let hosts = fields
        .as_ref()
        .map(|fields| fields.values("hosts", values::host_pattern, found))
        .unwrap_or_default();
    let address = fields.and_then(|fields| admin_address(&fields, found));
    let default = Spanned {
        value: ADMIN_ADDRESS,
        place: Place::FILE,
    };
    (
        address.unwrap_or(default),
        hosts.into_iter().map(|host| host.value).collect(),
    )
}

fn admin_address(fields: &Fields<'_>, found: &mut Diagnostics) -> Option<Spanned<SocketAddr>> {
    let address = fields.value("address", values::socket_address, found)?;
    if !address.value.ip().is_loopback() {
        let message = format!(
            "the admin interface on {} can be reached from outside, without any authentication",
            address.value
        );
        let remedy = format!(
            "write \"127.0.0.1:{}\", unless the network is private",
            address.value.port()
        );
        found.warning(address.place, message, Some(remedy));
    }
    Some(address)
}

/// The place where state is kept; `None` is nowhere.
pub(super) fn state_dir(
    file: &Fields<'_>,
    folder: &Path,
    found: &mut Diagnostics,
) -> Spanned<Option<PathBuf>> {
    match file.value("state_dir", path_text, found) {
        None => Spanned {
            value: Some(PathBuf::from(STATE_DIR)),
            place: Place::FILE,
        },
        Some(given) => given.map(|text| (text != NO_STATE).then(|| path(folder, &text))),
    }
}

pub(super) fn log(file: &Fields<'_>, found: &mut Diagnostics) -> Log {
    let fields = file.map("log", found);
    let level = fields
        .as_ref()
        .and_then(|fields| fields.value("level", log_level, found));
    let format = fields.as_ref().and_then(|fields| fields.choice("format", found));
    Log {
        level: level.map_or("info".to_owned(), |level| level.value),
        format: if format == Some("json") {
            LogFormat::Json
        } else {
            LogFormat::Text
        },
    }
}

/// `info` or `info,gateway=debug`: one level for all, then levels of parts.
fn log_level(text: &str) -> Result<String, Wrong> {
    let mut parts = text.split(',').map(str::trim);
    let general = level(parts.next().unwrap_or_default())?;
    let mut written = general.to_owned();
    for part in parts {
        let Some((component, value)) = part.split_once('=') else {
            return Err(Wrong::but(
                format!("`{part}` names no part of the program"),
                "write PART=LEVEL, as in info,gateway=debug",
            ));
        };
        let mut known = LOG_PARTS.into_iter().chain(DEPENDENCIES);
        if !known.any(|known| known == component) {
            let remedy = match closest(component, LOG_PARTS.into_iter().chain(DEPENDENCIES)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("parts are {}", LOG_PARTS.join(", ")),
            };
            return Err(Wrong::but(
                format!("there is no part `{}`", values::shorten(component)),
                remedy,
            ));
        }
        written.push_str(&format!(",{component}={}", level(value)?));
    }
    Ok(written)
}

fn level(text: &str) -> Result<&'static str, Wrong> {
    let lower = text.to_ascii_lowercase();
    let name = if lower == "warning" {
        "warn"
    } else {
        lower.as_str()
    };
    LEVELS.into_iter().find(|level| *level == name).ok_or_else(|| {
        Wrong::but(
            format!("`{}` is not a level", values::shorten(text)),
            format!("levels are {}", LEVELS.join(", ")),
        )
    })
}

pub(super) fn access_log(
    file: &Fields<'_>,
    folder: &Path,
    found: &mut Diagnostics,
) -> Option<Spanned<Destination>> {
    let fields = file.map("access_log", found)?;
    fields.choice("format", found);
    let (destination, place) = match fields.value("path", path_text, found) {
        Some(file) if file.value != "-" => (Destination::File(path(folder, &file.value)), file.place),
        _ => (Destination::Stdout, fields.place),
    };
    Some(Spanned {
        value: destination,
        place,
    })
}

pub(super) fn timeouts(file: &Fields<'_>, found: &mut Diagnostics) -> Timeouts {
    let mut timeouts = Timeouts::default();
    if let Some(fields) = file.map("timeouts", found) {
        set_all(&TIMEOUT_BOUNDS, &mut timeouts, &fields, found);
    }
    timeouts
}

/// The limits of the data path, and how many orders at CAs may be under way at once.
pub(super) fn limits(file: &Fields<'_>, found: &mut Diagnostics) -> (Limits, usize) {
    let mut limits = Limits::default();
    let Some(fields) = file.map("limits", found) else {
        return (limits, bounds::default_max_orders());
    };
    set_all(&LIMIT_BOUNDS, &mut limits, &fields, found);
    if let Some(client) = fields.map("client", found) {
        set_all(&CLIENT_BOUNDS, &mut limits.client, &client, found);
    }
    if let Some(backend) = fields.map("backend", found) {
        set_all(&BACKEND_BOUNDS, &mut limits.backend, &backend, found);
    }
    if limits.connection_memory > limits.memory_for_peers() {
        let place = fields.place_of("connection_memory");
        let message = "`connection_memory` is more than `process_memory` leaves for connections";
        let remedy = "one connection must fit into it; 20 MiB of `process_memory`, at most a third, are the process's own";
        found.error(place, message, Some(remedy.to_owned()));
    }
    (limits, max_orders(&fields, found))
}

fn max_orders(limits: &Fields<'_>, found: &mut Diagnostics) -> usize {
    let given = limits.value(
        "max_orders",
        |text| values::count_within(text, &MAX_ORDERS),
        found,
    );
    given
        .and_then(|given| usize::try_from(given.value).ok())
        .unwrap_or_else(bounds::default_max_orders)
}

fn set_all<T>(bounds: &BoundTable<T>, target: &mut T, fields: &Fields<'_>, found: &mut Diagnostics) {
    for (name, amount) in fields.amounts(found) {
        if !bounds.set(target, name, amount.value) {
            let what = match amount.value {
                Amount::Unlimited => "cannot be unlimited",
                _ => "is too large",
            };
            found.error(amount.place, format!("`{name}` {what}"), None);
        }
    }
}

pub(super) fn workers(file: &Fields<'_>, found: &mut Diagnostics) -> NonZeroUsize {
    const MANY: u64 = 1_024;
    let Some(given) = file.value("workers", values::count, found) else {
        return cgroup::workers();
    };
    if given.value > MANY {
        found.error(
            given.place,
            format!("`workers` is more than {MANY}"),
            Some("one per CPU is right; leave it out".to_owned()),
        );
    }
    usize::try_from(given.value)
        .ok()
        .and_then(NonZeroUsize::new)
        .unwrap_or_else(cgroup::workers)
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
