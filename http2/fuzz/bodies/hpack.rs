//! Header blocks from a stranger: decoded with limits, sent on over two more hops, and read back unchanged.

use http2::{DecodeError, Decoder, Encoder, Field, Indexing, Name};

/// Input: the announced table size in units of 32 bytes; the list limit in units of 64; the field limit; then
/// blocks, each with a byte before it that is its length. A length of 255 stands for no block but for new SETTINGS
/// of the next hop: its table size follows, in units of 32.
pub(crate) fn run(data: &[u8]) {
    let [announced, max_list_size, max_fields, rest @ ..] = data else {
        return;
    };
    let (max_list_size, max_fields) = (usize::from(*max_list_size) * 64, usize::from(*max_fields));
    let mut hops = Hops::new(usize::from(*announced) * 32);
    let mut rest = rest;
    while let [len, after @ ..] = rest {
        if let (255, [size, after @ ..]) = (*len, after) {
            hops.set_max_table_size(usize::from(*size) * 32);
            rest = after;
            continue;
        }
        let (block, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        // As on a connection: an error ends it.
        if !hops.take(block, max_list_size, max_fields) {
            return;
        }
    }
}

/// The size and the number of fields past which the stopping decoder reads no block.
const STOP: (usize, usize) = (4_000, 40);

/// The decoder under test, one with no limits beside it, and two ways on.
struct Hops {
    limited: Decoder,
    free: Decoder,
    /// Until it has stopped.
    stopping: Option<Decoder>,
    ways: [(Encoder, Decoder); 2],
}

impl Hops {
    fn new(announced: usize) -> Self {
        Self {
            limited: Decoder::new(announced),
            free: Decoder::new(announced),
            stopping: Some(Decoder::new(announced).stopping_past(STOP.0, STOP.1)),
            ways: [Encoder::new(), Encoder::compact()].map(|encoder| (encoder, Decoder::new(4096))),
        }
    }

    fn set_max_table_size(&mut self, size: usize) {
        self.ways
            .iter_mut()
            .for_each(|(encoder, _)| encoder.set_max_table_size(size));
    }

    fn take(&mut self, block: &[u8], max_list_size: usize, max_fields: usize) -> bool {
        let (mut kept, mut all) = (Vec::new(), Vec::new());
        let bound = self.limited.decode(block, max_list_size, max_fields, &mut kept);
        let unbound = self.free.decode(block, usize::MAX, usize::MAX, &mut all);
        let (Ok(bound), Ok(unbound)) = (bound, unbound) else {
            // Without limits nothing is ever too much to copy; every other error is the same.
            assert!(bound.is_err() && (unbound == bound || bound == Err(DecodeError::NamesAmplified)));
            return false;
        };
        assert_eq!(
            (bound.list_size, bound.fields),
            (unbound.list_size, unbound.fields)
        );
        assert_eq!(
            (unbound.list_size, unbound.fields),
            (all.iter().map(Field::size).sum(), all.len())
        );
        self.stop_in_time(block, &all);
        let mut size = 0;
        let fits = |(field, number): &(&Field, usize)| -> bool {
            size += field.size();
            size <= max_list_size && *number <= max_fields
        };
        let fitting = all.iter().zip(1..).take_while(fits).count();
        assert_eq!(bound.too_large, fitting < all.len());
        let (kept, past) = kept.split_at(fitting);
        assert!(past.len() <= 1 && past.iter().all(|field| field.known() == Name::ContentType));
        assert!(
            kept.iter()
                .zip(&all)
                .all(|(kept, all)| same(kept, all) && kept.indexing() == all.indexing())
        );
        // An entry may come from any block before, but no block holds more than its bytes say.
        assert!(all.len() <= block.len());
        for (encoder, decoder) in &mut self.ways {
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            encoder.encode(&all, &mut bytes);
            decoder
                .decode(&bytes, usize::MAX, usize::MAX, &mut back)
                .expect("our own encoder wrote it");
            assert_eq!(back.len(), all.len());
            assert!(back.iter().zip(&all).all(|(back, all)| same(back, all)));
        }
        true
    }
}

impl Hops {
    /// A decoder that stops does so exactly where the list is larger than it reads.
    fn stop_in_time(&mut self, block: &[u8], all: &[Field]) {
        let Some(decoder) = &mut self.stopping else { return };
        let stopped = decoder.decode(block, STOP.0 / 4, STOP.1 / 4, &mut Vec::new());
        let size: usize = all.iter().map(Field::size).sum();
        match stopped {
            Ok(_) => assert!(size <= STOP.0 && all.len() <= STOP.1),
            Err(DecodeError::ListTooLarge | DecodeError::TooManyFields) => {
                assert!(size > STOP.0 || all.len() > STOP.1);
                self.stopping = None;
            }
            Err(_) => self.stopping = None,
        }
    }
}

fn same(a: &Field, b: &Field) -> bool {
    let never = |field: &Field| field.indexing() == Indexing::Never;
    a.name() == b.name() && a.value() == b.value() && a.known() == b.known() && never(a) == never(b)
}
