//! The findings of the self-check.

use std::time::{Duration, Instant};

use certstore::Name as Domain;

use super::*;
use crate::config::{Challenge, DnsProvider, ExecHook};
use crate::dns::check::Finding;
use crate::dns::{CaIdentity, Severity, check};

const LETSENCRYPT: &[&str] = &["letsencrypt.org"];

fn by_dns() -> Challenge {
    Challenge::Dns01(DnsProvider::Exec(ExecHook {
        command: Vec::new(),
        timeout: Duration::ZERO,
        propagation: Duration::ZERO,
    }))
}

async fn findings(
    dns: &TestDns,
    domains: &[&str],
    challenge: &Challenge,
    identities: &[&str],
) -> Vec<Finding> {
    let domains: Vec<Domain> = domains
        .iter()
        .map(|domain| Domain::parse(domain).unwrap())
        .collect();
    let identities: Vec<String> = identities.iter().map(|&identity| identity.to_owned()).collect();
    let ca = CaIdentity {
        name: "letsencrypt",
        identities: &identities,
        account: None,
    };
    check(&dns.lookup(), &domains, challenge, ca).await
}

/// Returns the only finding.
async fn finding(dns: &TestDns, domain: &str, challenge: &Challenge) -> Finding {
    let mut findings = findings(dns, &[domain], challenge, LETSENCRYPT).await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.remove(0)
}

#[tokio::test]
async fn nothing_is_said_of_a_name_that_is_well() {
    let dns = TestDns::start(&[
        ("example.com", Address("192.0.2.1")),
        ("example.com", Caa(0, "issue", "letsencrypt.org")),
    ])
    .await;
    assert_eq!(
        findings(&dns, &["example.com"], &Challenge::TlsAlpn01, LETSENCRYPT).await,
        []
    );
}

#[tokio::test]
async fn caa_that_names_another_ca_blocks_and_says_which_record_to_add() {
    let dns = TestDns::start(&[
        ("www.example.com", Address("192.0.2.1")),
        ("example.com", Caa(0, "issue", "pki.goog")),
    ])
    .await;
    let found = finding(&dns, "www.example.com", &Challenge::Http01).await;
    assert_eq!(found.severity, Severity::Blocks);
    assert!(
        found
            .text
            .contains("CAA record of example.com forbids letsencrypt"),
        "{}",
        found.text
    );
    assert!(found.text.contains("`issue pki.goog`"), "{}", found.text);
    assert!(
        found
            .remedy
            .contains(r#"`example.com CAA 0 issue "letsencrypt.org"`"#),
        "{}",
        found.remedy
    );
}

#[tokio::test]
async fn caa_for_wildcards_is_its_own_matter() {
    let dns = TestDns::start(&[
        ("example.com", Caa(0, "issue", "letsencrypt.org")),
        ("example.com", Caa(0, "issuewild", ";")),
        ("example.com", Address("192.0.2.1")),
    ])
    .await;
    let found = findings(&dns, &["example.com", "*.example.com"], &by_dns(), LETSENCRYPT).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Blocks);
    assert_eq!(found[0].domain, Domain::parse("*.example.com").unwrap());
    assert!(found[0].remedy.contains("CAA 0 issuewild"), "{}", found[0].remedy);
}

#[tokio::test]
async fn caa_does_not_matter_to_a_ca_without_identities() {
    let dns = TestDns::start(&[
        ("example.com", Address("192.0.2.1")),
        ("example.com", Caa(0, "issue", "pki.goog")),
    ])
    .await;
    assert_eq!(
        findings(&dns, &["example.com"], &Challenge::TlsAlpn01, &[]).await,
        []
    );
}

#[tokio::test]
async fn caa_that_cannot_be_looked_up_warns_that_the_ca_will_refuse() {
    let dns = TestDns::start(&[
        ("example.com", Address("192.0.2.1")),
        ("example.com", ServFail(RecordType::CAA)),
    ])
    .await;
    let found = finding(&dns, "example.com", &Challenge::TlsAlpn01).await;
    assert_eq!(found.severity, Severity::Warns);
    assert!(found.text.contains("letsencrypt will refuse"), "{}", found.text);
}

#[tokio::test]
async fn silence_about_caa_is_waited_for_only_so_long() {
    let dns = TestDns::start(&[
        ("example.com", Address("192.0.2.1")),
        ("example.com", Nothing(RecordType::CAA)),
    ])
    .await;
    let started = Instant::now();
    let found = finding(&dns, "example.com", &Challenge::TlsAlpn01).await;
    assert_eq!(found.severity, Severity::Warns);
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_wildcard_without_dns_01_blocks() {
    let dns = TestDns::start(&[]).await;
    let found = finding(&dns, "*.example.com", &Challenge::TlsAlpn01).await;
    assert_eq!(found.severity, Severity::Blocks);
    assert!(found.remedy.contains("challenge: dns-01"), "{}", found.remedy);
    assert_eq!(dns.questions(), 0);
}

#[tokio::test]
async fn a_name_without_an_address_warns_and_dns_01_does_not_need_one() {
    let dns = TestDns::start(&[]).await;
    let needed = finding(&dns, "api.internal.test", &Challenge::Http01).await;
    assert_eq!(needed.severity, Severity::Warns);
    assert!(needed.text.contains("the order will fail"), "{}", needed.text);
    let idle = finding(&dns, "api.internal.test", &by_dns()).await;
    assert_eq!(idle.severity, Severity::Warns);
    assert!(idle.text.contains("does not need one"), "{}", idle.text);
}

#[tokio::test]
async fn an_address_is_no_matter_of_the_dns() {
    let dns = TestDns::start(&[]).await;
    assert_eq!(
        findings(&dns, &["192.0.2.1"], &Challenge::TlsAlpn01, LETSENCRYPT).await,
        []
    );
    assert_eq!(dns.questions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_names_without_a_name_server_take_bounded_time() {
    // The socket is bound, and never read: the questions are lost.
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let lookup = Lookup::new(&[deaf.local_addr().unwrap()]);
    let domains: Vec<Domain> = (0..100)
        .map(|number| Domain::parse(&format!("host{number}.test")).unwrap())
        .collect();
    let identities = ["letsencrypt.org".to_owned()];
    let ca = CaIdentity {
        name: "letsencrypt",
        identities: &identities,
        account: None,
    };
    let started = tokio::time::Instant::now();
    let found = check(&lookup, &domains, &Challenge::TlsAlpn01, ca).await;
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    assert!(found.iter().all(|finding| finding.severity == Severity::Warns));
    assert!(
        domains
            .iter()
            .all(|domain| found.iter().any(|finding| finding.domain == *domain))
    );
}
