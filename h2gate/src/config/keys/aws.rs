//! Keys of what is read from AWS, for certificates and for trust bundles.

use super::Fallback::{Absent, Inner, Required, Value};
use super::Form::{Line, Url};
use super::Shape::{Choice, Map, Secret, Switch, Text, Within};
use super::{Key, Section, days, key, secs, section};

pub(super) const REGION: Key = key! {
    region: Text(Line), Absent("that of the environment"), "AWS region."
};
pub(super) const ENDPOINT: Key = key! {
    endpoint: Text(Url), Absent("that of AWS"), "URL of another service that speaks the same protocol."
};
pub(super) const ROLE: Key = key! {
    role: Text(Line), Absent("the credentials as they are"),
        "ARN of a role to assume. Credentials come from the default chain: environment, profile, ECS task role, EKS Pod Identity, IRSA, instance role."
        also "role_arn"
};
const POLL: Key = key! {
    poll: Within(secs(5), days(1)), Value("1m"),
        "How often it is read. Each wait differs by up to 10 %." also "interval"
};
const BUCKET: Key = key! {
    bucket: Text(Line), Required, "Name of the bucket."
};
const PATH_STYLE: Key = key! {
    path_style: Switch, Value("false"),
        "Whether the bucket stands in the path of the URL, as MinIO and others want it."
        also "force_path_style"
};
const QUEUE: Key = key! {
    queue: Text(Url), Absent("polls alone"),
        "URL of an SQS queue that S3 or EventBridge reports changes to. A message causes an earlier read, and nothing else."
        also "sqs"
};
const SECRET_NAME: Key = key! {
    secret: Text(Line), Required,
        "Name or ARN of the secret. Its version `AWSCURRENT` is read." also "name" "secret_id" "arn"
};

section! {
    pub(in crate::config) S3: "`s3` of a certificate",
    "Objects in S3: `chain` and `key`, or both in one `bundle`. Reads are conditional, so that an unchanged object costs nothing.";
    keys {
        BUCKET;
        chain: Text(Line), Absent("`bundle` is given"),
            "Key of the object with the PEM chain, the certificate first." also "cert" "certificate";
        key: Text(Line), Absent("`bundle` is given"),
            "Key of the object with the PEM private key." also "private_key";
        bundle: Text(Line), Absent("`chain` and `key` are given"),
            "Key of one object with both, in PEM." also "pem";
        chain_version: Text(Line), Absent("the newest"), "Only this version of `chain`.";
        key_version: Text(Line), Absent("the newest"), "Only this version of `key`.";
        bundle_version: Text(Line), Absent("the newest"), "Only this version of `bundle`.";
        REGION;
        ENDPOINT;
        PATH_STYLE;
        ROLE;
        POLL;
        QUEUE;
    }
}

section! {
    pub(in crate::config) SECRETS_MANAGER: "`secrets_manager` of a certificate",
    "A secret in AWS Secrets Manager.";
    keys {
        SECRET_NAME;
        format: Choice(&["json", "pem", "pkcs12"]), Value("json"),
            "A JSON object with PEM texts in two fields, one PEM text with both, or PKCS#12 (binary, or base64).";
        fields: Map(&FIELDS), Inner, "Names of the fields of `json`.";
        passphrase: Secret, Absent("the empty one"), "Where the passphrase of `pkcs12` is." also "password";
        REGION;
        ENDPOINT;
        ROLE;
        POLL;
    }
}

section! {
    pub(in crate::config) FIELDS: "`fields` of a secret",
    "Names of the fields of the JSON object. Of other fields only certificates matter that the chain goes on with: they are added to it.";
    keys {
        chain: Text(Line), Value("certificate"), "The field with the PEM chain." also "certificate" "cert";
        key: Text(Line), Value("private_key"), "The field with the PEM private key." also "private_key";
    }
}

section! {
    pub(in crate::config) BUNDLE_S3: "`s3` of a trust bundle",
    "Objects in S3.";
    keys {
        BUCKET;
        ca: Text(Line), Required, "Key of the object with the CA certificates, in PEM.";
        crl: Text(Line), Absent("the object of `ca` may hold them as well"),
            "Key of the object with revocation lists, in PEM.";
        ca_version: Text(Line), Absent("the newest"), "Only this version of `ca`.";
        crl_version: Text(Line), Absent("the newest"), "Only this version of `crl`.";
        REGION;
        ENDPOINT;
        PATH_STYLE;
        ROLE;
        POLL;
        QUEUE;
    }
}

section! {
    pub(in crate::config) BUNDLE_SECRETS_MANAGER: "`secrets_manager` of a trust bundle",
    "A secret in AWS Secrets Manager.";
    keys {
        SECRET_NAME;
        format: Choice(&["json", "pem"]), Value("json"),
            "A JSON object with PEM texts in its fields, or one PEM text.";
        fields: Map(&BUNDLE_FIELDS), Inner, "Names of the fields of `json`.";
        REGION;
        ENDPOINT;
        ROLE;
        POLL;
    }
}

section! {
    BUNDLE_FIELDS: "`fields` of a trust bundle's secret",
    "Names of the fields of the JSON object. Other fields do not matter.";
    keys {
        ca: Text(Line), Value("ca"), "The field with the CA certificates, in PEM.";
        crl: Text(Line), Absent("the field of `ca` may hold them as well"),
            "The field with revocation lists, in PEM.";
    }
}
