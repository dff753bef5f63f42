//! Any text as a JSON secret.

use super::assert_printable;
use crate::source::secrets_manager::json;

pub fn run(data: &[u8]) {
    if let Err(error) = json::fields(data, ["chain", "key"]) {
        assert_printable(&error);
    }
}
