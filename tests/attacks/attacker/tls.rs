//! Before HTTP/2, or beneath it: TCP and TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{Frame, FrameConn, KeyKind, Leaf, TestCa, TlsOptions, kind, literal_block};
use futures_util::future::{join, join_all};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ContentType, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::heads::wait_for_ends;
use super::record::{self, Records};
use super::{CLOSED, OPEN, Target};
use crate::attack::{Attack, Cpu, Seconds, Work};

static OLD: &[&SupportedProtocolVersion] = &[&TLS12];
static NEW: &[&SupportedProtocolVersion] = &[&TLS13];

/// Handshakes that may be unfinished at once where silence is the attack.
const PLACES: usize = 300;
/// Time for which a newcomer tries to get in beside them.
const PATIENCE: Duration = Duration::from_secs(2);
/// [`Tally::endings`](super::Tally::endings): a newcomer got in, or did not.
const LET_IN: &str = "newcomer let in";
const KEPT_OUT: &str = "newcomer kept out";

/// The name of the certificate that costs most to show.
const COSTLY: &str = "costly.example.com";

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "tls_fragments",
        does: "a PING, and in the same segment a record of type handshake with the first octet of a message; TLS 1.2 and 1.3",
        work: fragments,
        seconds: Seconds {
            proof: 60.0,
            short: 1.0,
        },
        also: |evidence| {
            let tally = &evidence.tally;
            // 10,000 in a proof.
            (e2e::proof() && tally.connections < 10_000)
                .then(|| format!("only {} connections", tally.connections))
        },
        ..Attack::USUAL
    },
    Attack {
        name: "empty_records",
        does: "TLS records without content at full rate",
        work: empty_records,
        ..Attack::USUAL
    },
    Attack {
        name: "key_updates",
        does: "TLS 1.3 KeyUpdates that ask for one in return, at full rate (RFC 8446 §4.6.3)",
        work: key_updates,
        ..Attack::USUAL
    },
    Attack {
        name: "garbage",
        does: "4 KiB of garbage where HTTP/2 should begin, on a new connection each time",
        work: garbage,
        ..Attack::USUAL
    },
    Attack {
        name: "churn",
        does: "connections dropped after TCP, after TLS, and with an RPC open",
        work: churn,
        ..Attack::USUAL
    },
    Attack {
        name: "pipelined_http1",
        does: "64 KiB of requests of HTTP/1.1 in one write, on 32 connections at once and ever new ones",
        work: pipelined,
        ..Attack::USUAL
    },
    Attack {
        name: "client_hellos",
        does: "ClientHellos for an RSA-4096 certificate on ever new connections, whose answers nobody reads",
        work: |target| hellos(target, COSTLY, b"h2"),
        gateway: costly,
        cpu: Cpu::Stated,
        ..Attack::USUAL
    },
    Attack {
        name: "handshakes",
        does: "full handshakes with an RSA-4096 certificate, four at once",
        work: handshakes,
        gateway: costly,
        cpu: Cpu::Stated,
        ..Attack::USUAL
    },
    Attack {
        name: "acme_hellos",
        does: "ClientHellos for `acme-tls/1`, where no challenge is out",
        work: |target| hellos(target, "localhost", b"acme-tls/1"),
        cpu: Cpu::Stated,
        ..Attack::USUAL
    },
    Attack {
        name: "slow_bytes",
        does: "300 connections that send a ClientHello, a preface or a request octet by octet",
        work: slow,
        seconds: Seconds {
            proof: 13.0,
            short: 1.5,
        },
        also: |evidence| {
            let tally = &evidence.tally;
            (e2e::proof() && tally.count(OPEN) > 0)
                .then(|| format!("{} were still open after 10 s", tally.count(OPEN)))
        },
        ..Attack::USUAL
    },
    Attack {
        name: "idle_connections",
        does: "thousands of connections that do nothing after their settings",
        work: idle,
        seconds: Seconds {
            proof: 10.0,
            short: 1.5,
        },
        ..Attack::USUAL
    },
    Attack {
        name: "silent_connections",
        does: "as many connections that say nothing as may be unfinished at once, each made again when it is closed",
        work: silent,
        gateway: |gateway| gateway.set("/limits/max_handshakes", PLACES),
        limits: &["max_handshakes"],
        seconds: Seconds {
            proof: 8.0,
            short: 3.0,
        },
        also: |evidence| {
            let kept_out = evidence.tally.count(KEPT_OUT);
            if kept_out > 0 {
                return Some(format!("{kept_out} newcomers were kept out for {PATIENCE:?}"));
            }
            let let_in = evidence.tally.count(LET_IN);
            (let_in == 0).then(|| "no newcomer came".to_owned())
        },
        ..Attack::USUAL
    },
    Attack {
        name: "descriptors",
        does: "1,000 TCP connections to a gateway that may have 256 descriptors",
        work: descriptors,
        gateway: |gateway| gateway.under(&["sh", "-c", "ulimit -n 256; exec \"$@\"", "sh"]),
        ..Attack::USUAL
    },
];

fn costly(gateway: e2e::TestGatewayBuilder) -> e2e::TestGatewayBuilder {
    let pair = TestCa::new().issue(&Leaf::named(&[COSTLY]).key(KeyKind::Rsa4096));
    gateway.certificate("costly", &pair)
}

fn fragments(target: Target) -> Work {
    Box::pin(async move {
        let begin = introduction();
        let ping = Frame::bytes(kind::PING, 0, 0, &[1; 8]);
        let one = async |version| {
            let config = record::config(&target, version);
            while !target.is_over() && target.tally().connections < 10_000 {
                let Some(mut records) = Records::open(&target, &config, &begin).await else {
                    target.ended("handshake refused");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                };
                target.connected();
                let mut segment = records.record(ContentType::ApplicationData, &ping);
                // The first octet of a KeyUpdate (RFC 8446 §4.6.3); TLS 1.2 knows no such message.
                segment.extend(records.record(ContentType::Handshake, &[24]));
                target.sent(segment.len());
                records.socket.write_all(&segment).await.ok();
                let ended = timeout(Duration::from_secs(2), until_closed(&mut records.socket)).await;
                target.ended(if ended.is_ok() { CLOSED } else { OPEN });
            }
        };
        join(one(OLD), one(NEW)).await;
        target.tally()
    })
}

fn empty_records(target: Target) -> Work {
    Box::pin(async move {
        let config = record::config(&target, NEW);
        while !target.is_over() {
            let Some(mut records) = Records::open(&target, &config, &introduction()).await else {
                target.ended("handshake refused");
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            target.connected();
            while !target.is_over() {
                let batch: Vec<_> = (0..500)
                    .flat_map(|_| records.record(ContentType::ApplicationData, &[]))
                    .collect();
                target.sent(batch.len());
                if !matches!(
                    timeout(target.left(), records.socket.write_all(&batch)).await,
                    Ok(Ok(()))
                ) {
                    break;
                }
            }
            target.ended(if target.is_over() { OPEN } else { CLOSED });
        }
        target.tally()
    })
}

fn key_updates(target: Target) -> Work {
    Box::pin(async move {
        while !target.is_over() {
            let options = TlsOptions::default().versions(NEW);
            let Ok(shaken) = options.connect(target.address, &target.roots).await else {
                target.ended("handshake refused");
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            target.connected();
            let mut tls = shaken.0;
            tls.write_all(&introduction()).await.ok();
            while !target.is_over() {
                for _ in 0..50 {
                    tls.get_mut().1.refresh_traffic_keys().ok();
                }
                let taken = timeout(target.left(), tls.flush()).await;
                // The gateway's output is read as well, or it could not send more.
                let mut room = [0; 1_024];
                let read = timeout(Duration::from_micros(1), tls.read(&mut room)).await;
                if !matches!(taken, Ok(Ok(()))) || matches!(read, Ok(Ok(0) | Err(_))) {
                    break;
                }
            }
            target.ended(if target.is_over() { OPEN } else { CLOSED });
        }
        target.tally()
    })
}

/// The beginning of HTTP/2: preface and settings.
fn introduction() -> Bytes {
    let mut octets = BytesMut::from(FrameConn::preface());
    octets.put(Frame::bytes(kind::SETTINGS, 0, 0, &[]));
    octets.freeze()
}

async fn until_closed(socket: &mut TcpStream) {
    let mut room = [0; 4_096];
    while matches!(socket.read(&mut room).await, Ok(octets) if octets > 0) {}
}

fn garbage(target: Target) -> Work {
    Box::pin(async move {
        let seed = std::env::var("H2GATE_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(rand::random::<u64>);
        eprintln!("H2GATE_SEED={seed}");
        let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
        while !target.is_over() {
            let mut garbage = vec![0; 4_096];
            rand::RngCore::fill_bytes(&mut random, &mut garbage);
            let Some(connection) = target.secured().await else {
                continue;
            };
            let chunks = target.clone().timed(std::iter::once(Bytes::from(garbage)));
            let ending = connection.flood(chunks, Duration::from_secs(1)).await;
            target.ended_by(ending.as_ref());
        }
        target.tally()
    })
}

fn churn(target: Target) -> Work {
    Box::pin(async move {
        while !target.is_over() {
            if TcpStream::connect(target.address).await.is_ok() {
                target.connected();
            }
            drop(target.secured().await);
            let Some(mut connection) = target.client(&[]).await else {
                continue;
            };
            connection.request(1, "/t.T/Mute", false).await;
            for _ in 0..3 {
                target.ended("dropped");
            }
        }
        target.tally()
    })
}

/// Connects by TCP again and again, `at_once` at a time, and notes the end that each connection comes to.
async fn again_by_tcp(
    target: &Target,
    address: SocketAddr,
    at_once: usize,
    talk: impl AsyncFn(TcpStream) -> &'static str,
) {
    let talking = (0..at_once).map(async |_| {
        while !target.is_over() {
            let Ok(socket) = TcpStream::connect(address).await else {
                continue;
            };
            target.connected();
            target.ended(talk(socket).await);
        }
    });
    join_all(talking).await;
}

/// The end of a connection on which nothing more is sent.
async fn end_of(target: &Target, socket: &mut TcpStream) -> &'static str {
    let ended = timeout(target.left(), until_closed(socket)).await;
    if ended.is_ok() { CLOSED } else { OPEN }
}

fn pipelined(target: Target) -> Work {
    Box::pin(async move {
        let request = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";
        let requests = request.repeat((64 << 10) / request.len());
        again_by_tcp(&target, target.http1, 32, async |mut socket| {
            target.sent(requests.len());
            timeout(target.left(), socket.write_all(&requests)).await.ok();
            end_of(&target, &mut socket).await
        })
        .await;
        target.tally()
    })
}

/// The first flight of a client, as rustls writes it.
fn hello(target: &Target, name: &str, alpn: &[u8]) -> Vec<u8> {
    let mut config = Arc::unwrap_or_clone(TlsOptions::default().config(&target.roots));
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    hello
}

/// The same ClientHello again and again: it costs the sender nothing.
fn hellos(target: Target, name: &'static str, alpn: &'static [u8]) -> Work {
    Box::pin(async move {
        let hello = hello(&target, name, alpn);
        again_by_tcp(&target, target.address, 32, async |mut socket| {
            target.sent(hello.len());
            socket.write_all(&hello).await.ok();
            // The first octet of the answer: what it was to cost has been paid.
            timeout(target.left(), socket.read_u8()).await.ok();
            "dropped"
        })
        .await;
        target.tally()
    })
}

fn handshakes(target: Target) -> Work {
    Box::pin(async move {
        // The costly certificate is of a CA that this side does not know: the server has signed before it is refused.
        let shaking = (0..4).map(async |_| {
            let options = TlsOptions::name(COSTLY);
            while !target.is_over() {
                let shaken = options.connect(target.address, &target.roots).await;
                let how = match shaken {
                    Ok(_) => "dropped",
                    Err(refusal) if refusal.0.contains("peer certificate") => "answered",
                    Err(_) => {
                        target.ended("handshake refused");
                        continue;
                    }
                };
                target.connected();
                target.ended(how);
            }
        });
        join_all(shaking).await;
        target.tally()
    })
}

fn slow(target: Target) -> Work {
    Box::pin(async move {
        let hello = Bytes::from(hello(&target, "localhost", b"h2"));
        let block = literal_block(&[(":method", "POST"), (":path", "/t.T/Mute")]);
        let request = Frame::bytes(kind::HEADERS, 0x4, 1, &block);
        let dribbling = (0..300).map(async |number| {
            let (mut connection, octets) = match number % 3 {
                0 => (FrameConn::tcp(target.address).await, hello.clone()),
                1 => (target.secured().await?, Bytes::from_static(FrameConn::preface())),
                _ => (target.client(&[]).await?, request.clone()),
            };
            for at in 0..octets.len() - 1 {
                if connection.write(&octets[at..=at]).await.is_err() {
                    break;
                }
                target.sent(1);
                tokio::time::sleep(Duration::from_millis(if number % 3 == 0 { 100 } else { 400 })).await;
                if target.is_over() {
                    break;
                }
            }
            let ending = connection.ending(target.left()).await;
            target.ended_by(ending.as_ref());
            Some(())
        });
        join_all(dribbling).await;
        target.tally()
    })
}

fn idle(target: Target) -> Work {
    Box::pin(async move {
        let mut held = Vec::new();
        while held.len() < e2e::scaled(500, 5_000) && !target.is_over() {
            held.extend(target.client(&[]).await);
        }
        wait_for_ends(&target, held.into_iter()).await;
        target.tally()
    })
}

fn silent(target: Target) -> Work {
    Box::pin(async move {
        let holding = again_by_tcp(&target, target.address, PLACES, async |mut socket| {
            let how = end_of(&target, &mut socket).await;
            // A connection that is refused at once must not make a busy loop.
            tokio::time::sleep(Duration::from_millis(5)).await;
            how
        });
        let coming = async {
            let uncounted = target.uncounted();
            while target.left() > PATIENCE {
                let in_time = timeout(PATIENCE, async { while uncounted.secured().await.is_none() {} }).await;
                target.ended(if in_time.is_ok() { LET_IN } else { KEPT_OUT });
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        join(holding, coming).await;
        target.tally()
    })
}

fn descriptors(target: Target) -> Work {
    Box::pin(async move {
        let mut held = Vec::new();
        while held.len() < 1_000 && !target.is_over() {
            let connecting = timeout(target.left(), TcpStream::connect(target.address));
            if let Ok(Ok(socket)) = connecting.await {
                target.connected();
                held.push(socket);
            }
        }
        tokio::time::sleep(target.left()).await;
        target.ended("dropped");
        target.tally()
    })
}
