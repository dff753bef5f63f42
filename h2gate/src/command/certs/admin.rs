//! The address of the running program: of the command line, the environment, a configuration, or the default.

use std::env;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cli::{AdminAddress, CertsArguments};
use crate::config::{self, ADMIN_ADDRESS};

/// The admin interface that is asked: its address, and the origin of that.
#[derive(Debug)]
pub(super) struct AdminServer {
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

impl AdminServer {
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

impl fmt::Display for AdminServer {
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
