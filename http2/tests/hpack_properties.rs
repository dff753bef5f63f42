//! Properties that hold for any fields and any bytes.
//!
//! A failure prints the smallest input that shows it, and its seed is kept in a file beside this one and tried first
//! the next time. `PROPTEST_RNG_SEED` fixes the seed, `PROPTEST_CASES` is four times the number of cases.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

use http2::{Decoder, Encoder, Field, Indexing};
use proptest::collection::vec;
use proptest::prelude::*;

/// Name, value, and how it is sent.
type Row = (Vec<u8>, Vec<u8>, u8);

fn field((name, value, indexing): &Row) -> Field {
    let indexing = match indexing {
        0..=3 => Indexing::Incremental,
        4 => Indexing::Without,
        _ => Indexing::Never,
    };
    Field::with_indexing(name, value, indexing)
}

/// Names and values that meet often, between some that hold anything.
fn row() -> impl Strategy<Value = Row> {
    let known = prop::sample::select(vec![
        ":method",
        ":path",
        ":status",
        ":authority",
        "te",
        "accept-encoding",
        "cookie",
        "x-request-id",
        "grpc-status",
    ]);
    let name = prop_oneof![
        8 => known.prop_map(|name| name.as_bytes().to_vec()),
        3 => "[a-c]{1,3}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..40),
        1 => (900..1000_usize).prop_map(|len| vec![b'n'; len]),
    ];
    let often = prop::sample::select(vec![
        "",
        "GET",
        "POST",
        "/",
        "200",
        "204",
        "gzip, deflate",
        "trailers",
        "0",
    ]);
    let value = prop_oneof![
        8 => often.prop_map(|value| value.as_bytes().to_vec()),
        4 => "[0-9a-f]{1,60}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..200),
        1 => (3000..5000_usize).prop_map(|len| (0..len).map(|i| (i / 7) as u8).collect()),
    ];
    (name, value, 0..6_u8)
}

#[derive(Clone, Debug)]
struct Block {
    /// New SETTINGS of the peer before this block.
    table_sizes: Vec<usize>,
    rows: Vec<Row>,
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let size = prop_oneof![0..300_usize, 300..5000_usize, Just(65_536)];
    let sizes = prop_oneof![4 => Just(Vec::new()), 1 => vec(size, 1..4)];
    vec(
        (sizes, vec(row(), 0..12)).prop_map(|(table_sizes, rows)| Block { table_sizes, rows }),
        1..30,
    )
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Vec<Field> {
    let mut out = Vec::new();
    let decoded = decoder
        .decode(block, usize::MAX, usize::MAX, &mut out)
        .expect("our own encoder wrote it");
    assert!(!decoded.too_large);
    assert_eq!(decoded.fields, out.len());
    assert_eq!(decoded.list_size, out.iter().map(Field::size).sum::<usize>());
    out
}

fn texts(fields: &[Field]) -> Vec<(&[u8], &[u8])> {
    fields.iter().map(|field| (field.name(), field.value())).collect()
}

proptest! {
    // A quarter of proptest's default: each case is a whole connection.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn any_fields_come_through_any_encoder_and_over_two_hops(blocks in blocks()) {
        let mut encoders = [Encoder::new(), Encoder::compact()];
        let mut decoders = [Decoder::new(4096), Decoder::new(4096)];
        let (mut next_encoder, mut next_decoder) = (Encoder::new(), Decoder::new(4096));
        for block in &blocks {
            let fields: Vec<_> = block.rows.iter().map(field).collect();
            for (hop, (encoder, decoder)) in encoders.iter_mut().zip(&mut decoders).enumerate() {
                block.table_sizes.iter().for_each(|size| encoder.set_max_table_size(*size));
                let mut bytes = Vec::new();
                encoder.encode(&fields, &mut bytes);
                let received = decode(decoder, &bytes);
                prop_assert_eq!(texts(&received), texts(&fields));
                for (sent, received) in fields.iter().zip(&received) {
                    // RFC 7541 §7.1.3: what must not be indexed is marked so to the last hop.
                    prop_assert_eq!(sent.indexing() == Indexing::Never, received.indexing() == Indexing::Never);
                    prop_assert_eq!(sent.known(), received.known());
                    prop_assert_eq!(sent.size(), received.size());
                }
                if hop == 0 {
                    let mut bytes = Vec::new();
                    next_encoder.encode(&received, &mut bytes);
                    let forwarded = decode(&mut next_decoder, &bytes);
                    prop_assert_eq!(texts(&forwarded), texts(&fields));
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_and_the_limits_hold(
        blocks in vec(vec(any::<u8>(), 0..300), 1..10),
        announced in 0..8192_usize,
        max_list_size in 0..10_000_usize,
        max_fields in 0..50_usize,
    ) {
        let mut decoder = Decoder::new(announced);
        for block in &blocks {
            let mut out = Vec::new();
            let Ok(decoded) = decoder.decode(block, max_list_size, max_fields, &mut out) else { break };
            let size: usize = out.iter().map(Field::size).sum();
            // Past the limits one content type is kept.
            if size > max_list_size || out.len() > max_fields {
                prop_assert_eq!(out.pop().map(|field| field.known()), Some(http2::Name::ContentType));
            }
            let kept: usize = out.iter().map(Field::size).sum();
            prop_assert!(kept <= max_list_size && out.len() <= max_fields);
            prop_assert_eq!(decoded.too_large, decoded.list_size > max_list_size || decoded.fields > max_fields);
            if !decoded.too_large {
                prop_assert_eq!((decoded.list_size, decoded.fields), (kept, out.len()));
            }
        }
    }

    #[test]
    fn limits_change_what_is_kept_and_nothing_later(
        blocks in blocks(),
        max_list_size in 0..3000_usize,
        max_fields in 0..12_usize,
    ) {
        let mut encoder = Encoder::compact();
        let (mut free, mut bound) = (Decoder::new(4096), Decoder::new(4096));
        for block in &blocks {
            block.table_sizes.iter().for_each(|size| encoder.set_max_table_size(*size));
            let fields: Vec<_> = block.rows.iter().map(field).collect();
            let mut bytes = Vec::new();
            encoder.encode(&fields, &mut bytes);
            let all = decode(&mut free, &bytes);
            let mut kept = Vec::new();
            match bound.decode(&bytes, max_list_size, max_fields, &mut kept) {
                Ok(decoded) => {
                    prop_assert_eq!(decoded.fields, all.len());
                    prop_assert_eq!(decoded.list_size, all.iter().map(Field::size).sum::<usize>());
                    prop_assert_eq!(texts(&kept), texts(&all[..kept.len()]));
                }
                // Long names by index beyond a small limit.
                Err(error) => {
                    prop_assert_eq!(error, http2::DecodeError::NamesAmplified);
                    break;
                }
            }
        }
    }
}
