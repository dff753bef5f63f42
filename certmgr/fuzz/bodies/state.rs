//! Any text as a document of the state directory. What is read is written and read again as the same.

use crate::acme::{fuzz_account, fuzz_note};
use crate::kept::Kept;
use crate::ledger::History;
use crate::revocations::wish::Wish;
use crate::trust::kept;

/// The first byte chooses the kind of document.
pub fn run(data: &[u8]) {
    let Some((kind, document)) = data.split_first() else {
        return;
    };
    match kind % 6 {
        0 => {
            if let Ok((kept, _broken)) = Kept::parse(document) {
                let written = kept.to_json().unwrap();
                let (again, broken) = Kept::parse(&written).unwrap();
                assert_eq!(broken, [""; 0]);
                assert_eq!(again.to_json().unwrap(), written);
            }
        }
        1 => {
            let _ = kept::parse(document);
        }
        2 => {
            if let Ok(history) = History::parse(document) {
                assert_eq!(History::parse(&history.to_bytes()), Ok(history));
            }
        }
        3 => {
            if let Ok(wish) = Wish::parse(document) {
                assert_eq!(Wish::parse(&wish.to_json().unwrap()), Ok(wish));
            }
        }
        4 => fuzz_account(document),
        _ => fuzz_note(document),
    }
}
