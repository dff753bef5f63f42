//! A double that is as strict as Route 53: a batch is atomic, DELETE names the set exactly, CREATE finds none.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// TTL and values of a TXT set.
type Set = (i64, Vec<String>);

#[derive(Default)]
struct ZoneState {
    /// Id, name, and true if the zone is private.
    zones: Vec<(&'static str, &'static str, bool)>,
    sets: BTreeMap<(String, String), Set>,
    /// Number of answers for which a change is still PENDING.
    pending: usize,
    /// The next errors for an operation, which is the last word of its path.
    refusals: VecDeque<(&'static str, u16, &'static str)>,
    /// The changes that another client makes right before the next batches are accepted.
    meanwhile: VecDeque<(&'static str, Option<Set>)>,
    /// The text of an error.
    words: &'static str,
    /// The actions of each batch that came.
    actions: Vec<String>,
    /// Operations, in order.
    log: Vec<String>,
    /// Number of zones in one answer.
    page: usize,
}

struct Double {
    endpoint: String,
    state: Arc<Mutex<ZoneState>>,
    task: JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Double {
    async fn start(zones: &[(&'static str, &'static str, bool)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(ZoneState {
            zones: zones.to_vec(),
            page: 100,
            words: "as the test wants it",
            ..ZoneState::default()
        }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, Arc::clone(&shared)));
                    let connection = hyper::server::conn::http1::Builder::new();
                    // A client that goes away is no failure of the test.
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            endpoint,
            state,
            task,
        }
    }

    fn zones(&self) -> Zones {
        zones(&self.endpoint, None, PATIENCE)
    }

    fn with<T>(&self, change: impl FnOnce(&mut ZoneState) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    fn put(&self, zone: &str, name: &str, ttl: i64, values: &[&str]) {
        let values = values.iter().map(|value| record_set::quoted(value)).collect();
        self.with(|state| {
            state
                .sets
                .insert((zone.to_owned(), name.to_owned()), (ttl, values))
        });
    }

    /// Returns the set as `ttl value,value`.
    fn set(&self, zone: &str, name: &str) -> Option<String> {
        self.with(|state| {
            let (ttl, values) = state.sets.get(&(zone.to_owned(), name.to_owned()))?;
            Some(format!("{ttl} {}", values.join(",").replace('"', "")))
        })
    }

    fn count(&self, operation: &str) -> usize {
        self.with(|state| state.log.iter().filter(|logged| *logged == operation).count())
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<ZoneState>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    let mut state = state.lock().unwrap();
    let operation = match words.as_slice() {
        [_, "hostedzonesbyname"] => "list-zones",
        [_, "hostedzone", _, "rrset"] if head.method == Method::GET => "list-sets",
        [_, "hostedzone", _, "rrset"] => "change",
        [_, "change", _] => "get-change",
        other => panic!("not expected: {other:?}"),
    };
    state.log.push(operation.to_owned());
    state.actions.push(between(&body, "Action").concat());
    if state
        .refusals
        .front()
        .is_some_and(|(about, ..)| *about == operation)
    {
        let (_, status, code) = state.refusals.pop_front().unwrap();
        return Ok(xml(status, error(code, state.words)));
    }
    let (status, text) = match operation {
        "list-zones" => (200, list_zones(&state, &query)),
        "list-sets" => list_sets(&state, words[2], &query),
        "change" => change(&mut state, words[2], &body),
        _ => {
            let left = state.pending;
            state.pending = left.saturating_sub(1);
            let status = if left == 0 { "INSYNC" } else { "PENDING" };
            (
                200,
                format!("<GetChangeResponse>{}</GetChangeResponse>", info(status)),
            )
        }
    };
    Ok(xml(status, text))
}

fn xml(status: u16, text: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "text/xml")
        .body(Full::from(format!("<?xml version=\"1.0\"?>\n{text}")))
        .unwrap()
}

fn error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
}

fn info(status: &str) -> String {
    format!(
        "<ChangeInfo><Id>/change/C1</Id><Status>{status}</Status><SubmittedAt>2030-06-15T12:00:00Z</SubmittedAt></ChangeInfo>"
    )
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn list_zones(state: &ZoneState, query: &str) -> String {
    let first = match parameter(query, "hostedzoneid") {
        Some(from) => state.zones.iter().position(|(id, ..)| *id == from).unwrap(),
        None => 0,
    };
    let zones = &state.zones[first..];
    let shown: String = zones
        .iter()
        .take(state.page)
        .map(|(id, name, private)| {
            format!(
                "<HostedZone><Id>/hostedzone/{id}</Id><Name>{name}.</Name><CallerReference>x</CallerReference>\
                 <Config><PrivateZone>{private}</PrivateZone></Config></HostedZone>"
            )
        })
        .collect();
    let next = zones.get(state.page).map_or_else(String::new, |(id, name, _)| {
        format!("<NextDNSName>{name}.</NextDNSName><NextHostedZoneId>{id}</NextHostedZoneId>")
    });
    format!(
        "<ListHostedZonesByNameResponse><HostedZones>{shown}</HostedZones><IsTruncated>{}</IsTruncated>{next}\
         <MaxItems>100</MaxItems></ListHostedZonesByNameResponse>",
        !next.is_empty()
    )
}

fn list_sets(state: &ZoneState, zone: &str, query: &str) -> (u16, String) {
    if !state.zones.iter().any(|(id, ..)| *id == zone) {
        return (404, error("NoSuchHostedZone", "no hosted zone found"));
    }
    let from = parameter(query, "name").unwrap();
    let next = state
        .sets
        .iter()
        .find(|((in_zone, name), _)| in_zone == zone && name.as_str() >= from);
    let sets = next.map_or_else(String::new, |((_, name), (ttl, values))| {
        let values: String = values
            .iter()
            .map(|value| {
                format!(
                    "<ResourceRecord><Value>{}</Value></ResourceRecord>",
                    value.replace('"', "&quot;")
                )
            })
            .collect();
        format!(
            "<ResourceRecordSet><Name>{name}.</Name><Type>TXT</Type><TTL>{ttl}</TTL>\
             <ResourceRecords>{values}</ResourceRecords></ResourceRecordSet>"
        )
    });
    (
        200,
        format!(
            "<ListResourceRecordSetsResponse><ResourceRecordSets>{sets}</ResourceRecordSets>\
             <IsTruncated>false</IsTruncated><MaxItems>1</MaxItems></ListResourceRecordSetsResponse>"
        ),
    )
}

fn change(state: &mut ZoneState, zone: &str, body: &str) -> (u16, String) {
    if let Some((name, set)) = state.meanwhile.pop_front() {
        let key = (zone.to_owned(), name.to_owned());
        match set {
            Some(set) => state.sets.insert(key, set),
            None => state.sets.remove(&key),
        };
    }
    let mut sets = state.sets.clone();
    for change in body.split("<Change>").skip(1) {
        let name = between(change, "Name")[0].trim_end_matches('.').to_owned();
        let ttl: i64 = between(change, "TTL")[0].parse().unwrap();
        let values: Vec<String> = between(change, "Value")
            .iter()
            .map(|value| value.replace("&quot;", "\""))
            .collect();
        assert_eq!(between(change, "Type"), ["TXT"]);
        assert!(!values.is_empty(), "a set without values");
        let key = (zone.to_owned(), name.clone());
        let there = sets.get(&key);
        let refusal = match (between(change, "Action")[0], there) {
            ("DELETE", None) => Some(format!(
                "Tried to delete resource record set [name='{name}.', type='TXT'] but it was not found"
            )),
            ("DELETE", Some(set)) if *set != (ttl, values.clone()) => Some(format!(
                "Tried to delete resource record set [name='{name}.', type='TXT'] but the values provided do not match the current values"
            )),
            ("CREATE", Some(_)) => Some(format!(
                "Tried to create resource record set [name='{name}.', type='TXT'] but it already exists"
            )),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return (400, error("InvalidChangeBatch", &format!("[{refusal}]")));
        }
        match between(change, "Action")[0] {
            "DELETE" => sets.remove(&key),
            _ => sets.insert(key, (ttl, values)),
        };
    }
    state.sets = sets;
    (
        200,
        format!(
            "<ChangeResourceRecordSetsResponse>{}</ChangeResourceRecordSetsResponse>",
            info("PENDING")
        ),
    )
}

fn between<'a>(text: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    text.split(&open)
        .skip(1)
        .map(|rest| rest.split(&close).next().unwrap())
        .collect()
}

#[tokio::test]
async fn wildcard_and_apex_are_one_batch_of_one_set_and_all_goes_again() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    let zones = double.zones();
    let records = [
        record(CHALLENGE, "apex"),
        record(CHALLENGE, "wildcard"),
        record("_acme-challenge.www.example.com", "host"),
    ];
    zones.present(&records).await.unwrap();
    assert_eq!(double.count("change"), 1);
    assert_eq!(double.set("Z1", CHALLENGE).unwrap(), "60 apex,wildcard");
    assert_eq!(
        double.set("Z1", "_acme-challenge.www.example.com").unwrap(),
        "60 host"
    );
    zones.clean_up(&records).await.unwrap();
    assert!(double.with(|state| state.sets.is_empty()));
    assert_eq!(double.count("change"), 2);
}

#[tokio::test]
async fn presenting_and_cleaning_up_twice_is_as_good_as_once() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    let zones = double.zones();
    let records = [record(CHALLENGE, "ours")];
    for _ in 0..2 {
        zones.present(&records).await.unwrap();
        assert_eq!(double.set("Z1", CHALLENGE).unwrap(), "60 ours");
    }
    assert_eq!(
        double.count("get-change"),
        2,
        "the second time is waited for as well"
    );
    for _ in 0..2 {
        zones.clean_up(&records).await.unwrap();
        assert_eq!(double.set("Z1", CHALLENGE), None);
    }
    assert_eq!(double.count("change"), 3, "nothing to remove is no change");
}

#[tokio::test]
async fn values_of_others_stay_before_during_and_after() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    double.put("Z1", CHALLENGE, 300, &["theirs"]);
    double.put("Z1", "www.example.com", 300, &["another name"]);
    let zones = double.zones();
    zones.present(&[record(CHALLENGE, "ours")]).await.unwrap();
    assert_eq!(double.set("Z1", CHALLENGE).unwrap(), "300 theirs,ours");
    zones.clean_up(&[record(CHALLENGE, "ours")]).await.unwrap();
    assert_eq!(double.set("Z1", CHALLENGE).unwrap(), "300 theirs");
    assert_eq!(double.set("Z1", "www.example.com").unwrap(), "300 another name");
}

#[tokio::test]
async fn what_others_write_in_between_is_not_lost() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    let theirs = |values: &[&str]| Some((60, values.iter().map(|value| record_set::quoted(value)).collect()));
    double.with(|state| {
        state.meanwhile.push_back((CHALLENGE, theirs(&["first"])));
        state
            .meanwhile
            .push_back((CHALLENGE, theirs(&["first", "second"])));
    });
    let zones = double.zones();
    zones.present(&[record(CHALLENGE, "ours")]).await.unwrap();
    assert_eq!(double.set("Z1", CHALLENGE).unwrap(), "60 first,second,ours");
    // The other client removes the whole set, our value too, while we remove our value.
    double.with(|state| state.meanwhile.push_back((CHALLENGE, None)));
    zones.clean_up(&[record(CHALLENGE, "ours")]).await.unwrap();
    assert_eq!(double.set("Z1", CHALLENGE), None);
}

#[tokio::test]
async fn orders_at_the_same_time_keep_each_others_values() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    let (ecdsa, rsa) = (double.zones(), double.zones());
    let (one, two) = ([record(CHALLENGE, "ecdsa")], [record(CHALLENGE, "rsa")]);
    let (first, second) = tokio::join!(ecdsa.present(&one), rsa.present(&two));
    first.unwrap();
    second.unwrap();
    let set = double.set("Z1", CHALLENGE).unwrap();
    assert!(set.contains("ecdsa") && set.contains("rsa"), "{set}");
}

#[tokio::test]
async fn the_change_is_waited_for_until_it_is_on_all_name_servers() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    double.with(|state| state.pending = 4);
    double
        .zones()
        .present(&[record(CHALLENGE, "ours")])
        .await
        .unwrap();
    assert_eq!(double.count("get-change"), 5);
}

#[tokio::test]
async fn a_change_that_stays_pending_is_an_error_at_the_timeout() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    double.with(|state| state.pending = usize::MAX);
    let zones = zones(&double.endpoint, None, Duration::from_millis(500));
    let error = zones.present(&[record(CHALLENGE, "ours")]).await.unwrap_err();
    assert!(error.text.contains("has not brought change"), "{error}");
    assert!(error.remedy.contains("propagation_timeout"), "{}", error.remedy);
}

#[tokio::test]
async fn throttling_and_unfinished_requests_are_tried_again() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    double.with(|state| {
        state.refusals.extend([
            ("list-zones", 400, "Throttling"),
            ("list-sets", 503, "ServiceUnavailable"),
            ("change", 400, "PriorRequestNotComplete"),
            ("change", 400, "PriorRequestNotComplete"),
            ("change", 400, "PriorRequestNotComplete"),
            ("change", 400, "PriorRequestNotComplete"),
            ("get-change", 400, "Throttling"),
        ]);
    });
    double
        .zones()
        .present(&[record(CHALLENGE, "ours")])
        .await
        .unwrap();
    assert!(double.with(|state| state.refusals.is_empty()));
    assert_eq!(double.set("Z1", CHALLENGE).unwrap(), "60 ours");
}

#[tokio::test]
async fn what_may_not_be_done_is_asked_once_and_names_the_permissions() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    double.with(|state| state.refusals.push_back(("list-zones", 403, "AccessDenied")));
    let error = double
        .zones()
        .present(&[record(CHALLENGE, "ours")])
        .await
        .unwrap_err();
    assert!(
        error
            .text
            .contains("ListHostedZonesByName: AccessDenied (HTTP 403)"),
        "{error}"
    );
    for action in [
        "ListHostedZonesByName",
        "ListResourceRecordSets",
        "ChangeResourceRecordSets",
        "GetChange",
    ] {
        assert!(
            error.remedy.contains(&format!("route53:{action}")),
            "{}",
            error.remedy
        );
    }
    assert_eq!(double.count("list-zones"), 1);
}

#[tokio::test]
async fn route_53_that_cannot_be_reached_is_an_error_in_bounded_time() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let started = Instant::now();
    let zones = zones(&endpoint, Some("Z1"), Duration::from_millis(200));
    let error = zones.present(&[record(CHALLENGE, "ours")]).await.unwrap_err();
    assert!(error.text.contains("cannot be reached"), "{error}");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_zone_is_the_public_one_with_the_longest_suffix_over_all_pages() {
    let double = Double::start(&[
        ("Z0", "a.b.example.com", true),
        ("Z1", "example.com", false),
        ("Z2", "example.com", true),
        ("Z3", "b.example.com", false),
        ("Z4", "example.org", false),
    ])
    .await;
    double.with(|state| state.page = 2);
    let name = "_acme-challenge.a.b.example.com";
    let records = [
        record(name, "deep"),
        record(CHALLENGE, "flat"),
        record("acme.example.org", "delegated"),
    ];
    double.zones().present(&records).await.unwrap();
    assert_eq!(double.set("Z3", name).unwrap(), "60 deep");
    assert_eq!(double.set("Z1", CHALLENGE).unwrap(), "60 flat");
    assert_eq!(double.set("Z4", "acme.example.org").unwrap(), "60 delegated");
    assert_eq!(double.count("list-zones"), 3);
    assert_eq!(double.count("change"), 3, "one batch a zone");
}

#[tokio::test]
async fn a_configured_zone_is_used_without_looking_for_one() {
    let double = Double::start(&[("Z1", "example.com", false), ("Z9", "example.com", false)]).await;
    let zones = zones(&double.endpoint, Some("/hostedzone/Z9"), PATIENCE);
    zones.present(&[record(CHALLENGE, "ours")]).await.unwrap();
    assert_eq!(double.set("Z9", CHALLENGE).unwrap(), "60 ours");
    assert_eq!(double.count("list-zones"), 0);
}

#[tokio::test]
async fn a_zone_that_is_gone_fails_the_order_and_needs_no_cleaning() {
    let double = Double::start(&[]).await;
    let zones = zones(&double.endpoint, Some("Z1"), PATIENCE);
    let error = zones.present(&[record(CHALLENGE, "ours")]).await.unwrap_err();
    assert!(
        error.text.contains("zone Z1") && error.text.contains("NoSuchHostedZone"),
        "{error}"
    );
    zones.clean_up(&[record(CHALLENGE, "ours")]).await.unwrap();
    let found_by_name = double.zones();
    found_by_name
        .present(&[record(CHALLENGE, "ours")])
        .await
        .unwrap_err();
    found_by_name
        .clean_up(&[record(CHALLENGE, "ours")])
        .await
        .unwrap();
}

#[tokio::test]
async fn what_cannot_be_removed_from_one_zone_keeps_nothing_in_another() {
    let double = Double::start(&[("Z1", "example.com", false), ("Z2", "example.org", false)]).await;
    let zones = double.zones();
    let other = "_acme-challenge.example.org";
    let records = [record(CHALLENGE, "ours"), record(other, "ours")];
    zones.present(&records).await.unwrap();
    double.with(|state| state.refusals.push_back(("change", 403, "AccessDenied")));
    let error = zones.clean_up(&records).await.unwrap_err();
    assert!(error.text.contains("zone example.com (Z1)"), "{error}");
    assert_eq!(double.set("Z1", CHALLENGE).unwrap(), "60 ours");
    assert_eq!(double.set("Z2", other), None);
    zones.clean_up(&records).await.unwrap();
    assert_eq!(double.set("Z1", CHALLENGE), None);
}

#[tokio::test]
async fn what_cannot_compare_and_swap_is_overwritten_once_nothing_has_changed() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    double.put("Z1", CHALLENGE, 300, &["theirs"]);
    double.with(|state| state.refusals.push_back(("change", 400, "InvalidChangeBatch")));
    double.with(|state| state.words = "[Tried to create it, but it already exists]");
    double
        .zones()
        .present(&[record(CHALLENGE, "ours")])
        .await
        .unwrap();
    assert_eq!(double.set("Z1", CHALLENGE).unwrap(), "300 theirs,ours");
    assert_eq!(double.with(|state| state.actions.concat()), "DELETECREATEUPSERT");
}

#[tokio::test]
async fn an_invalid_batch_that_is_no_conflict_is_not_tried_again() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    double.with(|state| state.refusals.push_back(("change", 400, "InvalidChangeBatch")));
    let error = double
        .zones()
        .present(&[record(CHALLENGE, "ours")])
        .await
        .unwrap_err();
    assert!(error.text.contains("InvalidChangeBatch"), "{error}");
    assert!(error.text.contains("as the test wants it"), "{error}");
    assert_eq!(double.count("change"), 1);
}

#[tokio::test]
async fn a_set_that_never_stays_is_given_up() {
    let double = Double::start(&[("Z1", "example.com", false)]).await;
    double.with(|state| {
        for turn in 0..100 {
            state
                .meanwhile
                .push_back((CHALLENGE, Some((60, vec![format!("\"{turn}\"")]))));
        }
    });
    let error = double
        .zones()
        .present(&[record(CHALLENGE, "ours")])
        .await
        .unwrap_err();
    assert!(
        error.remedy.contains("what else keeps changing"),
        "{}",
        error.remedy
    );
    assert_eq!(double.count("change"), MAX_CONFLICTS);
}
