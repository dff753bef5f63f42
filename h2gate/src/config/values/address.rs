//! Addresses to listen on, to connect to, and to trust.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use gateway::settings::EndpointAddress;
use ipnet::IpNet;

use super::name::domain;
use super::{ValueError, ensure, value_error};

/// `ip:port` to listen on; `[ip]:port` for IPv6.
pub(in crate::config) fn socket_address(text: &str) -> Result<SocketAddr, ValueError> {
    let (host, port) = host_and_port(text, 443)?;
    match host {
        "" | "*" => Err(value_error!(
            "`{text}` does not say which address";
            "write \"[::]:{port}\" for all addresses, or \"127.0.0.1:{port}\" for this machine alone"
        )),
        "localhost" => Err(value_error!(
            "a listening address must be an IP address";
            "write \"127.0.0.1:{port}\" or \"[::1]:{port}\""
        )),
        host => match ip(host) {
            Some(ip) => Ok(SocketAddr::new(ip, port)),
            None => Err(value_error!(
                "`{host}` is not an IP address";
                "write \"[::]:{port}\" for all addresses, or one address of this machine"
            )),
        },
    }
}

/// `ip:port` or `name:port` to connect to.
pub(in crate::config) fn endpoint(text: &str) -> Result<EndpointAddress, ValueError> {
    if let Some((scheme, rest)) = text.split_once("://")
        && ["http", "https"].contains(&scheme)
    {
        let host = rest.split('/').next().unwrap_or(rest);
        let port = if host.contains(':') { "" } else { ":50051" };
        return Err(value_error!(
            "`{text}` is a URL; this version speaks plaintext HTTP/2 (h2c) to backends, and no TLS yet";
            "write host:port, as in {host}{port}"
        ));
    }
    ensure!(
        !text.starts_with("unix:"),
        "Unix sockets are not supported";
        "let the backend listen on TCP and write host:port"
    );
    let (host, port) = host_and_port(text, 50051)?;
    ensure!(port != 0, "`{text}` has port 0, which nobody can connect to");
    if let Some(ip) = ip(host) {
        ensure!(
            !ip.is_unspecified(),
            "`{host}` means every address; nobody can connect to it";
            "write 127.0.0.1:{port} for this machine, or the address of the backend"
        );
        return Ok(EndpointAddress::Address(SocketAddr::new(ip, port)));
    }
    ensure!(!host.is_empty(), "`{text}` names no host"; "write host:port, such as 127.0.0.1:{port}");
    ensure!(
        !host.contains('*'),
        "`{host}` is a pattern; an endpoint is one host"
    );
    let host = match host.strip_suffix('.') {
        // An absolute name: the resolver's search list is not tried.
        Some(relative) => format!("{}.", domain(relative)?),
        None => domain(host)?,
    };
    Ok(EndpointAddress::Name { host, port })
}

/// `10.0.0.0/8`, or one address.
pub(in crate::config) fn network(text: &str) -> Result<IpNet, ValueError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(value_error!(
            "`{text}` is not a range of addresses";
            "write ADDRESS/BITS, such as 10.0.0.0/8 or fd00::/8, or one address"
        ));
    };
    ensure!(
        network.addr() == network.network(),
        "`{text}` has bits set beyond its /{}", network.prefix_len();
        "write {} for the range, or {} for the one address", network.trunc(), network.addr()
    );
    Ok(network)
}

/// `usual` is the port that remedies name.
fn host_and_port(text: &str, usual: u16) -> Result<(&str, u16), ValueError> {
    if text.contains("${") || text.starts_with('$') {
        return Err(value_error!(
            "`{text}` is a variable for a shell";
            "write the value itself: nothing is filled in from the environment here"
        ));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.trim_matches('/');
        return Err(value_error!("`{scheme}://` does not belong here"; "write host:port: {rest}"));
    }
    if let Some((before, _)) = text.split_once('/') {
        return Err(value_error!("`{text}` has a path"; "write host:port alone: {before}"));
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        let guess = text.rsplit_once(':').and_then(|(host, port)| {
            let host = host.parse::<Ipv6Addr>().ok()?;
            (port.parse::<u16>().ok()? > 0).then(|| format!("\"[{host}]:{port}\""))
        });
        let example = guess.unwrap_or_else(|| format!("\"[{address}]:{usual}\""));
        return Err(
            value_error!("`{text}` has no port"; "IPv6 addresses need brackets before the port: {example}"),
        );
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        ensure!(
            !text.bytes().all(|b| b.is_ascii_digit()),
            "`{text}` is only a port";
            "write host:port, such as \"[::]:{text}\""
        );
        return Err(value_error!("`{text}` has no port"; "write host:port, such as {text}:{usual}"));
    };
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        ensure!(!host.starts_with('['), "`{text}` has no port"; "write \"{text}:{usual}\"");
        let guess = match host.parse::<Ipv6Addr>() {
            Ok(host) => format!("\"[{host}]:{port}\""),
            Err(_) => format!("\"[::1]:{usual}\""),
        };
        let error = value_error!("`{text}` has more than one colon"; "IPv6 addresses need brackets: {guess}");
        return Err(error);
    }
    match port.parse::<u16>() {
        Ok(number) if !port.starts_with('+') => Ok((host, number)),
        _ if port.is_empty() => Err(value_error!(
            "`{text}` has no port";
            "write host:port, such as {text}{usual}"
        )),
        _ => Err(value_error!("`{port}` is not a port"; "a port is a number from 1 to 65535")),
    }
}

fn ip(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<IpAddr>().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_read() {
        for text in ["[::]:8443", "0.0.0.0:443", "127.0.0.1:0", "[::1]:9901"] {
            assert_eq!(socket_address(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn a_bad_address_says_what_to_write() {
        for (text, remedy) in [
            (
                ":8443",
                "write \"[::]:8443\" for all addresses, or \"127.0.0.1:8443\" for this machine alone",
            ),
            ("8443", "write host:port, such as \"[::]:8443\""),
            ("localhost:8443", "write \"127.0.0.1:8443\" or \"[::1]:8443\""),
            (
                "::1:8443",
                "IPv6 addresses need brackets before the port: \"[::1]:8443\"",
            ),
            ("::1:50051", "IPv6 addresses need brackets: \"[::1]:50051\""),
            ("[::1]", "write \"[::1]:443\""),
            ("0.0.0.0", "write host:port, such as 0.0.0.0:443"),
            ("0.0.0.0:", "write host:port, such as 0.0.0.0:443"),
            ("http://0.0.0.0:80/", "write host:port: 0.0.0.0:80"),
            ("0.0.0.0:70000", "a port is a number from 1 to 65535"),
            (
                "example.com:80",
                "write \"[::]:80\" for all addresses, or one address of this machine",
            ),
        ] {
            assert_eq!(
                socket_address(text).expect_err(text).remedy.as_deref(),
                Some(remedy),
                "{text}"
            );
        }
    }

    #[test]
    fn endpoints_are_addresses_or_names() {
        let name = |host: &str, port| EndpointAddress::Name {
            host: host.to_owned(),
            port,
        };
        assert_eq!(
            endpoint("guide.internal:50051"),
            Ok(name("guide.internal", 50051))
        );
        assert_eq!(endpoint("Guide_1:1"), Ok(name("guide_1", 1)));
        assert_eq!(endpoint("guide.internal.:1"), Ok(name("guide.internal.", 1)));
        assert!(matches!(endpoint("[::1]:50051"), Ok(EndpointAddress::Address(_))));
        for text in [
            "guide",
            "guide:0",
            "http://guide:80",
            "guide:80/x",
            ":80",
            "0.0.0.0:80",
            "*.x:80",
            "a b:1",
            "dns:///x:1",
            "300.1.1.1:80",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_ranges_or_single_addresses() {
        assert_eq!(
            network("10.0.0.1").map(|n| n.to_string()),
            Ok("10.0.0.1/32".to_owned())
        );
        assert_eq!(
            network("fd00::/8").map(|n| n.to_string()),
            Ok("fd00::/8".to_owned())
        );
        let error = network("10.0.0.1/8").expect_err("host bits");
        assert_eq!(
            error.remedy.as_deref(),
            Some("write 10.0.0.0/8 for the range, or 10.0.0.1 for the one address")
        );
        assert!(network("ten").is_err());
    }
}
