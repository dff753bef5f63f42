//! The limits that the issuers of a chain set for what is below them: names (RFC 5280 §4.2.1.10) and the number of
//! issuers (§4.2.1.9).
//!
//! The path is the chain itself, up to its own top: that much every client walks, whatever it trusts above. What
//! OpenSSL, curl, Go and Java all refuse is refused; what only some of them refuse is a warning.

use std::net::IpAddr;

use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints, ParsedExtension};

use super::chain::{Parsed, address, components};
use super::error::BundleError;
use super::{Warning, chain};

/// Critical extensions that clients know, beside those that are parsed here: inhibitAnyPolicy and policyConstraints.
const KNOWN_POLICIES: [&str; 2] = ["2.5.29.54", "2.5.29.36"];

pub(super) fn check(chain: &[&Parsed<'_>], warnings: &mut Vec<Warning>) -> Result<(), BundleError> {
    let Some((leaf, issuers)) = chain.split_first() else {
        return Ok(());
    };
    if lacks_server_auth(leaf) {
        warnings.push(Warning::Path {
            position: 1,
            reason: "allows any extended key usage and does not name serverAuth: OpenSSL refuses it, Go and Java do not",
        });
    }
    for (index, certificate) in chain.iter().enumerate() {
        // RFC 5280 §4.1.2.2: positive.
        if certificate
            .x509
            .raw_serial()
            .first()
            .is_some_and(|first| first & 0x80 != 0)
        {
            warnings.push(Warning::Path {
                position: index + 1,
                reason: "has a negative serial number: Go refuses it, OpenSSL and Java do not",
            });
        }
    }
    // RFC 5280 §6.1.4 (l): self-issued certificates do not count.
    let mut issuers_below = 0;
    for (index, issuer) in issuers.iter().enumerate() {
        let position = index + 2;
        let mut warn = |reason| warnings.push(Warning::Path { position, reason });
        let is_root = issuer.is_self_signed();
        if let Some(limit) = path_length(issuer).filter(|limit| issuers_below > *limit) {
            if !is_root {
                return Err(BundleError::PathLength {
                    position: issuer.position,
                    limit,
                    below: issuers_below,
                });
            }
            warn(
                "is a root that allows fewer issuers below it: OpenSSL and Go refuse the chain, Java does not",
            );
        }
        if !issuer.names_as_issuer(issuer) {
            issuers_below += 1;
        }
        if let Some((constraints, is_critical)) = name_constraints(issuer) {
            match forbidden(leaf, constraints, is_critical) {
                Some(name) if !is_root => {
                    return Err(BundleError::NameConstraint {
                        position: issuer.position,
                        subject: chain::text(issuer.x509.subject()),
                        name,
                    });
                }
                Some(_) => warn(
                    "is a root that does not allow its names: OpenSSL and Go refuse the chain, Java does not",
                ),
                None if has_others(constraints) => warn(
                    "has name constraints of a kind that Go does not know: it refuses the chain if they are critical",
                ),
                None => {}
            }
        }
        if lacks_server_auth(issuer) {
            warn(if allows_any_usage(issuer) {
                "allows any extended key usage and does not name serverAuth: OpenSSL refuses the chain, Go and Java do not"
            } else {
                "has an extended key usage without serverAuth: OpenSSL and Go refuse the chain, Java does not"
            });
        }
        if has_unknown_critical_extension(issuer) {
            warn(
                "has a critical extension that is not known here: clients that do not know it refuse the chain",
            );
        }
    }
    Ok(())
}

fn path_length(issuer: &Parsed<'_>) -> Option<u32> {
    issuer.x509.basic_constraints().ok()??.value.path_len_constraint
}

fn name_constraints<'a>(issuer: &'a Parsed<'_>) -> Option<(&'a NameConstraints<'a>, bool)> {
    let extension = issuer.x509.name_constraints().ok()??;
    Some((extension.value, extension.critical))
}

/// The first of the leaf's names that these constraints do not allow. Its subject counts if they are critical: then Go
/// refuses the chain as well.
fn forbidden(leaf: &Parsed<'_>, constraints: &NameConstraints<'_>, is_critical: bool) -> Option<String> {
    if is_critical && is_subject_forbidden(leaf, constraints) {
        return Some(chain::text(leaf.x509.subject()));
    }
    let alternative = leaf.x509.subject_alternative_name().ok()??;
    let bases = |trees: &Option<Vec<GeneralSubtree<'_>>>| -> Vec<ConstraintBase> {
        let trees = trees.iter().flatten();
        trees.filter_map(|tree| ConstraintBase::of(&tree.base)).collect()
    };
    let (permitted, excluded) = (
        bases(&constraints.permitted_subtrees),
        bases(&constraints.excluded_subtrees),
    );
    let is_forbidden = |name: &LeafName<'_>| {
        let of_its_kind = || permitted.iter().filter(|base| base.is_of_kind_of(name));
        excluded.iter().any(|base| base.contains(name))
            || (of_its_kind().next().is_some() && !of_its_kind().any(|base| base.contains(name)))
    };
    let mut names = alternative.value.general_names.iter().filter_map(LeafName::of);
    names.find(is_forbidden).map(|name| name.text())
}

fn is_subject_forbidden(leaf: &Parsed<'_>, constraints: &NameConstraints<'_>) -> bool {
    let subject = components(leaf.x509.subject());
    let bases = |trees: &Option<Vec<GeneralSubtree<'_>>>| -> Vec<Vec<String>> {
        let trees = trees.iter().flatten();
        let names = trees.filter_map(|tree| match &tree.base {
            GeneralName::DirectoryName(name) => Some(components(name)),
            _ => None,
        });
        names.collect()
    };
    let (permitted, excluded) = (
        bases(&constraints.permitted_subtrees),
        bases(&constraints.excluded_subtrees),
    );
    let is_below = |base: &Vec<String>| subject.starts_with(base);
    !subject.is_empty()
        && (excluded.iter().any(is_below) || (!permitted.is_empty() && !permitted.iter().any(is_below)))
}

fn has_others(constraints: &NameConstraints<'_>) -> bool {
    let trees = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
    trees.into_iter().flatten().flatten().any(|tree| {
        !matches!(
            tree.base,
            GeneralName::DNSName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RFC822Name(_)
                | GeneralName::URI(_)
        )
    })
}

/// A name of the leaf, of the kinds that servers are asked by.
enum LeafName<'a> {
    Dns(&'a str),
    Ip(IpAddr),
}

impl<'a> LeafName<'a> {
    fn of(name: &GeneralName<'a>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Dns(name)),
            GeneralName::IPAddress(bytes) => address(bytes).map(Self::Ip),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Dns(name) => name
                .chars()
                .filter(|letter| crate::is_shown(*letter))
                .take(253)
                .collect(),
            Self::Ip(ip) => ip.to_string(),
        }
    }
}

/// The subject of a constraint: a domain or a range of addresses.
enum ConstraintBase {
    Dns(String),
    /// An address and its mask.
    Ip(Vec<u8>, Vec<u8>),
}

impl ConstraintBase {
    fn of(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Dns(name.to_ascii_lowercase())),
            // RFC 5280 §4.2.1.10: the address, then the mask.
            GeneralName::IPAddress(bytes) if matches!(bytes.len(), 8 | 32) => {
                let (address, mask) = bytes.split_at_checked(bytes.len() / 2)?;
                Some(Self::Ip(address.to_vec(), mask.to_vec()))
            }
            _ => None,
        }
    }

    fn is_of_kind_of(&self, name: &LeafName<'_>) -> bool {
        matches!(
            (self, name),
            (Self::Dns(_), LeafName::Dns(_)) | (Self::Ip(..), LeafName::Ip(_))
        )
    }

    fn contains(&self, name: &LeafName<'_>) -> bool {
        match (self, name) {
            // RFC 5280 §4.2.1.10: labels are added on the left; with a dot before it clients want at least one.
            (Self::Dns(base), LeafName::Dns(name)) => {
                let name = name.to_ascii_lowercase();
                match name.strip_suffix(base.as_str()) {
                    Some(rest) => {
                        base.is_empty()
                            || base.starts_with('.') && !rest.is_empty()
                            || rest.is_empty()
                            || rest.ends_with('.')
                    }
                    None => false,
                }
            }
            (Self::Ip(base, mask), LeafName::Ip(ip)) => {
                let bytes = match ip {
                    IpAddr::V4(ip) => ip.octets().to_vec(),
                    IpAddr::V6(ip) => ip.octets().to_vec(),
                };
                let masked = |address: &[u8]| -> Vec<u8> {
                    address.iter().zip(mask).map(|(byte, mask)| byte & mask).collect()
                };
                bytes.len() == base.len() && masked(&bytes) == masked(base)
            }
            _ => false,
        }
    }
}

/// OpenSSL and Go want each issuer with an extended key usage to have the leaf's.
fn lacks_server_auth(certificate: &Parsed<'_>) -> bool {
    let usage = certificate.x509.extended_key_usage().ok().flatten();
    usage.is_some_and(|usage| !usage.value.server_auth)
}

fn allows_any_usage(certificate: &Parsed<'_>) -> bool {
    let usage = certificate.x509.extended_key_usage().ok().flatten();
    usage.is_some_and(|usage| usage.value.any)
}

fn has_unknown_critical_extension(issuer: &Parsed<'_>) -> bool {
    issuer.x509.extensions().iter().any(|extension| {
        let parsed = extension.parsed_extension();
        let is_unknown = matches!(
            parsed,
            ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::ParseError { .. }
        );
        extension.critical && is_unknown && !KNOWN_POLICIES.contains(&extension.oid.to_id_string().as_str())
    })
}
