//! The questions to the DNS, and the use of its answers.

use super::*;

#[tokio::test]
async fn without_a_cname_the_challenge_name_is_the_domains_own() {
    let dns = TestDns::start(&[("example.com", Address("192.0.2.1"))]).await;
    let name = dns.lookup().challenge_name("example.com").await.unwrap();
    assert_eq!(name, "_acme-challenge.example.com");
    let nowhere = dns.lookup().challenge_name("nowhere.test").await.unwrap();
    assert_eq!(nowhere, "_acme-challenge.nowhere.test");
}

#[tokio::test]
async fn delegation_by_cname_is_followed_to_its_end() {
    let dns = TestDns::start(&[
        ("_acme-challenge.example.com", Cname("Example-Com.acme.test")),
        ("example-com.acme.test", Cname("deeper.acme.test")),
    ])
    .await;
    let name = dns.lookup().challenge_name("example.com").await.unwrap();
    assert_eq!(name, "deeper.acme.test");
}

#[tokio::test]
async fn a_circle_of_cnames_is_an_error_and_ends() {
    let dns = TestDns::start(&[
        ("_acme-challenge.example.com", Cname("a.test")),
        ("a.test", Cname("b.test")),
        ("b.test", Cname("a.test")),
    ])
    .await;
    let error = dns.lookup().challenge_name("example.com").await.unwrap_err();
    assert!(error.text.contains("in a circle at a.test"), "{error}");
}

#[tokio::test]
async fn a_chain_of_cnames_that_is_too_long_is_an_error() {
    const CHAIN: [&str; 12] = [
        "c0.test", "c1.test", "c2.test", "c3.test", "c4.test", "c5.test", "c6.test", "c7.test", "c8.test",
        "c9.test", "c10.test", "c11.test",
    ];
    let mut zone = vec![("_acme-challenge.example.com", Cname(CHAIN[0]))];
    zone.extend(CHAIN.windows(2).map(|pair| (pair[0], Cname(pair[1]))));
    let dns = TestDns::start(&zone).await;
    let error = dns.lookup().challenge_name("example.com").await.unwrap_err();
    assert!(error.text.contains("more than 8 CNAMEs"), "{error}");
}

#[tokio::test]
async fn a_wildcard_cname_is_no_delegation() {
    let dns = TestDns::start(&[
        ("example.com", Address("192.0.2.1")),
        ("*.example.com", Cname("load-balancer.test")),
    ])
    .await;
    let name = dns.lookup().challenge_name("www.example.com").await.unwrap();
    assert_eq!(name, "_acme-challenge.www.example.com");
}

#[tokio::test]
async fn a_challenge_name_that_nobody_can_tell_is_an_error_with_a_remedy() {
    let dns = TestDns::start(&[("_acme-challenge.example.com", ServFail(RecordType::CNAME))]).await;
    let error = dns.lookup().challenge_name("example.com").await.unwrap_err();
    assert!(error.text.contains("_acme-challenge.example.com"), "{error}");
    assert!(error.text.contains("Server Failure"), "{error}");
    assert!(error.remedy.contains("resolvers"), "{}", error.remedy);
}

#[tokio::test]
async fn addresses_are_found_behind_cnames() {
    let dns = TestDns::start(&[
        ("www.example.com", Cname("host.test")),
        ("host.test", Address("192.0.2.7")),
    ])
    .await;
    let addresses = dns.lookup().addresses("www.example.com").await.unwrap();
    assert_eq!(addresses, ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
    assert!(dns.lookup().addresses("nowhere.test").await.unwrap().is_empty());
}

#[tokio::test]
async fn one_family_that_fails_does_not_hide_the_other() {
    let dns = TestDns::start(&[
        ("half.test", Address("192.0.2.7")),
        ("half.test", ServFail(RecordType::AAAA)),
        ("broken.test", ServFail(RecordType::AAAA)),
    ])
    .await;
    assert_eq!(dns.lookup().addresses("half.test").await.unwrap().len(), 1);
    dns.lookup().addresses("broken.test").await.unwrap_err();
}

#[tokio::test]
async fn caa_records_of_the_nearest_parent_count() {
    let dns = TestDns::start(&[
        ("example.com", Caa(0, "issue", "far.test")),
        ("b.example.com", Caa(0, "issue", "near.test")),
        ("a.b.example.com", Address("192.0.2.1")),
    ])
    .await;
    let set = dns.lookup().caa("x.a.b.example.com").await.unwrap().unwrap();
    assert_eq!(set.at, "b.example.com");
    assert_eq!(set.records.len(), 1);
    assert_eq!(dns.lookup().caa("other.test").await.unwrap(), None);
}

#[tokio::test]
async fn caa_records_of_an_alias_count_and_then_those_of_its_own_parents() {
    // RFC 8659 §3: the tree is climbed from the name itself, not from where its CNAME leads.
    let dns = TestDns::start(&[
        ("with.example.com", Cname("target.cdn.test")),
        ("target.cdn.test", Caa(0, "issue", "cdn-ca.test")),
        ("without.example.com", Cname("plain.other.test")),
        ("plain.other.test", Address("192.0.2.1")),
        ("other.test", Caa(0, "issue", "never.test")),
        ("example.com", Caa(0, "issue", "own-ca.test")),
    ])
    .await;
    let with = dns.lookup().caa("with.example.com").await.unwrap().unwrap();
    assert_eq!(
        (with.at.as_str(), with.records[0].value.as_str()),
        ("with.example.com", "cdn-ca.test")
    );
    let without = dns.lookup().caa("without.example.com").await.unwrap().unwrap();
    assert_eq!(
        (without.at.as_str(), without.records[0].value.as_str()),
        ("example.com", "own-ca.test")
    );
}

#[tokio::test]
async fn names_of_one_parent_share_its_answers() {
    let dns = TestDns::start(&[("example.com", Caa(0, "issue", "ca.test"))]).await;
    let lookup = dns.lookup();
    lookup.caa("example.com").await.unwrap();
    let after_first = dns.questions();
    lookup.caa("example.com").await.unwrap();
    assert_eq!(dns.questions(), after_first);
}

#[tokio::test]
async fn a_text_that_is_no_name_is_an_error() {
    let dns = TestDns::start(&[]).await;
    let error = dns.lookup().addresses("two..dots").await.unwrap_err();
    assert!(error.to_string().contains("no name for the DNS"), "{error}");
}
