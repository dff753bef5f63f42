use super::*;

const NO_LIMIT: usize = usize::MAX;

/// Decodes without limits, as `name: value`.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut out = Vec::new();
    decoder.decode(block, NO_LIMIT, NO_LIMIT, &mut out)?;
    Ok(out
        .iter()
        .map(|f| format!("{}: {}", f.name().escape_ascii(), f.value().escape_ascii()))
        .collect())
}

/// A literal with a new name and plain strings.
fn literal(first: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![first];
    for text in [name, value] {
        integer::encode(0, 7, text.len(), &mut block);
        block.extend_from_slice(text);
    }
    block
}

#[test]
fn every_static_row_is_decoded_by_its_index() {
    let mut decoder = Decoder::new(4096);
    for index in 1..=61 {
        let row = row_at(index);
        let expected = format!("{}: {}", row.name.escape_ascii(), row.value.escape_ascii());
        assert_eq!(decode(&mut decoder, &[0x80 | index]), Ok(vec![expected]));
    }
}

#[test]
fn index_zero_and_indices_beyond_the_tables_are_errors() {
    for block in [
        &[0x80][..],
        &[0xBE],
        &[0xFF, 0x00],
        &[0x7E, 0x00],
        &[0x0F, 0x2F, 0x00],
    ] {
        assert_eq!(
            decode(&mut Decoder::new(4096), block),
            Err(DecodeError::InvalidIndex),
            "{block:x?}"
        );
    }
    // One entry: 62 is there, 63 is not.
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &literal(0x40, b"a", b"b")).expect("valid");
    assert_eq!(decode(&mut decoder, &[0xBE]), Ok(vec!["a: b".into()]));
    assert_eq!(decode(&mut decoder, &[0xBF]), Err(DecodeError::InvalidIndex));
}

#[test]
fn a_block_cut_anywhere_inside_a_field_is_truncated() {
    let block = [
        literal(0x40, b"name", b"value"),
        literal(0x10, b"n", &[b'v'; 200]),
    ]
    .concat();
    let fields = [12, block.len()];
    for cut in 1..block.len() {
        let result = decode(&mut Decoder::new(4096), &block[..cut]);
        if fields.contains(&cut) {
            assert!(result.is_ok());
        } else {
            assert_eq!(result, Err(DecodeError::Truncated), "at {cut}");
        }
    }
}

#[test]
fn a_string_longer_than_the_block_allocates_nothing() {
    let mut decoder = Decoder::new(4096);
    let block = [0x40, 0x7F, 0x80, 0xFF, 0xFF, 0x7F];
    assert_eq!(decode(&mut decoder, &block), Err(DecodeError::Truncated));
    assert_eq!(decoder.text.capacity(), 0);
}

#[test]
fn integers_that_are_too_long_are_errors() {
    for first in [0xFF, 0x7F, 0x3F, 0x1F, 0x0F] {
        let block = [first, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(
            decode(&mut Decoder::new(4096), &block),
            Err(DecodeError::IntegerOverflow)
        );
    }
}

#[test]
fn broken_huffman_code_is_an_error_in_names_and_values() {
    // Two bytes of ones are not padding.
    for block in [
        &[0x40, 0x82, 0xFF, 0xFF, 0x00][..],
        &[0x41, 0x82, 0xFF, 0xFF],
        &[0x01, 0x81, 0x00],
    ] {
        assert_eq!(
            decode(&mut Decoder::new(4096), block),
            Err(DecodeError::InvalidHuffman),
            "{block:x?}"
        );
    }
}

#[test]
fn a_size_update_stands_only_at_the_beginning_and_within_what_was_announced() {
    let mut decoder = Decoder::new(4096);
    // RFC 7541 §4.2: two in a row, the smallest and the last.
    assert_eq!(
        decode(&mut decoder, &[0x20, 0x3F, 0xE1, 0x1F, 0x82]),
        Ok(vec![":method: GET".into()])
    );
    assert_eq!(decoder.table.max_size(), 4096);
    assert_eq!(
        decode(&mut decoder, &[0x3F, 0xE2, 0x1F]),
        Err(DecodeError::SizeUpdateTooLarge)
    );
    assert_eq!(
        decode(&mut Decoder::new(4096), &[0x82, 0x20]),
        Err(DecodeError::SizeUpdateMisplaced)
    );
    assert_eq!(decode(&mut Decoder::new(8192), &[0x3F, 0xE1, 0x3F]), Ok(vec![]));
}

#[test]
fn a_smaller_table_must_be_confirmed_once_the_settings_are_acknowledged() {
    let confirm = [0x3F, 0xE1, 0x01];
    let mut decoder = Decoder::new(256);
    // Before the acknowledgement the peer may not have seen them.
    assert_eq!(decode(&mut decoder, &[0x3F, 0xE1, 0x1F]), Ok(vec![]));
    decoder.settings_acknowledged();
    // RFC 9113 §4.3.1: no field may come first.
    assert_eq!(decode(&mut decoder, &[0x82]), Err(DecodeError::SizeUpdateMissing));
    assert_eq!(
        decode(&mut decoder, &[0x3F, 0xE1, 0x1F]),
        Err(DecodeError::SizeUpdateTooLarge)
    );
    assert_eq!(decode(&mut decoder, &confirm), Ok(vec![]));
    assert_eq!(decode(&mut decoder, &[0x82]), Ok(vec![":method: GET".into()]));

    // Confirmed already, or nothing to confirm.
    let mut decoder = Decoder::new(256);
    decode(&mut decoder, &confirm).expect("valid");
    decoder.settings_acknowledged();
    assert!(decode(&mut decoder, &[0x82]).is_ok());
    let mut decoder = Decoder::new(4096);
    decoder.settings_acknowledged();
    assert!(decode(&mut decoder, &[0x82]).is_ok());
}

#[test]
fn past_a_limit_fields_are_dropped_and_the_table_stays_in_step() {
    let block: Vec<u8> = (0..10)
        .flat_map(|i| literal(0x40, b"name", &[b'0' + i]))
        .collect();
    for (max_list_size, max_fields, kept) in [
        (NO_LIMIT, 10, 10),
        (NO_LIMIT, 9, 9),
        (370, NO_LIMIT, 10),
        (369, NO_LIMIT, 9),
        (36, 10, 0),
        (0, 0, 0),
    ] {
        let (mut decoder, mut out) = (Decoder::new(4096), Vec::new());
        let decoded = decoder
            .decode(&block, max_list_size, max_fields, &mut out)
            .expect("valid");
        assert_eq!(
            decoded,
            Decoded {
                list_size: 370,
                fields: 10,
                too_large: kept < 10
            }
        );
        assert_eq!(out.len(), kept);
        assert_eq!(
            decode(&mut decoder, &[0xBE, 0xC7]),
            Ok(vec!["name: 9".into(), "name: 0".into()])
        );
    }
}

#[test]
fn a_field_that_would_fit_is_not_kept_after_one_that_did_not() {
    let block = [
        literal(0, b"a", b"1"),
        literal(0, b"b", &[b'x'; 100]),
        literal(0, b"c", b"3"),
    ]
    .concat();
    let mut out = Vec::new();
    let decoded = Decoder::new(4096)
        .decode(&block, 100, 100, &mut out)
        .expect("valid");
    assert_eq!(
        decoded,
        Decoded {
            list_size: 201,
            fields: 3,
            too_large: true
        }
    );
    assert_eq!(out.len(), 1);
}

#[test]
fn a_large_entry_named_thousands_of_times_is_counted_and_never_copied() {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &literal(0x40, b"bomb", &[b'x'; 4000])).expect("valid");
    let mut out = Vec::new();
    let decoded = decoder
        .decode(&[0xBE; 16_000], 65_536, 100, &mut out)
        .expect("valid");
    assert_eq!(
        decoded,
        Decoded {
            list_size: 16_000 * 4036,
            fields: 16_000,
            too_large: true
        }
    );
    assert_eq!(out.len(), 16);
    let all_share_one = |f: &Field| f.value().as_ptr() == out[0].value().as_ptr();
    assert!(out.iter().all(all_share_one));
}

#[test]
fn a_long_name_given_by_index_again_and_again_ends_the_block() {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &literal(0x40, &[b'n'; 2000], b"")).expect("valid");
    // Index 62, an empty value: two bytes that would copy two thousand. Up to the list limit that is valid.
    let copies = |count| [0x0F, 0x2F, 0x00].repeat(count);
    let mut out = Vec::new();
    let decoded = decoder.decode(&copies(32), 65_536, 100, &mut out).expect("valid");
    assert_eq!((decoded.fields, decoded.too_large), (32, false));
    let result = decoder.decode(&copies(5000), 65_536, 100, &mut out);
    assert_eq!(result, Err(DecodeError::NamesAmplified));
}

#[test]
fn a_name_may_come_from_an_entry_that_its_own_field_evicts() {
    // RFC 7541 §4.4: the name is taken before entries go.
    let mut decoder = Decoder::new(4096);
    decode(
        &mut decoder,
        &[vec![0x3F, 0x29], literal(0x40, b"custom", b"0123456789")].concat(),
    )
    .expect("72 bytes");
    assert_eq!(
        decode(&mut decoder, &[0x7E, 0x01, b'x']),
        Ok(vec!["custom: x".into()])
    );
    assert_eq!(decode(&mut decoder, &[0xBE]), Ok(vec!["custom: x".into()]));
    assert_eq!(decoder.table.len(), 1);
}

#[test]
fn how_a_field_was_sent_is_kept() {
    let block = [
        literal(0x40, b"a", b""),
        literal(0x00, b"b", b""),
        literal(0x10, b"c", b""),
        vec![0x82],
    ]
    .concat();
    let mut out = Vec::new();
    Decoder::new(4096)
        .decode(&block, NO_LIMIT, NO_LIMIT, &mut out)
        .expect("valid");
    let how: Vec<_> = out.iter().map(Field::indexing).collect();
    assert_eq!(
        how,
        [
            Indexing::Incremental,
            Indexing::Without,
            Indexing::Never,
            Indexing::Incremental
        ]
    );
}

#[test]
fn facts_are_the_same_by_index_by_indexed_name_and_by_text() {
    let mut decoder = Decoder::new(4096);
    let mut out = Vec::new();
    let blocks = [
        literal(0x40, b"x-request-id", b"bad "),
        vec![0xBE],
        vec![0x7E, 0x01, b'a'],
        literal(0x40, b"Upper", b"ok"),
        vec![0x7E, 0x01, b'\n'],
        // Names by the index of a later row of the same name: 3 is :method POST, 14 is :status 500.
        vec![0x03, 0x03, b'G', b'E', b'T'],
        vec![0x0E, 0x03, b'2', b'0', b'0'],
    ];
    for block in &blocks {
        decoder
            .decode(block, NO_LIMIT, NO_LIMIT, &mut out)
            .expect("valid");
    }
    let seen: Vec<_> = out
        .iter()
        .map(|f| {
            let facts = f.facts();
            (
                f.known(),
                facts.name_legal,
                facts.value_legal & !facts.outer_blanks,
            )
        })
        .collect();
    use crate::Name::{Method, Other, Status, XRequestId};
    let ids = [
        (XRequestId, true, false),
        (XRequestId, true, false),
        (XRequestId, true, true),
    ];
    assert_eq!(seen[..3], ids);
    assert_eq!(
        seen[3..],
        [
            (Other, false, true),
            (Other, false, false),
            (Method, true, true),
            (Status, true, true)
        ]
    );
    let rows: Vec<_> = out
        .iter()
        .filter_map(|f| f.source().err())
        .map(Entry::static_field)
        .collect();
    assert_eq!(rows[5..], [2, 8]);
}

#[test]
fn scratch_space_for_long_fields_is_given_back() {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &literal(0x00, b"long", &[b'x'; 9000])).expect("valid");
    assert_eq!(decoder.text.capacity(), 0);
    decode(&mut decoder, &literal(0x00, b"short", b"x")).expect("valid");
    assert!(decoder.text.capacity() <= KEPT_SCRATCH);
}
