//! The address of the running program: of the command line, the environment, a configuration, or the default.

use std::env;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::cli::{AdminAddress, CertsArguments};
use crate::config::{self, ADMIN_ADDRESS};

/// The admin interface that is asked: its address, and the origin of that.
#[derive(Debug)]
pub(super) struct AdminServer {
    pub(super) address: AdminAddress,
    /// In words, in brackets; empty if it was named on the command line.
    origin: String,
}

impl AdminServer {
    /// Finds the address. The command line goes before the environment, and both before the default.
    pub(super) fn find(arguments: &CertsArguments) -> Result<Self> {
        let (address, origin) = match (&arguments.admin, &arguments.config) {
            (Some(address), _) => (address.clone(), String::new()),
            (None, Some(file)) => configured(file)?,
            (None, None) => Self::surroundings()?,
        };
        Ok(Self { address, origin })
    }

    fn surroundings() -> Result<(AdminAddress, String)> {
        const ADDRESS: &str = "H2GATE_ADMIN";
        const FILE: &str = "H2GATE_CONFIG";
        if let Some(text) = env::var_os(ADDRESS).filter(|text| !text.is_empty()) {
            let address = text.to_string_lossy().parse();
            let address = address
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("the environment variable {ADDRESS}"))?;
            return Ok((address, format!(" (from {ADDRESS})")));
        }
        if let Some(file) = env::var_os(FILE).filter(|file| !file.is_empty()) {
            return configured(Path::new(&file));
        }
        Ok((of_socket(ADMIN_ADDRESS)?, " (the default)".to_owned()))
    }
}

impl fmt::Display for AdminServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, self.origin)
    }
}

fn configured(file: &Path) -> Result<(AdminAddress, String)> {
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
    Ok((of_socket(address)?, format!(" (from {})", file.display())))
}

/// Fails for a link-local address with a scope, which no URL can name.
fn of_socket(address: SocketAddr) -> Result<AdminAddress> {
    address.to_string().parse().map_err(anyhow::Error::msg)
}
