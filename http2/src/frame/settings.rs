//! SETTINGS (RFC 9113 §6.5).

use crate::error::{ConnectionError, ErrorCode};
use crate::flow::MAX_WINDOW;

pub(crate) const HEADER_TABLE_SIZE: u16 = 0x1;
pub(crate) const ENABLE_PUSH: u16 = 0x2;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;
pub(crate) const MAX_FRAME_SIZE: u16 = 0x5;
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
/// RFC 8441 §3; left off by us, but its value is checked.
pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

/// The changes of one SETTINGS frame. A setting given twice takes the last value (RFC 9113 §6.5.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) header_table_size: Option<u32>,
    pub(crate) max_concurrent_streams: Option<u32>,
    pub(crate) initial_window_size: Option<u32>,
    pub(crate) max_header_list_size: Option<u32>,
}

/// Reads the payload of a SETTINGS frame without ACK. `from_server`: who sent it.
pub(crate) fn parse(payload: &[u8], from_server: bool) -> Result<Changes, ConnectionError> {
    let mut changes = Changes::default();
    let (settings, rest) = payload.as_chunks::<6>();
    // RFC 9113 §6.5: a length that is no multiple of 6 is a FRAME_SIZE_ERROR.
    if !rest.is_empty() {
        return Err(ConnectionError::rule(
            ErrorCode::FRAME_SIZE_ERROR,
            "the length of SETTINGS is no multiple of six",
        ));
    }
    for &[i0, i1, v0, v1, v2, v3] in settings {
        let value = u32::from_be_bytes([v0, v1, v2, v3]);
        // RFC 9113 §6.5.2: the valid range of each value.
        match u16::from_be_bytes([i0, i1]) {
            HEADER_TABLE_SIZE => changes.header_table_size = Some(value),
            ENABLE_PUSH if value > 1 => {
                return Err(ConnectionError::protocol(
                    "SETTINGS_ENABLE_PUSH is neither 0 nor 1",
                ));
            }
            ENABLE_PUSH if from_server && value != 0 => {
                return Err(ConnectionError::protocol("a server set SETTINGS_ENABLE_PUSH"));
            }
            MAX_CONCURRENT_STREAMS => changes.max_concurrent_streams = Some(value),
            INITIAL_WINDOW_SIZE if value > MAX_WINDOW => {
                return Err(ConnectionError::rule(
                    ErrorCode::FLOW_CONTROL_ERROR,
                    "SETTINGS_INITIAL_WINDOW_SIZE is above 2^31-1",
                ));
            }
            INITIAL_WINDOW_SIZE => changes.initial_window_size = Some(value),
            MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                return Err(ConnectionError::protocol(
                    "SETTINGS_MAX_FRAME_SIZE is out of range",
                ));
            }
            ENABLE_CONNECT_PROTOCOL if value > 1 => {
                return Err(ConnectionError::protocol(
                    "SETTINGS_ENABLE_CONNECT_PROTOCOL is neither 0 nor 1",
                ));
            }
            MAX_HEADER_LIST_SIZE => changes.max_header_list_size = Some(value),
            // RFC 9113 §6.5.2: unknown settings are ignored. MAX_FRAME_SIZE allows more than we ever send.
            _ => {}
        }
    }
    Ok(changes)
}

/// Appends one setting.
pub(crate) fn push(out: &mut Vec<u8>, id: u16, value: u32) {
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: u16, value: u32) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, id, value);
        out
    }

    #[test]
    fn values_are_checked_by_their_ranges() {
        use ErrorCode as E;
        let cases = [
            (ENABLE_PUSH, 1, false, None),
            (ENABLE_PUSH, 0, true, None),
            (ENABLE_PUSH, 1, true, Some(E::PROTOCOL_ERROR)),
            (ENABLE_PUSH, 2, false, Some(E::PROTOCOL_ERROR)),
            (INITIAL_WINDOW_SIZE, 0x7fff_ffff, false, None),
            (
                INITIAL_WINDOW_SIZE,
                0x8000_0000,
                false,
                Some(E::FLOW_CONTROL_ERROR),
            ),
            (MAX_FRAME_SIZE, 16_383, false, Some(E::PROTOCOL_ERROR)),
            (MAX_FRAME_SIZE, 16_384, false, None),
            (MAX_FRAME_SIZE, 16_777_215, false, None),
            (MAX_FRAME_SIZE, 16_777_216, false, Some(E::PROTOCOL_ERROR)),
            (ENABLE_CONNECT_PROTOCOL, 1, true, None),
            (ENABLE_CONNECT_PROTOCOL, 2, true, Some(E::PROTOCOL_ERROR)),
            (0xface, 7, false, None),
        ];
        for (id, value, from_server, want) in cases {
            let got = parse(&one(id, value), from_server).err().map(|e| e.code);
            assert_eq!(
                got, want,
                "setting {id:#x} = {value}, from a server: {from_server}"
            );
        }
    }

    #[test]
    fn the_last_of_two_values_counts() {
        let payload = [one(INITIAL_WINDOW_SIZE, 100), one(INITIAL_WINDOW_SIZE, 1)].concat();
        assert_eq!(parse(&payload, false).unwrap().initial_window_size, Some(1));
    }

    #[test]
    fn a_cut_setting_is_a_frame_size_error() {
        let payload = one(INITIAL_WINDOW_SIZE, 100);
        assert_eq!(
            parse(&payload[..5], false).unwrap_err().code,
            ErrorCode::FRAME_SIZE_ERROR
        );
    }
}
