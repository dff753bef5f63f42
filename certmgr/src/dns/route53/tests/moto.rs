//! Route 53 against moto, whose code is not ours. It is too lenient about DELETE and CREATE: the exact behaviour is
//! shown by the double.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use aws_sdk_route53::types::{
    ChangeAction, HostedZoneConfig, ResourceRecord, ResourceRecordSet, Vpc, VpcRegion,
};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::*;
use crate::dns::Lookup;
use crate::ports::free_address;

/// A moto process for one test; it ends with the test.
struct MotoRoute53 {
    endpoint: String,
    _process: Child,
}

impl MotoRoute53 {
    async fn start() -> Self {
        let tools = env::var_os("H2GATE_TOOLS").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools")),
            PathBuf::from,
        );
        let program = tools.join("bin/moto_server");
        let address = free_address();
        let process = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run scripts/install-tools", program.display()));
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "moto does not answer");
            sleep(Duration::from_millis(50)).await;
        }
        Self {
            endpoint: format!("http://{address}"),
            _process: process,
        }
    }

    fn zones(&self) -> Zones {
        zones(&self.endpoint, None, PATIENCE)
    }

    async fn client(&self) -> Client {
        Client::new(&aws_config(&self.zones().config.aws).await.unwrap())
    }

    async fn create(&self, name: &str, private: bool) -> String {
        let mut zone = self
            .client()
            .await
            .create_hosted_zone()
            .name(name)
            .caller_reference(format!("{name}{private}"));
        if private {
            let vpc = Vpc::builder()
                .vpc_id("vpc-1")
                .vpc_region(VpcRegion::UsEast1)
                .build();
            let config = HostedZoneConfig::builder().private_zone(true).build();
            zone = zone.vpc(vpc).hosted_zone_config(config);
        }
        let id = zone.send().await.unwrap().hosted_zone.unwrap().id;
        id.trim_start_matches("/hostedzone/").to_owned()
    }

    /// Returns all TXT sets of a zone, as `name ttl value,value`, in the order of moto.
    async fn sets(&self, zone: &str) -> Vec<String> {
        let sets = self
            .client()
            .await
            .list_resource_record_sets()
            .hosted_zone_id(zone)
            .send()
            .await
            .unwrap();
        sets.resource_record_sets()
            .iter()
            .filter(|set| set.r#type == RrType::Txt)
            .map(|set| {
                let values: Vec<&str> = set
                    .resource_records()
                    .iter()
                    .map(|record| record.value.as_str())
                    .collect();
                format!(
                    "{} {} {}",
                    set.name.trim_end_matches('.'),
                    set.ttl.unwrap(),
                    values.join(",").replace('"', "")
                )
            })
            .collect()
    }

    /// Writes a value as another client would.
    async fn put(&self, zone: &str, name: &str, value: &str) {
        let set = ResourceRecordSet::builder()
            .name(name)
            .r#type(RrType::Txt)
            .ttl(300)
            .resource_records(
                ResourceRecord::builder()
                    .value(format!("\"{value}\""))
                    .build()
                    .unwrap(),
            )
            .build()
            .unwrap();
        let change = Change::builder()
            .action(ChangeAction::Create)
            .resource_record_set(set)
            .build()
            .unwrap();
        let batch = ChangeBatch::builder().changes(change).build().unwrap();
        let client = self.client().await;
        client
            .change_resource_record_sets()
            .hosted_zone_id(zone)
            .change_batch(batch)
            .send()
            .await
            .unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn moto_keeps_one_set_for_wildcard_and_apex_beside_what_others_wrote() {
    let moto = MotoRoute53::start().await;
    let zone = moto.create("example.com", false).await;
    moto.put(&zone, CHALLENGE, "theirs").await;
    let zones = moto.zones();
    let records = [record(CHALLENGE, "apex"), record(CHALLENGE, "wildcard")];
    for _ in 0..2 {
        zones.present(&records).await.unwrap();
        assert_eq!(
            moto.sets(&zone).await,
            [format!("{CHALLENGE} 300 theirs,apex,wildcard")]
        );
    }
    for _ in 0..2 {
        zones.clean_up(&records).await.unwrap();
        assert_eq!(moto.sets(&zone).await, [format!("{CHALLENGE} 300 theirs")]);
    }
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn moto_keeps_nothing_after_a_clean_up_and_takes_the_records_again() {
    let moto = MotoRoute53::start().await;
    let zone = moto.create("example.com", false).await;
    let zones = moto.zones();
    for round in ["first", "second"] {
        let records = [
            record(CHALLENGE, round),
            record("_acme-challenge.www.example.com", round),
        ];
        zones.present(&records).await.unwrap();
        let mut sets = moto.sets(&zone).await;
        sets.sort();
        assert_eq!(
            sets,
            [
                format!("{CHALLENGE} 60 {round}"),
                format!("_acme-challenge.www.example.com 60 {round}")
            ]
        );
        zones.clean_up(&records).await.unwrap();
        assert_eq!(moto.sets(&zone).await, [""; 0]);
    }
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn moto_is_asked_for_the_public_zone_with_the_longest_suffix() {
    let moto = MotoRoute53::start().await;
    let parent = moto.create("example.com", false).await;
    let child = moto.create("b.example.com", false).await;
    let private = moto.create("a.b.example.com", true).await;
    let name = "_acme-challenge.a.b.example.com";
    moto.zones()
        .present(&[record(name, "deep"), record(CHALLENGE, "flat")])
        .await
        .unwrap();
    assert_eq!(moto.sets(&child).await, [format!("{name} 60 deep")]);
    assert_eq!(moto.sets(&parent).await, [format!("{CHALLENGE} 60 flat")]);
    assert_eq!(moto.sets(&private).await, [""; 0]);
    let error = moto
        .zones()
        .present(&[record("_acme-challenge.example.net", "x")])
        .await
        .unwrap_err();
    assert!(error.text.contains(&format!("example.com ({parent})")), "{error}");
    assert!(!error.text.contains(&private), "{error}");
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_delegated_challenge_is_written_where_its_cname_leads() {
    let moto = MotoRoute53::start().await;
    moto.create("example.com", false).await;
    let delegated = moto.create("acme.test", false).await;
    let dns = crate::dns::tests::TestDns::start(&[(
        CHALLENGE,
        crate::dns::tests::DnsAnswer::Cname("example-com.acme.test"),
    )])
    .await;
    let name = Lookup::new(&[dns.address])
        .challenge_name("example.com")
        .await
        .unwrap();
    moto.zones().present(&[record(&name, "delegated")]).await.unwrap();
    assert_eq!(
        moto.sets(&delegated).await,
        ["example-com.acme.test 60 delegated"]
    );
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn moto_says_no_to_a_zone_that_is_not_there() {
    let moto = MotoRoute53::start().await;
    let zones = zones(&moto.endpoint, Some("Z0NOWHERE"), PATIENCE);
    let error = zones.present(&[record(CHALLENGE, "ours")]).await.unwrap_err();
    assert!(error.text.contains("NoSuchHostedZone"), "{error}");
    assert!(error.remedy.contains("`zone`"), "{}", error.remedy);
    zones.clean_up(&[record(CHALLENGE, "ours")]).await.unwrap();
}
