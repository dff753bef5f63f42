//! The examples of RFC 7541 Appendix C. Encoding without Huffman code (C.3, C.5) is tested beside the encoder.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

use http2::{DecodeError, Decoder, Encoder, Field, Indexing};

type List = &'static [(&'static str, &'static str)];

struct Example {
    block: &'static str,
    fields: List,
    /// The dynamic table afterwards, newest first.
    table: List,
    table_size: usize,
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, DecodeError> {
    let mut out = Vec::new();
    decoder.decode(block, 65_536, 100, &mut out).map(|_| out)
}

fn pairs(fields: &[Field]) -> Vec<(&str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    fields
        .iter()
        .map(|field| (text(field.name()), text(field.value())))
        .collect()
}

/// All entries, read one index after the other until there is none.
fn table(decoder: &mut Decoder) -> Vec<Field> {
    (62..126)
        .map_while(|index| decode(decoder, &[0x80 | index]).ok()?.pop())
        .collect()
}

/// A decoder whose peer has chosen this table size.
fn decoder(table_size: usize) -> Decoder {
    let mut decoder = Decoder::new(4096);
    let mut block = Vec::new();
    let mut encoder = Encoder::new();
    encoder.set_max_table_size(table_size);
    encoder.encode(&[], &mut block);
    decode(&mut decoder, &block).unwrap();
    decoder
}

fn check(table_size: usize, examples: &[Example]) {
    let mut decoder = decoder(table_size);
    for example in examples {
        let fields = decode(&mut decoder, &hex(example.block)).unwrap();
        assert_eq!(pairs(&fields), example.fields);
        let table = table(&mut decoder);
        assert_eq!(pairs(&table), example.table);
        assert_eq!(table.iter().map(Field::size).sum::<usize>(), example.table_size);
    }
}

fn check_encoder(table_size: usize, examples: &[Example]) {
    let mut encoder = Encoder::compact();
    encoder.set_max_table_size(table_size);
    encoder.encode(&[], &mut Vec::new());
    for example in examples {
        let fields: Vec<_> = example
            .fields
            .iter()
            .map(|(n, v)| Field::new(n.as_bytes(), v.as_bytes()))
            .collect();
        let mut block = Vec::new();
        encoder.encode(&fields, &mut block);
        assert_eq!(block, hex(example.block));
    }
}

#[test]
fn c_2_single_fields() {
    let literal = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    let custom: List = &[("custom-key", "custom-header")];
    check(
        4096,
        &[Example {
            block: literal,
            fields: custom,
            table: custom,
            table_size: 55,
        }],
    );
    for (block, field, indexing) in [
        (
            "040c 2f73 616d 706c 652f 7061 7468",
            (":path", "/sample/path"),
            Indexing::Without,
        ),
        (
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            ("password", "secret"),
            Indexing::Never,
        ),
        ("82", (":method", "GET"), Indexing::Incremental),
    ] {
        let mut decoder = Decoder::new(4096);
        let fields = decode(&mut decoder, &hex(block)).unwrap();
        assert_eq!(pairs(&fields), [field]);
        assert_eq!(fields[0].indexing(), indexing);
        assert!(table(&mut decoder).is_empty());
        // And back: what is not to be indexed is written as it came.
        let mut again = Vec::new();
        Encoder::new().encode(&fields, &mut again);
        assert_eq!(again, hex(block));
    }
}

const AUTHORITY: (&str, &str) = (":authority", "www.example.com");

const fn requests(blocks: [&'static str; 3]) -> [Example; 3] {
    let [first, second, third] = blocks;
    [
        Example {
            block: first,
            fields: &[(":method", "GET"), (":scheme", "http"), (":path", "/"), AUTHORITY],
            table: &[AUTHORITY],
            table_size: 57,
        },
        Example {
            block: second,
            fields: &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                AUTHORITY,
                ("cache-control", "no-cache"),
            ],
            table: &[("cache-control", "no-cache"), AUTHORITY],
            table_size: 110,
        },
        Example {
            block: third,
            fields: &[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/index.html"),
                AUTHORITY,
                ("custom-key", "custom-value"),
            ],
            table: &[
                ("custom-key", "custom-value"),
                ("cache-control", "no-cache"),
                AUTHORITY,
            ],
            table_size: 164,
        },
    ]
}

#[test]
fn c_3_requests() {
    check(
        4096,
        &requests([
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ]),
    );
}

#[test]
fn c_4_requests_in_huffman_code() {
    let examples = requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
    check(4096, &examples);
    check_encoder(4096, &examples);
}

const PRIVATE: (&str, &str) = ("cache-control", "private");
const PLACE: (&str, &str) = ("location", "https://www.example.com");
const EARLY: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
const LATE: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const COOKIE: (&str, &str) = (
    "set-cookie",
    "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
);

const fn responses(blocks: [&'static str; 3]) -> [Example; 3] {
    let [first, second, third] = blocks;
    [
        Example {
            block: first,
            fields: &[(":status", "302"), PRIVATE, EARLY, PLACE],
            table: &[PLACE, EARLY, PRIVATE, (":status", "302")],
            table_size: 222,
        },
        Example {
            block: second,
            fields: &[(":status", "307"), PRIVATE, EARLY, PLACE],
            table: &[(":status", "307"), PLACE, EARLY, PRIVATE],
            table_size: 222,
        },
        Example {
            block: third,
            fields: &[(":status", "200"), PRIVATE, LATE, PLACE, GZIP, COOKIE],
            table: &[COOKIE, GZIP, LATE],
            table_size: 215,
        },
    ]
}

#[test]
fn c_5_responses_with_evictions() {
    check(
        256,
        &responses([
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
             3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ]),
    );
}

#[test]
fn c_6_responses_in_huffman_code_with_evictions() {
    let examples = responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
         1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
    check(256, &examples);
    check_encoder(256, &examples);
}
