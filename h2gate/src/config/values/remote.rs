//! Values that name things elsewhere: URLs, mail addresses, name servers, names that AWS gave.

use std::net::{IpAddr, SocketAddr};

use http::Uri;

use super::{ValueError, domain, ensure, shorten, value_error};

/// The port of DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// One line of text that some other service understands. A key or certificate itself is an error that does not repeat it.
pub(in crate::config) fn text(text: &str) -> Result<String, ValueError> {
    const MOST: usize = 2_048;
    ensure!(
        !text.contains("-----BEGIN"),
        "this is PEM text";
        "store it at the source, and give its name here"
    );
    ensure!(
        !text.is_empty() && text.len() <= MOST && !text.chars().any(char::is_control),
        "this must be one line of 1 to {MOST} characters"
    );
    Ok(text.to_owned())
}

/// A path; PEM text itself in its place is a common slip, and must not be repeated in a message.
pub(in crate::config) fn path(text: &str) -> Result<String, ValueError> {
    ensure!(!text.contains("-----BEGIN"), "this is PEM text"; "write it to a file and give the path");
    ensure!(
        !text.is_empty() && !text.contains('\0') && !text.contains('\n'),
        "this is not a path";
        "write the path of a file in one line"
    );
    if text.contains("${") || text.contains("$(") {
        return Err(value_error!(
            "`{}`: variables are not expanded here", shorten(text);
            "write the path itself, or let another program (envsubst) write this file before the start"
        ));
    }
    Ok(text.to_owned())
}

/// `https://host…`; `http://` only to this machine, where nobody can listen in.
pub(in crate::config) fn url(text: &str) -> Result<String, ValueError> {
    let not_a_url = || value_error!("`{}` is not a URL", shorten(text); "write https://HOST/PATH");
    // Before any message that repeats it.
    ensure!(
        !may_hold_secret(text),
        "the URL holds a user name";
        "leave it out; secrets do not stand in the configuration"
    );
    let uri = text.parse::<Uri>().map_err(|_| not_a_url())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(not_a_url());
    };
    match scheme {
        "https" => Ok(text.to_owned()),
        "http" if is_this_machine(authority.host()) => Ok(text.to_owned()),
        "http" => Err(value_error!(
            "`{}` is not encrypted", shorten(text);
            "write https://; http:// is possible to 127.0.0.1, [::1] and localhost alone"
        )),
        _ => Err(not_a_url()),
    }
}

/// The URL of an SQS queue; its ARN and its name alone are common slips.
pub(in crate::config) fn queue(text: &str) -> Result<String, ValueError> {
    let arn = text
        .strip_prefix("arn:")
        .map(|rest| rest.split(':').collect::<Vec<_>>());
    if let Some([partition, "sqs", region, account, name]) = arn.as_deref() {
        let cloud = if partition.starts_with("aws-cn") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        return Err(value_error!(
            "this is the ARN of a queue";
            "write its URL: https://sqs.{region}.{cloud}/{account}/{name}"
        ));
    }
    let shape = "write https://sqs.REGION.amazonaws.com/ACCOUNT/NAME";
    let given = url(text).map_err(|error| match text.contains("://") {
        true => error,
        false => ValueError {
            remedy: Some(shape.to_owned()),
            ..error
        },
    })?;
    let path = given.parse::<Uri>().ok();
    let parts = path
        .iter()
        .flat_map(|uri| uri.path().split('/'))
        .filter(|part| !part.is_empty());
    match parts.count() {
        2.. => Ok(given),
        _ => Err(value_error!("the URL names no queue"; "{shape}")),
    }
}

/// Says if a text that was not understood may hold a secret, and must not be shown: PEM, or a URL with a password.
pub(in crate::config) fn may_hold_secret(text: &str) -> bool {
    let has_user = |after: &str| {
        after
            .split(['/', '?', '#'])
            .next()
            .is_some_and(|host| host.contains('@'))
    };
    text.contains("-----BEGIN") || text.split_once("://").is_some_and(|(_, after)| has_user(after))
}

/// Says if a URL leads to this machine.
pub(in crate::config) fn is_local(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    uri.is_some_and(|uri| uri.host().is_some_and(is_this_machine))
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `somebody@example.com`, without `mailto:`.
pub(in crate::config) fn mail(text: &str) -> Result<String, ValueError> {
    if let Some(address) = text.strip_prefix("mailto:") {
        return Err(value_error!("`mailto:` does not belong here"; "write {}", shorten(address)));
    }
    let valid = text.split_once('@').is_some_and(|(local, host)| {
        let local_valid = !local.is_empty() && local.chars().all(|c| c.is_ascii_graphic() && c != ',');
        local_valid && host.contains('.') && !host.starts_with('*') && domain(host).is_ok()
    });
    ensure!(
        valid && text.len() <= 254,
        "`{}` is not a mail address", shorten(text);
        "write NAME@DOMAIN, as in ops@example.com"
    );
    Ok(text.to_owned())
}

/// `ip:port` or `ip`.
pub(in crate::config) fn resolver(text: &str) -> Result<SocketAddr, ValueError> {
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
    alone
        .or_else(|_| text.parse::<SocketAddr>())
        .ok()
        .filter(|address| address.port() != 0 && !address.ip().is_unspecified())
        .ok_or_else(|| {
            value_error!(
                "`{}` is not the address of a name server", shorten(text);
                "write IP:PORT, as in \"10.0.0.2:53\""
            )
        })
}

/// `arn:aws:iam::123456789012:role/name`.
pub(in crate::config) fn role(text: &str) -> Result<String, ValueError> {
    let mut parts = text.splitn(6, ':');
    let valid = parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some("iam")
        && parts.nth(1).is_some_and(|account| !account.is_empty())
        && parts.next().is_some_and(|resource| resource.starts_with("role/"));
    ensure!(valid, "`{}` is not the ARN of a role", shorten(text); "write arn:aws:iam::ACCOUNT:role/NAME");
    Ok(text.to_owned())
}

/// `eu-central-1`.
pub(in crate::config) fn region(text: &str) -> Result<String, ValueError> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        !text.is_empty() && text.len() <= 40 && text.chars().all(valid),
        "`{}` is not a region", shorten(text);
        "write its code, as in eu-central-1"
    );
    Ok(text.to_owned())
}

/// A bucket's name, or the ARN of an access point.
pub(in crate::config) fn bucket(text: &str) -> Result<String, ValueError> {
    if let Some(rest) = text.strip_prefix("s3://") {
        let name = rest.split('/').next().unwrap_or(rest);
        return Err(value_error!("`s3://` does not belong here"; "write the name alone: {}", shorten(name)));
    }
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let is_name = (3..=63).contains(&text.len()) && text.chars().all(valid);
    let is_access_point = text.starts_with("arn:aws") && text.len() <= 2_048;
    ensure!(
        is_name || is_access_point,
        "`{}` is not the name of a bucket", shorten(text);
        "names have 3 to 63 small letters, digits, - and ."
    );
    Ok(text.to_owned())
}

/// A variable of the environment.
pub(in crate::config) fn variable(text: &str) -> Result<String, ValueError> {
    let name = text.strip_prefix('$').unwrap_or(text);
    let valid = !name.is_empty()
        && name.len() <= 200
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match valid {
        true if name != text => Err(value_error!("`$` does not belong here"; "write the name alone: {name}")),
        true => Ok(text.to_owned()),
        // It may be the secret itself.
        false => Err(value_error!(
            "this is not the name of a variable";
            "write the name of a variable of the environment, as in ACME_HMAC_KEY"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_reached_without_encryption() {
        for valid in [
            "https://acme.example.com/dir",
            "http://127.0.0.1:4566",
            "http://[::1]:1/x",
            "http://localhost:14000/dir",
        ] {
            assert_eq!(url(valid), Ok(valid.to_owned()));
        }
        for unvalid in [
            "http://acme.example.com/dir",
            "http://127.0.0.1.example.com/",
            "ftp://127.0.0.1/",
            "acme.example.com",
            "/dir",
            "",
            "https://user:password@example.com/",
        ] {
            assert!(url(unvalid).is_err(), "{unvalid}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        let error = url("https://user:password@example.com/").expect_err("a password");
        assert!(!format!("{error:?}").contains("password@"), "{error:?}");
    }

    #[test]
    fn a_queue_is_named_by_its_url() {
        for valid in [
            "https://sqs.eu-central-1.amazonaws.com/123456789012/changes",
            "http://127.0.0.1:5000/123456789012/changes",
        ] {
            assert_eq!(queue(valid), Ok(valid.to_owned()));
        }
        let arn = queue("arn:aws-cn:sqs:cn-north-1:123456789012:changes").expect_err("an ARN");
        let url = "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/changes";
        assert!(arn.remedy.is_some_and(|remedy| remedy.ends_with(url)));
        for text in [
            "changes",
            "https://sqs.eu-central-1.amazonaws.com/",
            "arn:aws:sns:a:b:c",
        ] {
            assert!(queue(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_known() {
        for (text, secret) in [
            ("https://a:b@example.com/x", true),
            ("-----BEGIN PRIVATE KEY-----", true),
            ("https://example.com/a@b", false),
            ("ops@example.com", false),
        ] {
            assert_eq!(may_hold_secret(text), secret, "{text}");
        }
    }

    #[test]
    fn mail_addresses_have_a_name_and_a_domain() {
        assert!(mail("ops@example.com").is_ok());
        for text in [
            "ops",
            "@example.com",
            "ops@",
            "ops@localhost",
            "a b@example.com",
            "mailto:ops@example.com",
        ] {
            assert!(mail(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_server_has_an_address_and_maybe_a_port() {
        assert_eq!(resolver("10.0.0.2"), Ok("10.0.0.2:53".parse().unwrap()));
        assert_eq!(resolver("[::1]:8053"), Ok("[::1]:8053".parse().unwrap()));
        for text in ["ns.example.com:53", "0.0.0.0:53", "10.0.0.2:0", ""] {
            assert!(resolver(text).is_err(), "{text}");
        }
    }

    #[test]
    fn roles_buckets_and_variables_are_told_from_others() {
        assert!(role("arn:aws:iam::123456789012:role/h2gate").is_ok());
        assert!(role("arn:aws-cn:iam::123456789012:role/path/h2gate").is_ok());
        assert!(role("h2gate").is_err() && role("arn:aws:iam::1:user/h2gate").is_err());
        assert!(bucket("my-bucket.1").is_ok() && bucket("arn:aws:s3:eu-west-1:1:accesspoint/a").is_ok());
        assert!(bucket("s3://b/c").is_err() && bucket("B").is_err());
        assert!(variable("HMAC_KEY").is_ok() && variable("$HMAC_KEY").is_err());
        let secret = variable("dGhlIHNlY3JldA-x").expect_err("no name");
        assert!(!format!("{secret:?}").contains("dGhl"));
    }
}
