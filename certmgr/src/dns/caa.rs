//! CAA records (RFC 8659, RFC 8657), and the decision whether they permit one CA.

use certstore::RemoteText;

/// The CAA records that count for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CaaSet {
    /// The name that has the records: the domain itself or one of its parents.
    pub(crate) at: String,
    /// Never empty.
    pub(crate) records: Vec<CaaRecord>,
}

/// One CAA record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CaaRecord {
    /// A CA that does not understand the tag must not issue.
    pub(crate) critical: bool,
    /// In lower case.
    pub(crate) tag: String,
    pub(crate) value: String,
}

/// An issuance that the records are to permit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CaaQuestion<'a> {
    /// The domain names of the CA in CAA records, never empty.
    pub(crate) identities: &'a [String],
    /// URL of our account, if we have one.
    pub(crate) account: Option<&'a str>,
    /// The kind of challenge, by its name in ACME.
    pub(crate) method: &'a str,
    pub(crate) wildcard: bool,
}

impl CaaSet {
    /// Checks that the CA may issue. The error is the reason why it may not.
    pub(crate) fn permits(&self, issuance: CaaQuestion<'_>) -> Result<(), String> {
        // RFC 8659 §4.5: a critical property that is not understood forbids everything.
        if let Some(record) = self.records.iter().find(|record| record.is_foreign()) {
            return Err(format!(
                "it has the critical property `{}`, which no CA has to know",
                RemoteText::new(&record.tag)
            ));
        }
        let tagged = |tag: &str| -> Vec<&CaaRecord> {
            self.records.iter().filter(|record| record.tag == tag).collect()
        };
        // RFC 8659 §4.3: `issuewild` takes the place of `issue` for wildcards, and counts for nothing else.
        let (tag, records) = match (issuance.wildcard, tagged("issuewild")) {
            (true, wild) if !wild.is_empty() => ("issuewild", wild),
            _ => ("issue", tagged("issue")),
        };
        if records.is_empty() {
            return Ok(());
        }
        let mut refusals = Vec::new();
        for record in &records {
            match Property::parse(&record.value).map(|property| property.permits(issuance)) {
                Some(Ok(())) => return Ok(()),
                Some(Err(refusal)) => refusals.extend(refusal),
                None => {}
            }
        }
        if refusals.is_empty() {
            let named: Vec<String> = records
                .iter()
                .map(|record| format!("`{tag} {}`", RemoteText::new(&record.value)))
                .collect();
            refusals.push(format!(
                "it names {}, and not {}",
                named.join(", "),
                issuance.identities.join(" or ")
            ));
        }
        Err(refusals.join("; "))
    }
}

impl CaaRecord {
    /// A record as a name server gave it.
    pub(crate) fn new(critical: bool, tag: &[u8], value: &[u8]) -> Self {
        Self {
            critical,
            tag: String::from_utf8_lossy(tag).to_ascii_lowercase(),
            value: String::from_utf8_lossy(value).into_owned(),
        }
    }

    fn is_foreign(&self) -> bool {
        // RFC 8659 §4, RFC 9495, and the contact properties of the CA/Browser Forum's Baseline Requirements.
        const KNOWN: [&str; 6] = [
            "issue",
            "issuewild",
            "iodef",
            "issuemail",
            "contactemail",
            "contactphone",
        ];
        self.critical && !KNOWN.contains(&self.tag.as_str())
    }
}

/// The value of an `issue` or `issuewild` property (RFC 8659 §4.2).
#[derive(Debug, PartialEq, Eq)]
struct Property<'a> {
    /// Empty: no CA at all.
    issuer: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Property<'a> {
    /// `None`: the value is malformed, and counts as one that names no CA (RFC 8659 §4.2).
    fn parse(value: &'a str) -> Option<Self> {
        let (issuer, rest) = value.split_once(';').unwrap_or((value, ""));
        let issuer = issuer.trim();
        let is_of_domain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        let parameters = rest.split(';').map(str::trim).filter(|text| !text.is_empty());
        let parameters = parameters.map(|parameter| {
            let (tag, value) = parameter.split_once('=')?;
            Some((tag.trim(), value.trim()))
        });
        Some(Self {
            issuer: Some(issuer).filter(|issuer| issuer.bytes().all(is_of_domain))?,
            parameters: parameters.collect::<Option<_>>()?,
        })
    }

    /// Checks that the property permits this issuance. `Err(None)`: it is about another CA. `Err(Some)`: it is about
    /// this CA, under conditions that are not met.
    fn permits(&self, issuance: CaaQuestion<'_>) -> Result<(), Option<String>> {
        let meant = issuance
            .identities
            .iter()
            .any(|identity| identity.eq_ignore_ascii_case(self.issuer));
        if !meant {
            return Err(None);
        }
        for (tag, value) in &self.parameters {
            // RFC 8657 §4: a list of methods, of which ours must be one.
            if tag.eq_ignore_ascii_case("validationmethods")
                && !value.split(',').any(|method| method.trim() == issuance.method)
            {
                return Err(Some(format!(
                    "it allows {} only the challenges {}, and not {}",
                    self.issuer,
                    RemoteText::new(value),
                    issuance.method
                )));
            }
            // RFC 8657 §3. Without an account this cannot be known yet.
            if tag.eq_ignore_ascii_case("accounturi")
                && issuance.account.is_some_and(|account| account != *value)
            {
                let value = RemoteText::new(value);
                return Err(Some(format!(
                    "it allows {} only the account {value}",
                    self.issuer
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(records: &[(u8, &str, &str)]) -> CaaSet {
        CaaSet {
            at: "example.com".to_owned(),
            records: records
                .iter()
                .map(|&(flags, tag, value)| {
                    CaaRecord::new(flags & 128 != 0, tag.as_bytes(), value.as_bytes())
                })
                .collect(),
        }
    }

    fn permits(records: &[(u8, &str, &str)], wildcard: bool) -> Result<(), String> {
        set(records).permits(CaaQuestion {
            identities: &["ca.example".to_owned(), "old-ca.example".to_owned()],
            account: Some("https://ca.example/acct/7"),
            method: "tls-alpn-01",
            wildcard,
        })
    }

    #[test]
    fn the_rules_of_rfc_8659_and_rfc_8657() {
        type Record = (u8, &'static str, &'static str);
        // Records, whether a host name is permitted, whether a wildcard is.
        let table: &[(&[Record], bool, bool)] = &[
            (&[(0, "issue", "ca.example")], true, true),
            (&[(0, "issue", "CA.Example")], true, true),
            (&[(0, "issue", "old-ca.example")], true, true),
            (&[(0, "issue", "other.example")], false, false),
            (
                &[(0, "issue", "other.example"), (0, "issue", "ca.example")],
                true,
                true,
            ),
            (&[(0, "issue", ";")], false, false),
            (&[(0, "issue", "")], false, false),
            (&[(0, "issue", ";"), (0, "issue", "ca.example")], true, true),
            // §4.3: `issuewild` counts for wildcards alone, and there it counts alone.
            (&[(0, "issuewild", "ca.example")], true, true),
            (&[(0, "issuewild", "other.example")], true, false),
            (&[(0, "issue", "ca.example"), (0, "issuewild", ";")], true, false),
            (
                &[(0, "issue", "other.example"), (0, "issuewild", "ca.example")],
                false,
                true,
            ),
            // §4.4: `iodef` restricts nothing. §4.5: neither does what is unknown, unless it is critical.
            (&[(0, "iodef", "mailto:security@example.com")], true, true),
            (&[(0, "future", "x")], true, true),
            (&[(128, "future", "x")], false, false),
            (&[(128, "issue", "ca.example")], true, true),
            (
                &[
                    (128, "iodef", "mailto:security@example.com"),
                    (0, "issue", "ca.example"),
                ],
                true,
                true,
            ),
            (&[(128, "future", "x"), (0, "issue", "ca.example")], false, false),
            // §4.2: parameters, white space, and what is malformed.
            (&[(0, "issue", " ca.example ; policy=ev ")], true, true),
            (&[(0, "issue", "ca.example; policy")], false, false),
            (&[(0, "issue", "ca.example policy=ev")], false, false),
            (&[(0, "issue", "%%%%%")], false, false),
            (&[(0, "issue", "ca.example.")], false, false),
            // RFC 8657.
            (
                &[(0, "issue", "ca.example; validationmethods=dns-01,tls-alpn-01")],
                true,
                true,
            ),
            (
                &[(0, "issue", "ca.example; validationmethods=dns-01")],
                false,
                false,
            ),
            (
                &[(0, "issue", "ca.example; accounturi=https://ca.example/acct/7")],
                true,
                true,
            ),
            (
                &[(0, "issue", "ca.example; accounturi=https://ca.example/acct/8")],
                false,
                false,
            ),
            (
                &[
                    (0, "issue", "ca.example; accounturi=https://ca.example/acct/8"),
                    (0, "issue", "ca.example; accounturi=https://ca.example/acct/7"),
                ],
                true,
                true,
            ),
        ];
        for (records, host, wildcard) in table {
            assert_eq!(permits(records, false).is_ok(), *host, "{records:?}");
            assert_eq!(permits(records, true).is_ok(), *wildcard, "*. {records:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_the_record_demands() {
        let refusal = |value| permits(&[(0, "issue", value)], false).unwrap_err();
        assert_eq!(
            refusal("other.example"),
            "it names `issue other.example`, and not ca.example or old-ca.example"
        );
        assert_eq!(
            refusal("ca.example; validationmethods=dns-01"),
            "it allows ca.example only the challenges dns-01, and not tls-alpn-01"
        );
        assert_eq!(
            refusal("ca.example; accounturi=https://x.example/1"),
            "it allows ca.example only the account https://x.example/1"
        );
    }

    #[test]
    fn without_an_account_yet_none_is_wrong() {
        let set = set(&[(0, "issue", "ca.example; accounturi=https://x.example/1")]);
        let permitted = set.permits(CaaQuestion {
            identities: &["ca.example".to_owned()],
            account: None,
            method: "dns-01",
            wildcard: false,
        });
        assert_eq!(permitted, Ok(()));
    }
}
