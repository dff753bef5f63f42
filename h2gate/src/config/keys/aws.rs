//! Keys of what is read from AWS, for certificates and for trust bundles.

use super::Fallback::{Absent, Inner, Required, Value};
use super::certificate::{self, wait};
use super::{Form, Key, Section, Shape, key};
use crate::config::values::write_duration;

pub(super) const REGION: Key = key(
    "region",
    Shape::Text(Form::Text),
    Absent("that of the environment"),
    "AWS region.",
);
pub(super) const ENDPOINT: Key = key(
    "endpoint",
    Shape::Text(Form::Url),
    Absent("that of AWS"),
    "URL of another service that speaks the same protocol.",
);
pub(super) const ROLE: Key = key(
    "role",
    Shape::Text(Form::Text),
    Absent("the credentials as they are"),
    "ARN of a role to assume. Credentials come from the default chain: environment, profile, ECS task role, EKS Pod Identity, IRSA, instance role.",
);
pub(super) const REFERENCE_REGION: Key = key(
    "region",
    Shape::Text(Form::Text),
    Absent("that of the source around it, or of the environment"),
    "AWS region of `secrets_manager`.",
);
pub(super) const REFERENCE_ENDPOINT: Key = key(
    "endpoint",
    Shape::Text(Form::Url),
    Absent("that of the source around it, or of AWS"),
    "URL of another service in place of `secrets_manager`.",
);
pub(super) const REFERENCE_ROLE: Key = key(
    "role",
    Shape::Text(Form::Text),
    Absent("that of the source around it, or the credentials as they are"),
    "ARN of a role to assume for `secrets_manager`.",
);
const POLL: Key = wait(
    "poll",
    certificate::POLL,
    || write_duration(certificate::POLL.default),
    "How often it is read. Each wait differs by up to 10 %.",
);
const BUCKET: Key = key("bucket", Shape::Text(Form::Text), Required, "Name of the bucket.");
const PATH_STYLE: Key = key(
    "path_style",
    Shape::Switch,
    Value("false"),
    "Whether the bucket stands in the path of the URL, as MinIO and others want it.",
);
const QUEUE: Key = key(
    "queue",
    Shape::Text(Form::Url),
    Absent("polls alone"),
    "URL of an SQS queue that S3 or EventBridge tells of changes. A message causes an earlier read, and nothing else.",
);
const SECRET_NAME: Key = key(
    "secret",
    Shape::Text(Form::Text),
    Required,
    "Name or ARN of the secret. Its version `AWSCURRENT` is read.",
);
const BUCKET_SYNONYMS: &[(&str, &str)] = &[
    ("cert", "chain"),
    ("certificate", "chain"),
    ("private_key", "key"),
    ("pem", "bundle"),
    ("interval", "poll"),
    ("sqs", "queue"),
    ("role_arn", "role"),
    ("force_path_style", "path_style"),
];
const SECRET_SYNONYMS: &[(&str, &str)] = &[
    ("name", "secret"),
    ("secret_id", "secret"),
    ("arn", "secret"),
    ("password", "passphrase"),
    ("interval", "poll"),
    ("role_arn", "role"),
];

pub(in crate::config) static S3: Section = Section {
    title: "`s3` of a certificate",
    about: "Objects in S3: `chain` and `key`, or both in one `bundle`. Reads are conditional, so that an unchanged object costs nothing.",
    keys: &[
        BUCKET,
        key(
            "chain",
            Shape::Text(Form::Text),
            Absent("`bundle` is given"),
            "Key of the object with the PEM chain, the certificate first.",
        ),
        key(
            "key",
            Shape::Text(Form::Text),
            Absent("`bundle` is given"),
            "Key of the object with the PEM private key.",
        ),
        key(
            "bundle",
            Shape::Text(Form::Text),
            Absent("`chain` and `key` are given"),
            "Key of one object with both, in PEM.",
        ),
        key(
            "chain_version",
            Shape::Text(Form::Text),
            Absent("the newest"),
            "Only this version of `chain`.",
        ),
        key(
            "key_version",
            Shape::Text(Form::Text),
            Absent("the newest"),
            "Only this version of `key`.",
        ),
        key(
            "bundle_version",
            Shape::Text(Form::Text),
            Absent("the newest"),
            "Only this version of `bundle`.",
        ),
        REGION,
        ENDPOINT,
        PATH_STYLE,
        ROLE,
        POLL,
        QUEUE,
    ],
    one_of: None,
    future: &[],
    synonyms: BUCKET_SYNONYMS,
};

pub(in crate::config) static SECRETS_MANAGER: Section = Section {
    title: "`secrets_manager` of a certificate",
    about: "A secret in AWS Secrets Manager.",
    keys: &[
        SECRET_NAME,
        key(
            "format",
            Shape::Choice(&["json", "pem", "pkcs12"]),
            Value("json"),
            "A JSON object with PEM texts in two fields, one PEM text with both, or PKCS#12 (binary, or base64).",
        ),
        key(
            "fields",
            Shape::Map(&FIELDS),
            Inner,
            "Names of the fields of `json`.",
        ),
        key(
            "passphrase",
            Shape::Secret,
            Absent("the empty one"),
            "Where the passphrase of `pkcs12` is.",
        ),
        REGION,
        ENDPOINT,
        ROLE,
        POLL,
    ],
    one_of: None,
    future: &[],
    synonyms: SECRET_SYNONYMS,
};

pub(in crate::config) static FIELDS: Section = Section {
    title: "`fields` of a secret",
    about: "Names of the fields of the JSON object. Of other fields only certificates matter that the chain goes on with: they are added to it.",
    keys: &[
        key(
            "chain",
            Shape::Text(Form::Text),
            Value("certificate"),
            "The field with the PEM chain.",
        ),
        key(
            "key",
            Shape::Text(Form::Text),
            Value("private_key"),
            "The field with the PEM private key.",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[
        ("certificate", "chain"),
        ("cert", "chain"),
        ("private_key", "key"),
    ],
};

pub(in crate::config) static BUNDLE_S3: Section = Section {
    title: "`s3` of a trust bundle",
    about: "Objects in S3.",
    keys: &[
        BUCKET,
        key(
            "ca",
            Shape::Text(Form::Text),
            Required,
            "Key of the object with the CA certificates, in PEM.",
        ),
        key(
            "crl",
            Shape::Text(Form::Text),
            Absent("the object of `ca` may hold them as well"),
            "Key of the object with revocation lists, in PEM.",
        ),
        key(
            "ca_version",
            Shape::Text(Form::Text),
            Absent("the newest"),
            "Only this version of `ca`.",
        ),
        key(
            "crl_version",
            Shape::Text(Form::Text),
            Absent("the newest"),
            "Only this version of `crl`.",
        ),
        REGION,
        ENDPOINT,
        PATH_STYLE,
        ROLE,
        POLL,
        QUEUE,
    ],
    one_of: None,
    future: &[],
    synonyms: BUCKET_SYNONYMS,
};

pub(in crate::config) static BUNDLE_SECRETS_MANAGER: Section = Section {
    title: "`secrets_manager` of a trust bundle",
    about: "A secret in AWS Secrets Manager.",
    keys: &[
        SECRET_NAME,
        key(
            "format",
            Shape::Choice(&["json", "pem"]),
            Value("json"),
            "A JSON object with PEM texts in its fields, or one PEM text.",
        ),
        key(
            "fields",
            Shape::Map(&BUNDLE_FIELDS),
            Inner,
            "Names of the fields of `json`.",
        ),
        REGION,
        ENDPOINT,
        ROLE,
        POLL,
    ],
    one_of: None,
    future: &[],
    synonyms: SECRET_SYNONYMS,
};

static BUNDLE_FIELDS: Section = Section {
    title: "`fields` of a trust bundle's secret",
    about: "Names of the fields of the JSON object. Other fields do not matter.",
    keys: &[
        key(
            "ca",
            Shape::Text(Form::Text),
            Value("ca"),
            "The field with the CA certificates, in PEM.",
        ),
        key(
            "crl",
            Shape::Text(Form::Text),
            Absent("the field of `ca` may hold them as well"),
            "The field with revocation lists, in PEM.",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[],
};
