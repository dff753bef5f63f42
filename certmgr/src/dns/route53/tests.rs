//! Route 53 as a whole: against a strict double (`double.rs`), and against moto (`moto.rs`). This file has the
//! vocabulary.

mod double;
mod moto;

use std::time::Duration;

use super::*;
use crate::dns::TxtRecords;

/// Timeout for a change. It is never reached if the code is correct.
const PATIENCE: Duration = Duration::from_secs(30);

const CHALLENGE: &str = "_acme-challenge.example.com";

/// Makes the provider for this endpoint, with waits that are short enough for a test.
fn zones(endpoint: &str, zone: Option<&str>, patience: Duration) -> Zones {
    let config = Route53 {
        aws: Aws {
            region: Some("us-east-1".to_owned()),
            endpoint: Some(endpoint.to_owned()),
            role: None,
        },
        zone: zone.map(str::to_owned),
        propagation_timeout: patience,
    };
    Zones {
        backoff: Backoff {
            first_retry: Duration::from_millis(5),
            first_poll: Duration::from_millis(5),
            max_wait: Duration::from_millis(20),
        },
        ..Zones::new(config, Reporter::new(None))
    }
}

fn record(name: &str, value: &str) -> TxtRecord {
    TxtRecord {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}
