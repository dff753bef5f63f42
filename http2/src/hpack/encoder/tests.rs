use super::*;
use crate::hpack::Decoder;

const PLAIN: Style = Style {
    huffman: false,
    eager: true,
};

fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: Vec<_> = fields
        .iter()
        .map(|(n, v)| Field::new(n.as_bytes(), v.as_bytes()))
        .collect();
    let mut block = Vec::new();
    encoder.encode(&fields, &mut block);
    block
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

// RFC 7541 Appendix C.3; with Huffman code (C.4, C.6) see tests/hpack_rfc7541.rs.
#[test]
fn requests_of_c_3_are_written_byte_for_byte() {
    let mut encoder = Encoder::with_style(PLAIN);
    let first = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    let second = [
        first[0],
        first[1],
        first[2],
        first[3],
        ("cache-control", "no-cache"),
    ];
    let third = [
        first[0],
        (":scheme", "https"),
        (":path", "/index.html"),
        first[3],
        ("custom-key", "custom-value"),
    ];
    assert_eq!(
        encode(&mut encoder, &first),
        hex("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d")
    );
    assert_eq!(
        encode(&mut encoder, &second),
        hex("8286 84be 5808 6e6f 2d63 6163 6865")
    );
    let bytes = "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65";
    assert_eq!(encode(&mut encoder, &third), hex(bytes));
    assert_eq!(encoder.table.size(), 164);
}

// RFC 7541 Appendix C.5: a table of 256 bytes, so entries are evicted.
#[test]
fn responses_of_c_5_are_written_byte_for_byte() {
    let mut encoder = Encoder::with_style(PLAIN);
    encoder.set_max_table_size(256);
    let early = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
    let late = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
    let (private, place) = (
        ("cache-control", "private"),
        ("location", "https://www.example.com"),
    );
    let cookie = (
        "set-cookie",
        "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    );
    let first = encode(&mut encoder, &[(":status", "302"), private, early, place]);
    let bytes =
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133
        3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d";
    // The example agrees on 256 beforehand; here the block says so first.
    assert_eq!(first, [vec![0x3F, 0xE1, 0x01], hex(bytes)].concat());
    assert_eq!(
        encode(&mut encoder, &[(":status", "307"), private, early, place]),
        hex("4803 3330 37c1 c0bf")
    );
    let last = [
        (":status", "200"),
        private,
        late,
        place,
        ("content-encoding", "gzip"),
        cookie,
    ];
    let bytes = "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a
        6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
        6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31";
    assert_eq!(encode(&mut encoder, &last), hex(bytes));
    assert_eq!(encoder.table.size(), 215);
}

#[test]
fn a_field_enters_the_table_when_it_is_seen_again() {
    let mut encoder = Encoder::new();
    let field = [("te", "trailers")];
    let literal = |first: u8| [&[first, 2], &b"te"[..], &[8], b"trailers"].concat();
    assert_eq!(encode(&mut encoder, &field), literal(0x00));
    assert_eq!(encode(&mut encoder, &field), literal(0x40));
    assert_eq!(encode(&mut encoder, &field), [0xBE]);
}

#[test]
fn fields_seen_once_push_nothing_out() {
    let mut encoder = Encoder::new();
    let field = [("user-agent", "grpc-go/1.67.0")];
    encode(&mut encoder, &field);
    encode(&mut encoder, &field);
    for number in 0..10_000 {
        encode(&mut encoder, &[("x-request-id", &format!("id-{number:0100}"))]);
        assert_eq!(
            encode(&mut encoder, &field),
            [0xBE + encoder.table.len() as u8 - 1]
        );
    }
    // Few came in by a tag that they shared with another.
    assert!(encoder.table.len() < 4, "{:?}", encoder.table);
}

#[test]
fn a_field_that_was_evicted_comes_back_when_it_is_seen() {
    let mut encoder = Encoder::with_style(PLAIN);
    encode(&mut encoder, &[("a", "1")]);
    let filler: Vec<String> = (0..200).map(|i| format!("{i:0100}")).collect();
    filler
        .iter()
        .for_each(|value| drop(encode(&mut encoder, &[("filler", value)])));
    assert_eq!(encode(&mut encoder, &[("a", "1")]), [0x40, 1, b'a', 1, b'1']);
    assert_eq!(encode(&mut encoder, &[("a", "1")]), [0xBE]);
}

#[test]
fn what_is_never_indexed_stays_a_literal_even_if_a_table_has_it() {
    let mut encoder = Encoder::with_style(PLAIN);
    encode(&mut encoder, &[("key", "s")]);
    let never = [(&b"key"[..], &b"s"[..]), (b":method", b"GET")]
        .map(|(name, value)| Field::with_indexing(name, value, Indexing::Never));
    let mut block = Vec::new();
    encoder.encode(&never, &mut block);
    // RFC 7541 §7.1.3: the representation is kept by intermediaries.
    assert_eq!(
        block,
        [&[0x10, 3][..], b"key", &[1, b's', 0x12, 3], b"GET"].concat()
    );
}

#[test]
fn what_is_not_indexed_takes_a_static_row_but_no_place_in_the_table() {
    let mut encoder = Encoder::with_style(PLAIN);
    let fields = [(&b":path"[..], &b"/"[..]), (b":path", b"/a")]
        .map(|(name, value)| Field::with_indexing(name, value, Indexing::Without));
    for _ in 0..3 {
        let mut block = Vec::new();
        encoder.encode(&fields, &mut block);
        assert_eq!(block, [0x84, 0x04, 2, b'/', b'a']);
    }
    assert_eq!(encoder.table.len(), 0);
}

#[test]
fn what_fills_the_table_enters_it_when_it_comes_again_and_what_is_larger_never() {
    let mut encoder = Encoder::with_style(PLAIN);
    encode(&mut encoder, &[("a", "1")]);
    let long = "x".repeat(4096 - 32);
    // Once: what others have in the table stays.
    assert_eq!(encode(&mut encoder, &[("b", &long[1..])])[0], 0x00);
    assert_eq!(encode(&mut encoder, &[("a", "1")]), [0xBE]);
    assert_eq!(encode(&mut encoder, &[("b", &long[1..])])[0], 0x40);
    assert_eq!(encode(&mut encoder, &[("b", &long[1..])]), [0xBE]);
    // It has come once before, and another may have come between.
    encode(&mut encoder, &[("b", &long[2..])]);
    assert_eq!(encode(&mut encoder, &[("b", &long[1..])]), [0xBE]);
    for _ in 0..3 {
        assert_eq!(encode(&mut encoder, &[("b", &long)])[0], 0x00);
    }
    assert_eq!(encode(&mut encoder, &[("b", &long[1025..])])[0], 0x40);
}

#[test]
fn a_field_that_repeats_within_one_head_is_written_twice_and_then_named() {
    for style in [Style::LIGHT, Style::COMPACT] {
        for size in [200, 3_000, 4_090] {
            let mut encoder = Encoder::with_style(style);
            let value = "v".repeat(size - 38);
            let block = encode(&mut encoder, &[("x-bomb", &*value); 15]);
            assert!(block.len() < 2 * size + 15, "{size}: {}", block.len());
            assert_eq!(block[block.len() - 13..], [0xBE; 13]);
        }
    }
}

#[test]
fn a_table_of_nothing_is_never_used() {
    let mut encoder = Encoder::new();
    encoder.set_max_table_size(0);
    assert_eq!(
        encode(&mut encoder, &[("a", "1")]),
        [0x20, 0x00, 1, b'a', 1, b'1']
    );
    for _ in 0..3 {
        assert_eq!(encode(&mut encoder, &[("a", "1")]), [0x00, 1, b'a', 1, b'1']);
    }
    assert!(encoder.index.is_empty());
}

// RFC 7541 §4.2.
#[test]
fn the_next_block_announces_the_smallest_size_in_between_and_the_last() {
    let updates = |sizes: &[usize]| {
        let mut encoder = Encoder::new();
        sizes.iter().for_each(|size| encoder.set_max_table_size(*size));
        let block = encode(&mut encoder, &[]);
        assert_eq!(encode(&mut encoder, &[]), [], "written once");
        block
    };
    assert_eq!(updates(&[]), []);
    assert_eq!(updates(&[4096, 65_536]), [], "never above 4,096");
    assert_eq!(updates(&[100]), [0x3F, 69]);
    assert_eq!(updates(&[100, 20]), [0x34]);
    assert_eq!(updates(&[20, 100]), [0x34, 0x3F, 69]);
    assert_eq!(updates(&[0, 65_536]), [0x20, 0x3F, 0xE1, 0x1F]);
    assert_eq!(updates(&[10, 30, 20]), [0x2A, 0x34]);
}

#[test]
fn fields_made_to_share_a_hash_lose_compression_and_nothing_else() {
    // These eight bytes make a step of the hash forget everything before them.
    let forget = 0xD6E8_FEB8_6659_FD93_u64.to_le_bytes();
    let field = |number: u64| {
        let value = [&number.to_le_bytes()[..7], &forget, b"the same for all"].concat();
        Field::new(b"n", &value)
    };
    let hash = |field: &Field| field.source().expect_err("an entry").hash();
    assert_eq!(
        hash(&field(1)),
        hash(&field(2)),
        "or the hash was mended and this test proves nothing"
    );

    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    for round in 0..2000 {
        let fields: Vec<_> = (0..5).map(|i| field(round / 3 + i)).collect();
        let (mut block, mut out) = (Vec::new(), Vec::new());
        encoder.encode(&fields, &mut block);
        decoder
            .decode(&block, usize::MAX, usize::MAX, &mut out)
            .expect("valid");
        let values = |fields: &[Field]| fields.iter().map(|f| f.value().to_vec()).collect::<Vec<_>>();
        assert_eq!(values(&out), values(&fields));
    }
}

#[test]
fn the_index_stays_in_step_with_a_full_table_that_turns_over() {
    let mut encoder = Encoder::with_style(PLAIN);
    for round in 0..3000_u32 {
        let value = format!("{:02}", round % 1000);
        encode(&mut encoder, &[("n", &value)]);
        assert_eq!(encode(&mut encoder, &[("n", &value)]), [0xBE]);
        // Most of the last hundred are found; a group of four that is full forgets some.
        if round % 100 == 99 {
            let found = (0..100).filter(|back| {
                let value = format!("{:02}", (round - back) % 1000);
                let field = Field::new(b"n", value.as_bytes());
                let entry = field.source().expect_err("an entry");
                matches!(encoder.index.find(entry, &encoder.table), Sighting::InTable(_))
            });
            assert!(found.count() > 95);
        }
    }
}
