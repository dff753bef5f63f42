//! The JSON mapping of proto3, where it differs from what serde derives. Keys are the names of the `.proto` files, every
//! key is there, and an absent message is null.

use std::fmt::Display;

use serde::Serializer;

use crate::certs::v1::next_step::Action;
use crate::certs::v1::revocation::Progress;

/// An instant in RFC 3339, or a duration in seconds with an `s` at its end.
pub(crate) fn text<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn action<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(Action::try_from(*number).unwrap_or_default().as_str_name())
}

pub(crate) fn progress<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(Progress::try_from(*number).unwrap_or_default().as_str_name())
}
