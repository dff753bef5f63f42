//! Timeouts and limits: one table per struct gives the keys, their defaults, and how a number gets
//! into its field, so that a field and its key cannot drift apart.

use std::time::Duration;

use gateway::settings::{Limits, Timeouts};

use super::keys::{DEADLINES, Fallback, Key, Section, Shape, key};
use super::values::{write_duration, write_size};

/// The value of a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount {
    /// A count, or bytes.
    Number(u64),
    Duration(Duration),
    Rate {
        burst: u64,
        per_second: u64,
    },
    Unlimited,
}

impl Amount {
    /// The text of the value in the file; a rate in YAML's flow style.
    pub(super) fn text(self, shape: Shape) -> String {
        match self {
            Self::Unlimited => "unlimited".to_owned(),
            Self::Rate { burst, per_second } => format!("{{ burst: {burst}, per_second: {per_second} }}"),
            Self::Duration(duration) => write_duration(duration),
            Self::Number(bytes) if matches!(shape, Shape::Size) => write_size(bytes),
            Self::Number(count) => count.to_string(),
        }
    }
}

/// A field that can be set by an [`Amount`]; `None` if the amount does not fit into it.
trait Field: Sized {
    fn amount(&self) -> Amount;
    fn from_amount(amount: Amount) -> Option<Self>;
}

macro_rules! integer_field {
    ($($integer:ty)*) => {$(
        impl Field for $integer {
            fn amount(&self) -> Amount {
                if *self == Self::MAX { Amount::Unlimited } else { Amount::Number(u64::try_from(*self).unwrap_or(u64::MAX)) }
            }
            fn from_amount(amount: Amount) -> Option<Self> {
                match amount {
                    Amount::Number(number) => Self::try_from(number).ok().filter(|n| *n != Self::MAX),
                    Amount::Unlimited => Some(Self::MAX),
                    Amount::Duration(_) | Amount::Rate { .. } => None,
                }
            }
        }
    )*};
}

integer_field!(u32 u64 usize);

impl Field for Duration {
    fn amount(&self) -> Amount {
        Amount::Duration(*self)
    }
    fn from_amount(amount: Amount) -> Option<Self> {
        match amount {
            Amount::Duration(duration) => Some(duration),
            _ => None,
        }
    }
}

impl Field for http2::Rate {
    fn amount(&self) -> Amount {
        if *self == Self::UNLIMITED {
            Amount::Unlimited
        } else {
            Amount::Rate {
                burst: self.burst.into(),
                per_second: self.per_second.into(),
            }
        }
    }
    fn from_amount(amount: Amount) -> Option<Self> {
        match amount {
            Amount::Unlimited => Some(Self::UNLIMITED),
            Amount::Rate { burst, per_second } => Some(Self {
                burst: u32::try_from(burst).ok()?,
                per_second: u32::try_from(per_second).ok()?,
            }),
            _ => None,
        }
    }
}

/// A section whose keys are the fields of one struct.
pub(super) struct BoundTable<T: 'static> {
    pub(super) section: &'static Section,
    fields: &'static [BoundField<T>],
}

struct BoundField<T> {
    name: &'static str,
    amount: fn(&T) -> Amount,
    set: fn(&mut T, Amount) -> bool,
}

impl<T> BoundTable<T> {
    /// `false` if the amount does not fit, or there is no such key.
    pub(super) fn set(&self, target: &mut T, name: &str, amount: Amount) -> bool {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .is_some_and(|field| (field.set)(target, amount))
    }

    /// Every key with its value.
    pub(super) fn amounts(&self, of: &T) -> Vec<(&'static Key, Amount)> {
        let key = |field: &BoundField<T>| Some((self.section.key(field.name)?, (field.amount)(of)));
        self.fields.iter().filter_map(key).collect()
    }
}

macro_rules! bounds {
    (
        $bounds:ident, $section:ident: $target:ty = $default:expr;
        title $title:literal; about $about:literal;
        { $($field:ident: $shape:ident, $why:literal;)* }
        $(plus { $($key:ident: $shape_of:expr, $fallback:expr, $about_it:literal;)* })?
        $(future { $($future:literal => $instead:expr;)* })?
    ) => {
        pub(super) static $section: Section = Section {
            title: $title,
            about: $about,
            keys: &[
                $(Key {
                    name: stringify!($field),
                    shape: Shape::$shape,
                    fallback: Fallback::Computed(|| {
                        let default: $target = $default;
                        default.$field.amount().text(Shape::$shape)
                    }),
                    about: $why,
                    synonyms: &[],
                },)*
                $($(key!($key: $shape_of, $fallback, $about_it),)*)?
            ],
            one_of: &[],
            future: &[$($(($future, $instead),)*)?],
        };
        pub(super) static $bounds: BoundTable<$target> = BoundTable {
            section: &$section,
            fields: &[$(BoundField {
                name: stringify!($field),
                amount: |target| target.$field.amount(),
                set: |target, amount| match Field::from_amount(amount) {
                    Some(value) => {
                        target.$field = value;
                        true
                    }
                    None => false,
                },
            },)*],
        };
    };
}

bounds! {
    TIMEOUT_BOUNDS, TIMEOUTS: Timeouts = Timeouts::default();
    title "`timeouts`"; about "Deadlines of connections. None of them cuts a running stream.";
    {
        handshake: Duration, "From accept to the client's HTTP/2 preface and SETTINGS, TLS included. Frees what silent connections hold.";
        header_block: Duration, "For one unfinished block of headers, of a client or a backend. Stops clients that send a request one byte at a time. Who has begun another frame or a TLS record may be silent for six times as long.";
        idle: Duration, "For a connection without streams. Long, because gRPC clients connect early and wait; keep it above the idle timeout of a load balancer in front.";
        drain: Duration, "How long running streams may go on after SIGTERM. Keep it below the time that the platform waits before it kills.";
    }
    future {
        "request" => DEADLINES;
        "rpc" => DEADLINES;
        "response" => DEADLINES;
        "connect" => "it is `connect_timeout` of a backend";
    }
}

bounds! {
    LIMIT_BOUNDS, LIMITS: Limits = Limits::default();
    title "`limits`"; about "Bounds of the whole process and of each connection. The defaults are safe towards strangers.";
    {
        max_connections: Count, "Connections of clients, all workers together. For one more, an unfinished handshake or a connection of HTTP/1.1 ends as below; while none may, it is closed at accept.";
        max_handshakes: Count, "Unfinished handshakes at once, all workers together; never more than one for each 16 KiB that `process_memory` leaves for peers. Each costs CPU before the client has shown anything. For one more, the one that has been unfinished for longest ends, but none in its first second or in the second after our first answer; while all are that young, it is closed at accept.";
        max_http1_connections: Count, "Connections to listeners with `http` (plain HTTP/1.1) at once, all workers together; never more than one for each 64 KiB that `process_memory` leaves for peers. For one more, the oldest ends, but none in its first second; while all are that young, it is closed at accept. Each may keep 16 KiB, and none lasts longer than ten seconds.";
        connection_memory: Size, "Bytes that may be under way or wait for one client connection beyond the base windows of its streams, in each direction: what all its windows share.";
        process_memory: Size, "Bytes that the whole process may have: what peers make it keep (all that waits, and fields, copies and tables), and 20 MiB for itself, at most a third. Beside it each connection has 8 KiB, and 16 KiB more while connections are few (4 KiB where they are many); what that comes to beyond a sixth of this takes from peers, up to half of what they have; what the process has grown by beyond all that, in gaps between what it keeps, counts alike once it has lasted for two seconds. Beyond it clients end that keep an unfinished frame or TLS record, and those that hold more than an equal share lose the streams that hold most. From half of it on, no client may have more than a third of its share under way.";
        max_waiting: Count, "Requests that wait for a connection or a stream of a backend, per worker and backend. More are answered UNAVAILABLE at once; no client connection takes all of the places, and one that has none gets one of whoever has most.";
        max_wait: Duration, "How long a request waits for a connection or a stream of a backend; then it is answered UNAVAILABLE. One whose deadline is earlier ends with that. A client connection has at most eight times as many of an endpoint's streams as are still free (at least one); what it asks for beyond that waits, too.";
        max_starved: Duration, "How long a client that has no stream of a backend waits for one while others have all of them and none ends; then the client that has most of them loses its youngest (UNAVAILABLE). From `max_wait` on nobody loses one.";
        access_log_rate: Size, "Bytes of lines in the access log that one client connection may have in a second. Its further lines are dropped and counted. The default has room for 10,000 RPCs a second and more; raise it for clients, such as proxies, that send more on one connection.";
    }
    plus {
        max_orders: Shape::CountWithin(1, 64), Fallback::Computed(|| certmgr::Options::default().max_orders.to_string()), "Orders at CAs (ACME) under way at once, all certificates together; the others wait for their turn. Fixed after start.";
        client: Shape::Map(&CLIENT), Fallback::Inner, "Limits of each connection of a client.";
        backend: Shape::Map(&BACKEND), Fallback::Inner, "Limits of each connection to a backend.";
    }
}

/// The fields of [`http2::Limits`], twice: towards clients and towards backends.
macro_rules! http2_bounds {
    ($bounds:ident, $section:ident, $default:expr, $title:literal, $about:literal) => {
        bounds! {
            $bounds, $section: http2::Limits = $default;
            title $title; about $about;
            {
                max_concurrent_streams: Count, "Streams (RPCs) open at once on one connection. Each may hold a window of data.";
                refused_streams: Rate, "Streams beyond `max_concurrent_streams`; each is refused, too many end the connection.";
                max_header_list_size: Size, "Sum of all headers of a request or response, 32 bytes added for each. Up to four times as much is read and refused; more ends the connection.";
                max_header_fields: Count, "Number of headers of a request or response. Compression makes one byte name a header, so bytes alone bound nothing. Up to four times as many are read and refused; more end the connection.";
                max_header_block: Size, "A block of headers as sent, compressed. Four times `max_header_list_size` lets lists that are too large be refused one by one.";
                header_expansion: Rate, "Bytes of headers that four times their blocks do not explain: what compression makes of a few bytes. Each request brings up to 8 KiB of its own back when it ends.";
                oversized_requests: Rate, "Requests over `max_header_list_size` or `max_header_fields`; each is refused, too many end the connection.";
                turned_away: Rate, "Requests that no route takes, gRPC requests with an ambiguous path or a `-bin` field without base64, and those of clients that were sent away; each is refused, too many end the connection.";
                max_informational: Count, "Interim (1xx) heads of one response; more reset the stream.";
                max_continuations: Count, "CONTINUATION frames of one block of headers.";
                rapid_resets: Rate, "Resets of young streams without a response (the rapid reset attack).";
                deadline_resets: Rate, "The same at or after the deadline that the request itself names (`grpc-timeout`, at least 10 ms).";
                rapid_reset_age: Age, "How old a stream must be for its reset to be no rapid one.";
                provoked_resets: Rate, "Resets that the peer makes us send by breaking rules.";
                pings: Rate, "PING frames that want an answer.";
                settings: Rate, "SETTINGS frames that want an answer.";
                priorities: Rate, "PRIORITY frames, which do nothing.";
                window_updates: Rate, "WINDOW_UPDATE frames beyond those that traffic explains.";
                empty_data: Rate, "DATA frames without data.";
                unknown_frames: Rate, "Frames of unknown types, which are skipped.";
                goaways: Rate, "GOAWAY frames.";
                max_unread_answers: Size, "Bytes of answers that the peer asked for and does not read.";
                max_queued: Size, "Bytes that wait on all streams of one connection until the peer takes them.";
            }
        }
    };
}

http2_bounds!(
    CLIENT_BOUNDS,
    CLIENT,
    http2::Limits::edge(),
    "`limits.client`",
    "Limits of each connection of a client. Rates count frames of which well-behaved clients send few; traffic that explains them is not counted, and what backends answered earns a part of one back."
);
http2_bounds!(
    BACKEND_BOUNDS,
    BACKEND,
    http2::Limits::backend(),
    "`limits.backend`",
    "Limits of each connection to a backend. Wide, because many clients share it."
);
