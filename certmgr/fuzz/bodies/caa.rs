//! CAA records with any tags and values, as a name server may give them: one a line, `flags tag value`.

use super::assert_printable;
use crate::dns::caa::{CaaQuestion, CaaRecord, CaaSet};

pub fn run(data: &[u8]) {
    let records = data.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        Some(CaaRecord::new(
            parts.next()? == b"128",
            parts.next()?,
            parts.next()?,
        ))
    });
    let set = CaaSet {
        at: "example.com".to_owned(),
        records: records.collect(),
    };
    for wildcard in [false, true] {
        let question = CaaQuestion {
            identities: &["ca.example".to_owned()],
            account: Some("https://ca.example/acct/7"),
            method: "dns-01",
            wildcard,
        };
        let of = |tag: &str| -> Vec<&CaaRecord> {
            set.records.iter().filter(|record| record.tag == tag).collect()
        };
        let counting = match of("issuewild") {
            records if wildcard && !records.is_empty() => records,
            _ => of("issue"),
        };
        match set.permits(question) {
            // RFC 8659 §4.3: where such records are, one of them must name the CA.
            Ok(()) => {
                let names_ca = |record: &&CaaRecord| record.value.to_lowercase().contains("ca.example");
                assert!(counting.is_empty() || counting.iter().any(names_ca), "{set:?}");
            }
            Err(error) => assert_printable(&error),
        }
    }
}
