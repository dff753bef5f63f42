//! The hosted zone that a record belongs to.

use std::fmt;

use aws_sdk_route53::types::HostedZone;

use super::call::{Call, Refusal};
use crate::dns::failure;
use crate::error::IssueError;

/// Number of zones in one answer: the most that Route 53 gives.
const PAGE: i32 = 100;

/// Largest number of answers that are read.
const MAX_PAGES: usize = 100;

/// Number of zones that an error names.
const MAX_NAMED: usize = 10;

/// A public hosted zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zone {
    /// The id of the zone: `Z0123456789`.
    pub(super) id: String,
    /// In lower case, without the dot at the end. Empty: configured by id, its name does not matter.
    name: String,
}

impl Zone {
    pub(super) fn configured(id: &str) -> Self {
        Self {
            id: bare_id(id),
            name: String::new(),
        }
    }

    /// Reads a zone; `None` if it is private: no CA can ask it.
    fn public(zone: &HostedZone) -> Option<Self> {
        let private = zone.config.as_ref().is_some_and(|config| config.private_zone);
        let name = zone.name.trim_end_matches('.').to_ascii_lowercase();
        (!private && !name.is_empty()).then(|| Self {
            id: bare_id(&zone.id),
            name,
        })
    }

    fn holds(&self, name: &str) -> bool {
        let front = name.strip_suffix(self.name.as_str());
        self.name.is_empty() || front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            write!(f, "zone {}", self.id)
        } else {
            write!(f, "zone {} ({})", self.name, self.id)
        }
    }
}

/// Returns the zone with the longest name that `name` (lower case, no dot at the end) ends in.
pub(super) fn zone_of<'a>(zones: &'a [Zone], name: &str) -> Result<&'a Zone, IssueError> {
    let holding = || zones.iter().filter(|zone| zone.holds(name));
    let longest = holding().map(|zone| zone.name.len()).max();
    let candidates: Vec<&Zone> = holding()
        .filter(|zone| Some(zone.name.len()) == longest)
        .collect();
    match candidates.as_slice() {
        [zone] => Ok(*zone),
        [] => Err(failure(
            format!(
                "Route 53 has no public hosted zone for {name}; there {}",
                named(zones)
            ),
            "create the zone, delegate the name by CNAME to a zone that is there, or check the account (`role`)",
        )),
        several => Err(failure(
            format!(
                "Route 53 has {} public hosted zones for {name}: {}",
                several.len(),
                listed(several.iter().copied())
            ),
            "say by `zone` which one the parent domain delegates to",
        )),
    }
}

/// Lists all public zones.
pub(super) async fn list(call: &Call<'_>) -> Result<Vec<Zone>, Refusal> {
    let mut zones = Vec::new();
    let mut from: Option<(String, Option<String>)> = None;
    for _ in 0..MAX_PAGES {
        let answer = call
            .send("ListHostedZonesByName", |client| {
                let (name, id) = from.clone().unzip();
                client
                    .list_hosted_zones_by_name()
                    .set_dns_name(name)
                    .set_hosted_zone_id(id.flatten())
                    .max_items(PAGE)
                    .send()
            })
            .await?;
        zones.extend(answer.hosted_zones().iter().filter_map(Zone::public));
        match answer.next_dns_name() {
            Some(next) if answer.is_truncated() => {
                from = Some((next.to_owned(), answer.next_hosted_zone_id().map(bare_id)));
            }
            _ => return Ok(zones),
        }
    }
    Err(Refusal::internal(format!(
        "there are more than {} hosted zones; say by `zone` which one is meant",
        MAX_PAGES * 100
    )))
}

fn bare_id(id: &str) -> String {
    id.strip_prefix("/hostedzone/").unwrap_or(id).to_owned()
}

fn named(zones: &[Zone]) -> String {
    match zones.len() {
        0 => "are none at all".to_owned(),
        1..=MAX_NAMED => format!("are {}", listed(zones)),
        count => {
            let first = listed(zones.iter().take(MAX_NAMED));
            format!("are {first} and {} others", count - MAX_NAMED)
        }
    }
}

fn listed<'a>(zones: impl IntoIterator<Item = &'a Zone>) -> String {
    let zones: Vec<String> = zones
        .into_iter()
        .map(|zone| format!("{} ({})", zone.name, zone.id))
        .collect();
    zones.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(id: &str, name: &str) -> Zone {
        Zone {
            id: id.to_owned(),
            name: name.to_owned(),
        }
    }

    fn choose(zones: &[(&str, &str)], name: &str) -> Result<String, String> {
        let zones: Vec<Zone> = zones.iter().map(|(id, name)| zone(id, name)).collect();
        zone_of(&zones, name)
            .map(|zone| zone.id.clone())
            .map_err(|error| error.text)
    }

    #[test]
    fn the_longest_suffix_wins() {
        let zones = [
            ("Z1", "example.com"),
            ("Z2", "b.example.com"),
            ("Z3", "ample.com"),
        ];
        assert_eq!(choose(&zones, "_acme-challenge.a.b.example.com").unwrap(), "Z2");
        assert_eq!(choose(&zones, "_acme-challenge.b.example.com").unwrap(), "Z2");
        assert_eq!(choose(&zones, "_acme-challenge.ab.example.com").unwrap(), "Z1");
        assert_eq!(choose(&zones, "example.com").unwrap(), "Z1");
    }

    #[test]
    fn a_suffix_ends_at_a_label() {
        let error = choose(&[("Z3", "ample.com")], "_acme-challenge.example.com").unwrap_err();
        assert!(
            error.contains("no public hosted zone for _acme-challenge.example.com"),
            "{error}"
        );
        assert!(error.contains("ample.com (Z3)"), "{error}");
    }

    #[test]
    fn two_zones_of_one_name_need_the_operator() {
        let error = choose(&[("Z1", "example.com"), ("Z2", "example.com")], "x.example.com").unwrap_err();
        assert!(error.contains("example.com (Z1), example.com (Z2)"), "{error}");
    }

    #[test]
    fn an_error_names_a_few_zones_only() {
        let names: Vec<String> = (0..50).map(|number| format!("zone{number}.test")).collect();
        let zones: Vec<(&str, &str)> = names.iter().map(|name| ("Z", name.as_str())).collect();
        let error = choose(&zones, "x.example.com").unwrap_err();
        assert!(error.contains("and 40 others"), "{error}");
        assert!(choose(&[], "x.example.com").unwrap_err().contains("none at all"));
    }
}
