//! The address of an admin interface, as the command line takes it.

use std::fmt;
use std::str::FromStr;

use http::uri::Authority;

use crate::config::ADMIN_ADDRESS;

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
