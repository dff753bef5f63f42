//! Keys of `trust_bundles`.

use super::Fallback::{Absent, Required};
use super::aws::{BUNDLE_S3, BUNDLE_SECRETS_MANAGER};
use super::certificate::ANOTHER_SOURCE;
use super::{Form, OneOf, Section, Shape, key};

pub(in crate::config) static TRUST_BUNDLE: Section = Section {
    title: "a trust bundle",
    about: "CA certificates, and maybe revocation lists. They are watched and swapped as certificates are; a bad one changes nothing.",
    keys: &[
        key(
            "name",
            Shape::Text(Form::Name),
            Required,
            "Name by which `trust` refers to it.",
        ),
        key(
            "revocation",
            Shape::Switch,
            Absent("`true` if `crl` is given"),
            "Whether there must be a revocation list of each CA.",
        ),
        key(
            "files",
            Shape::Map(&BUNDLE_FILES),
            ANOTHER_SOURCE,
            "PEM files on disk. A change is seen within 2 seconds.",
        ),
        key(
            "s3",
            Shape::Map(&BUNDLE_S3),
            ANOTHER_SOURCE,
            "Objects in Amazon S3, or in what speaks its protocol.",
        ),
        key(
            "secrets_manager",
            Shape::Map(&BUNDLE_SECRETS_MANAGER),
            ANOTHER_SOURCE,
            "A secret in AWS Secrets Manager.",
        ),
    ],
    one_of: Some(OneOf {
        what: "a source",
        keys: &["files", "s3", "secrets_manager"],
        required: true,
    }),
    future: &[("acme", "trust comes from `files`, `s3` or `secrets_manager`")],
    synonyms: &[("file", "files"), ("secret", "secrets_manager")],
};

static BUNDLE_FILES: Section = Section {
    title: "`files` of a trust bundle",
    about: "Relative paths begin at the folder of the configuration file.",
    keys: &[
        key(
            "ca",
            Shape::Text(Form::Path),
            Required,
            "PEM file with the CA certificates.",
        ),
        key(
            "crl",
            Shape::Text(Form::Path),
            Absent("the file of `ca` may hold them as well"),
            "PEM file with revocation lists.",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[("chain", "ca"), ("ca_file", "ca"), ("crls", "crl")],
};
