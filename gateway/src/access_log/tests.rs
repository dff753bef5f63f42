use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::telemetry::TlsLabel;

const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A folder that is gone with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("h2gate-access-log-{}-{number}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn line() -> Line<'static> {
    Line {
        route: "guide",
        backend: "guide-backend",
        endpoint: Some("10.1.2.3:50051".parse().unwrap()),
        host: b"api.example.com",
        path: b"/routeguide.RouteGuide/GetFeature",
        client: "192.0.2.7".parse().unwrap(),
        tls: TlsLabel::Tls13,
        certificate: 3,
        client_identity: b"spiffe://example.org/a",
        client_fingerprint: b"0a1b2c",
        http_status: 200,
        grpc_status: Some(0),
        took: Duration::from_micros(12_034),
        bytes_in: 21,
        bytes_out: 18_446_744_073_709_551_615,
        request_id: b"5e7c9bfc-7d8d-4b1f-9d3e-000000000000",
        user_agent: b"grpc-go/1.80.0",
        reason: None,
        detail: None,
    }
}

fn rendered(line: &Line<'_>) -> String {
    let mut out = Vec::new();
    line.render(&Timestamp::of(SystemTime::UNIX_EPOCH), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_line_says_all_about_an_rpc() {
    assert_eq!(
        rendered(&line()),
        concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","route":"guide","backend":"guide-backend","#,
            r#""endpoint":"10.1.2.3:50051","host":"api.example.com","#,
            r#""path":"/routeguide.RouteGuide/GetFeature","client":"192.0.2.7","tls":"1.3","#,
            r#""certificate":3,"client_identity":"spiffe://example.org/a","client_fingerprint":"0a1b2c","http_status":200,"grpc_status":0,"grpc_status_name":"OK","#,
            r#""duration_ms":12.034,"bytes_in":21,"bytes_out":18446744073709551615,"#,
            r#""request_id":"5e7c9bfc-7d8d-4b1f-9d3e-000000000000","user_agent":"grpc-go/1.80.0"}"#,
            "\n"
        )
    );
}

#[test]
fn what_is_absent_has_no_key() {
    let line = Line {
        endpoint: Some("[2001:db8::1]:1".parse().unwrap()),
        client: "2001:db8::2".parse().unwrap(),
        host: b"",
        path: b"",
        tls: TlsLabel::Plaintext,
        certificate: 0,
        client_identity: b"",
        client_fingerprint: b"",
        http_status: 0,
        grpc_status: None,
        took: Duration::ZERO,
        bytes_out: 0,
        request_id: b"",
        user_agent: b"",
        reason: Some("no_route"),
        ..line()
    };
    assert_eq!(
        rendered(&line),
        concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","route":"guide","backend":"guide-backend","#,
            r#""endpoint":"[2001:db8::1]:1","client":"2001:db8::2","tls":"plaintext","#,
            r#""duration_ms":0.000,"bytes_in":21,"bytes_out":0,"reason":"no_route"}"#,
            "\n"
        )
    );
}

fn string(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    json::string(bytes, json::LONG, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn strings_are_escaped() {
    assert_eq!(string(b""), r#""""#);
    assert_eq!(string(b"a\"b\\c"), r#""a\"b\\c""#);
    assert_eq!(
        string(b"a\nb\0\x1b[31m\x7f"),
        r#""a\u000ab\u0000\u001b[31m\u007f""#
    );
    assert_eq!(
        string("grün ☂ \u{2028}\u{85}".as_bytes()),
        r#""gr\u00fcn \u2602 \u2028\u0085""#
    );
    assert_eq!(string(b"a\xff\xfe\xc3"), r#""a\ufffd\ufffd\ufffd""#);
    assert_eq!(string(&[b'x'; 1024]), format!("\"{}\"", "x".repeat(1024)));
    assert_eq!(string(&[b'x'; 1025]), format!("\"{}…\"", "x".repeat(1024)));
}

/// Octets that a hostile client may put into a value, of more octets than any is shown with.
fn hostile() -> Vec<Vec<u8>> {
    let repeated = |what: &[u8]| what.repeat(4096 / what.len());
    vec![
        repeated(b"\x01"),
        repeated(b"\""),
        repeated(b"z"),
        repeated(b"\xff"),
        repeated("ü".as_bytes()),
        repeated("\u{ffdc}".as_bytes()),
        repeated("\u{10ffff}".as_bytes()),
        [repeated(b"z"), b"\x01".to_vec()].concat(),
        [b"z".repeat(255), "ü".repeat(1024).into_bytes()].concat(),
    ]
}

#[test]
fn no_octets_make_a_value_longer_than_its_bound_and_what_is_cut_says_so() {
    for value in hostile() {
        for longest in [json::SHORT, json::LONG] {
            let mut out = Vec::new();
            json::string(&value, longest, &mut out);
            let text = String::from_utf8(out).unwrap();
            let shown = text
                .strip_prefix('"')
                .and_then(|text| text.strip_suffix("…\""))
                .unwrap();
            assert!(shown.len() <= longest, "{} octets", shown.len());
            assert!(shown.len() > longest - 12, "{} octets", shown.len());
            assert!(shown.is_ascii(), "{text}");
            assert!(parsed(&format!("\"{shown}\"")).is_some(), "{shown}");
        }
    }
}

#[test]
fn a_line_is_short_whatever_a_client_sends() {
    for value in hostile() {
        let usual = rendered(&line()).len();
        let line = Line {
            host: &value,
            path: &value,
            request_id: &value,
            user_agent: &value,
            ..line()
        };
        let octets = rendered(&line).len();
        assert!(
            octets <= usual + 3 * 256 + 1024 + 4 * "…".len(),
            "{octets} octets"
        );
    }
}

#[test]
fn what_honest_clients_send_is_shown_whole() {
    let agent = "grpc-node-js/1.12.2 ".repeat(12);
    let path = format!("/{}/{}", "a.b.c".repeat(40), "Method".repeat(100));
    let line = Line {
        user_agent: agent.as_bytes(),
        path: path.as_bytes(),
        ..line()
    };
    let text = rendered(&line);
    assert!(text.contains(&agent) && text.contains(&path) && text.is_ascii());
}

/// The result for lines of `octets` each, `each` apart, within `period`: how many there are, how many are not made, and
/// how often that is reported.
fn made(octets: usize, each: Duration, period: Duration) -> (usize, usize, usize) {
    let rate = crate::settings::Limits::default().access_log_rate;
    let (mut spent, start) = (Spent::default(), Instant::now());
    let (mut made, mut refused, mut reported) = (0, 0, 0);
    let mut passed = Duration::ZERO;
    while passed < period {
        match spent.may_add(rate, start + passed) {
            Verdict::Yes => {
                made += 1;
                spent.add(octets);
            }
            verdict => {
                refused += 1;
                reported += usize::from(verdict == Verdict::NoMore);
            }
        }
        passed += each;
    }
    (made, refused, reported)
}

#[test]
fn ten_thousand_rpcs_a_second_of_one_connection_are_all_logged() {
    let usual = rendered(&line()).len();
    assert!((300..700).contains(&usual), "{usual}");
    let (lines, refused, _) = made(usual, Duration::from_micros(100), Duration::from_secs(5));
    assert_eq!((lines, refused), (50_000, 0));
}

#[test]
fn a_connection_that_has_had_its_rate_has_no_further_line_in_that_second() {
    let (lines, refused, reported) = made(2_000, Duration::from_micros(20), Duration::from_secs(4));
    let rate = crate::settings::Limits::default().access_log_rate;
    // The first second has two halves: before it came to the rate, and the window that began then.
    assert!(
        (4 * rate..=5 * rate + 10_000).contains(&(lines * 2_000)),
        "{lines} lines"
    );
    assert_eq!(lines + refused, 200_000);
    assert!((3..=4).contains(&reported), "reported {reported} times");
}

#[test]
fn a_rate_of_nothing_logs_nothing_and_without_a_rate_all_is_logged() {
    let now = Instant::now();
    let mut spent = Spent::default();
    assert_eq!(spent.may_add(0, now), Verdict::NoMore);
    assert_eq!(spent.may_add(0, now + Duration::from_secs(9)), Verdict::StillNot);
    spent.add(usize::MAX - 1);
    assert_eq!(spent.may_add(usize::MAX, now), Verdict::Yes);
}

#[test]
fn numbers_are_decimal() {
    for value in [0, 1, 9, 10, 99, 100, 65_535, u64::MAX - 1, u64::MAX] {
        let mut out = Vec::new();
        json::number(value, &mut out);
        assert_eq!(out, value.to_string().into_bytes());
    }
    let mut out = Vec::new();
    json::milliseconds(Duration::MAX, &mut out);
    assert_eq!(out, b"18446744073709551.615");
}

/// Takes a JSON string apart by the rules of RFC 8259; `None` if it is none.
fn parsed(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    // What is beyond U+FFFF is two escapes, a surrogate each.
    let mut value = Vec::new();
    let put = |value: &mut Vec<u16>, char: char| value.extend_from_slice(char.encode_utf16(&mut [0; 2]));
    while let Some(char) = rest.next() {
        match char {
            '\\' => match rest.next()? {
                'u' => {
                    let digits: String = rest.by_ref().take(4).collect();
                    value.push(u16::from_str_radix(&digits, 16).ok()?);
                }
                quoted @ ('"' | '\\') => put(&mut value, quoted),
                _ => return None,
            },
            '"' => return None,
            char if !matches!(char, ' '..='~') => return None,
            char => put(&mut value, char),
        }
    }
    String::from_utf16(&value).ok()
}

proptest! {
    #[test]
    fn any_bytes_make_a_valid_string_that_says_the_same(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..64),
            any::<String>().prop_map(String::into_bytes),
        ]
    ) {
        let bytes = bytes.get(..bytes.len().min(160)).unwrap();
        let parsed = parsed(&string(bytes));
        prop_assert_eq!(parsed, Some(String::from_utf8_lossy(bytes).into_owned()));
    }
}

fn batch(sink: &AccessLogSink) -> Batch {
    Batch::new(Some(sink.clone()))
}

/// Hands over as a worker does, turn after turn.
fn hand_over_all(batch: &mut Batch) {
    while batch.lines > 0 {
        batch.hand_over();
        std::thread::yield_now();
    }
}

fn lines_of(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn others_of_the_system_cannot_read_a_log_that_is_made() {
    let folder = Folder::new();
    let path = folder.file("log");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let (_sink, writer) = AccessLogSink::open(Destination::File(path.clone())).unwrap();
    // The umask of the process may take more.
    assert_eq!(mode() & !0o640, 0, "{:o}", mode());
    assert_eq!(mode() & 0o600, 0o600);
    assert!(writer.close(CLOSE_TIMEOUT));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let (_sink, writer) = AccessLogSink::open(Destination::File(path.clone())).unwrap();
    assert_eq!(mode(), 0o604, "what somebody has set stays");
    assert!(writer.close(CLOSE_TIMEOUT));
}

#[test]
fn all_lines_of_all_workers_are_in_the_file_once_the_writer_is_closed() {
    let folder = Folder::new();
    let (sink, writer) = AccessLogSink::open(Destination::File(folder.file("log"))).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut batch = batch(&sink);
                for _ in 0..500 {
                    batch.add(&line());
                    batch.hand_over();
                }
                hand_over_all(&mut batch);
            });
        }
    });
    assert!(writer.close(CLOSE_TIMEOUT));
    assert_eq!(
        sink.totals(),
        AccessLogTotals {
            written: 2000,
            ..Default::default()
        }
    );
    let text = fs::read_to_string(folder.file("log")).unwrap();
    assert_eq!(text.lines().count(), 2000);
    assert!(
        text.lines()
            .all(|line| line.starts_with("{\"time\":") && line.ends_with('}'))
    );
}

#[test]
fn lines_appear_without_being_asked_for() {
    let folder = Folder::new();
    let (sink, _writer) = AccessLogSink::open(Destination::File(folder.file("log"))).unwrap();
    let mut batch = batch(&sink);
    for round in 1..=3 {
        batch.add(&line());
        hand_over_all(&mut batch);
        let until = Instant::now() + CLOSE_TIMEOUT;
        while sink.totals().written < round {
            assert!(Instant::now() < until, "line {round} was never written");
            std::thread::yield_now();
        }
    }
    assert_eq!(lines_of(&folder.file("log")), 3);
}

#[test]
fn a_rotated_file_is_left_for_a_new_one() {
    let folder = Folder::new();
    let (sink, writer) = AccessLogSink::open(Destination::File(folder.file("log"))).unwrap();
    let mut batch = batch(&sink);
    batch.add(&line());
    hand_over_all(&mut batch);
    let until = Instant::now() + CLOSE_TIMEOUT;
    while sink.totals().written < 1 {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    fs::rename(folder.file("log"), folder.file("log.1")).unwrap();
    sink.reopen();
    while !folder.file("log").exists() {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    batch.add(&line());
    batch.add(&line());
    hand_over_all(&mut batch);
    assert!(writer.close(CLOSE_TIMEOUT));
    assert_eq!(
        (lines_of(&folder.file("log.1")), lines_of(&folder.file("log"))),
        (1, 2)
    );
}

#[test]
fn a_reopen_that_fails_keeps_the_old_file() {
    let folder = Folder::new();
    let inner = folder.file("inner");
    fs::create_dir(&inner).unwrap();
    let (sink, writer) = AccessLogSink::open(Destination::File(inner.join("log"))).unwrap();
    let moved = folder.file("moved");
    fs::rename(&inner, &moved).unwrap();
    sink.reopen();
    let mut batch = batch(&sink);
    batch.add(&line());
    hand_over_all(&mut batch);
    assert!(writer.close(CLOSE_TIMEOUT));
    assert_eq!(lines_of(&moved.join("log")), 1);
}

#[test]
fn a_writer_that_cannot_keep_up_costs_lines_and_never_memory_or_time() {
    let folder = Folder::new();
    let (sink, writer) = AccessLogSink::open(Destination::File(folder.file("log"))).unwrap();
    let mut batch = batch(&sink);
    sink.while_busy(|| {
        for _ in 0..10_000 {
            batch.add(&line());
            batch.hand_over();
            assert!(batch.text.len() < MAX_BATCH + 4096);
        }
    });
    let dropped = sink.totals().dropped;
    assert!(dropped > 0);
    hand_over_all(&mut batch);
    assert!(writer.close(CLOSE_TIMEOUT));
    assert_eq!(
        sink.totals(),
        AccessLogTotals {
            written: 10_000 - dropped,
            dropped,
            over_rate: 0,
        }
    );
}

#[test]
fn a_full_buffer_and_a_closed_writer_drop_what_comes() {
    let folder = Folder::new();
    let (sink, writer) = AccessLogSink::open(Destination::File(folder.file("log"))).unwrap();
    let too_much = vec![b' '; (8 << 20) + 1];
    while !sink.offer(&too_much, 5) {}
    assert_eq!(sink.totals().dropped, 5);
    assert!(writer.close(CLOSE_TIMEOUT));
    assert!(sink.offer(b"{}\n", 1));
    assert_eq!(
        sink.totals(),
        AccessLogTotals {
            dropped: 6,
            ..Default::default()
        }
    );
}

#[test]
fn what_cannot_be_written_is_counted() {
    // Writing there fails with ENOSPC.
    let (sink, writer) = AccessLogSink::open(Destination::File("/dev/full".into())).unwrap();
    let mut batch = batch(&sink);
    batch.add(&line());
    hand_over_all(&mut batch);
    assert!(writer.close(CLOSE_TIMEOUT));
    assert_eq!(
        sink.totals(),
        AccessLogTotals {
            dropped: 1,
            ..Default::default()
        }
    );
}

#[test]
fn a_destination_that_cannot_be_opened_is_an_error_at_once() {
    assert!(AccessLogSink::open(Destination::File("/nowhere/at/all".into())).is_err());
}

#[test]
fn without_a_sink_nothing_is_rendered() {
    let mut batch = Batch::new(None);
    assert!(!batch.is_on());
    batch.add(&line());
    batch.hand_over();
    assert!(batch.text.is_empty());
}
