//! Keys of `trust_bundles`.

use super::Fallback::{Absent, Required};
use super::Form::{Name, Path};
use super::Shape::{Map, Switch, Text};
use super::aws::{BUNDLE_S3, BUNDLE_SECRETS_MANAGER};
use super::{ANOTHER_SOURCE, Key, OneOf, Section, key, section};

section! {
    pub(in crate::config) TRUST_BUNDLE: "a trust bundle",
    "CA certificates, and maybe revocation lists. They are watched and swapped as certificates are; a bad one changes nothing.";
    keys {
        name: Text(Name), Required, "Name by which `trust` refers to it.";
        revocation: Switch, Absent("`true` if `crl` is given"),
            "Whether there must be a revocation list of each CA.";
        files: Map(&BUNDLE_FILES), ANOTHER_SOURCE,
            "PEM files on disk. A change is seen within 2 seconds." also "file";
        s3: Map(&BUNDLE_S3), ANOTHER_SOURCE, "Objects in Amazon S3, or in what speaks its protocol.";
        secrets_manager: Map(&BUNDLE_SECRETS_MANAGER), ANOTHER_SOURCE,
            "A secret in AWS Secrets Manager." also "secret";
    }
    one_of "a source", required: true { files s3 secrets_manager }
    future {
        "acme" => "trust comes from `files`, `s3` or `secrets_manager`";
    }
}

section! {
    BUNDLE_FILES: "`files` of a trust bundle",
    "Relative paths begin at the folder of the configuration file.";
    keys {
        ca: Text(Path), Required, "PEM file with the CA certificates." also "chain" "ca_file";
        crl: Text(Path), Absent("the file of `ca` may hold them as well"),
            "PEM file with revocation lists." also "crls";
    }
}
