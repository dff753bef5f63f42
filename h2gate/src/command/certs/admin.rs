//! The address of the running program: of the command line, the environment, a configuration, or the default.

use std::env;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use http::uri::Authority;

use crate::cli::CertsArguments;
use crate::config::{self, ADMIN_ADDRESS};

/// Host and port of an admin interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAddress(Authority);

impl FromStr for AdminAddress {
    type Err = String;

    /// Takes `host:port`, with or without `http://` in front.
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let wrong = || format!("`{text}` is no address: write HOST:PORT, such as {ADMIN_ADDRESS}");
        let authority: Authority = bare.parse().map_err(|_| wrong())?;
        let whole = authority.port_u16().is_some_and(|port| port != 0) && !authority.host().is_empty();
        if !whole || bare.contains('@') {
            return Err(wrong());
        }
        Ok(Self(authority))
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address, and who named it.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) address: AdminAddress,
    from: NamedBy,
}

#[derive(Debug)]
enum NamedBy {
    CommandLine,
    Environment(&'static str),
    File(PathBuf),
    Default,
}

impl Admin {
    /// Finds the address. The command line goes before the environment, and both before the default.
    pub(super) fn find(arguments: &CertsArguments) -> Result<Self> {
        let (address, from) = match (&arguments.admin, &arguments.config) {
            (Some(address), _) => (address.clone(), NamedBy::CommandLine),
            (None, Some(file)) => (configured(file)?, NamedBy::File(file.clone())),
            (None, None) => Self::surroundings()?,
        };
        Ok(Self { address, from })
    }

    fn surroundings() -> Result<(AdminAddress, NamedBy)> {
        const ADDRESS: &str = "H2GATE_ADMIN";
        const FILE: &str = "H2GATE_CONFIG";
        if let Some(text) = env::var_os(ADDRESS).filter(|text| !text.is_empty()) {
            let address = text.to_string_lossy().parse();
            let address = address
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("the environment variable {ADDRESS}"))?;
            return Ok((address, NamedBy::Environment(ADDRESS)));
        }
        if let Some(file) = env::var_os(FILE).filter(|file| !file.is_empty()) {
            let file = PathBuf::from(file);
            return Ok((configured(&file)?, NamedBy::File(file)));
        }
        Ok((of_socket(ADMIN_ADDRESS)?, NamedBy::Default))
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match &self.from {
            NamedBy::CommandLine => Ok(()),
            NamedBy::Environment(name) => write!(f, " (from {name})"),
            NamedBy::File(file) => write!(f, " (from {})", file.display()),
            NamedBy::Default => f.write_str(" (the default)"),
        }
    }
}

fn configured(file: &Path) -> Result<AdminAddress> {
    let resolved = match config::load(file) {
        Ok(resolved) => resolved,
        Err(mistakes) => bail!("cannot take the admin address from the configuration:\n{mistakes}"),
    };
    let mut address = resolved.admin.address;
    if address.port() == 0 {
        bail!(
            "{} lets the system choose the admin port; the address is printed when h2gate starts: name it with \
             --admin",
            file.display()
        );
    }
    // All addresses of this machine: one of them is enough.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    of_socket(address)
}

/// Fails for a link-local address with a scope, which no URL can name.
fn of_socket(address: SocketAddr) -> Result<AdminAddress> {
    address.to_string().parse().map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in [
            "127.0.0.1:9901",
            "[::1]:9901",
            "localhost:1",
            "http://gate.internal:9901/",
        ] {
            let bare = good.trim_start_matches("http://").trim_end_matches('/');
            assert_eq!(good.parse::<AdminAddress>().unwrap().to_string(), bare);
        }
        for bad in [
            "",
            "9901",
            ":9901",
            "localhost",
            "localhost:0",
            "a:b",
            "a@b:1",
            "https://a:1",
            "a:1/x",
        ] {
            let wrong = bad.parse::<AdminAddress>().unwrap_err();
            assert!(wrong.contains("write HOST:PORT"), "{bad}: {wrong}");
        }
    }
}
