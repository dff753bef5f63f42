//! Our types in the words of the `.proto` file. Every match is complete: a new kind does not compile unseen.

use std::time::Duration;

use certstore::{Fingerprint, UnixTime};
use proto::certs::v1 as pb;
use tonic::Status;

use crate::acme::RevocationReason;
use crate::event::{Event, order_reason};
use crate::plan::{Plan, PlannedLimit, PlannedOrder};
use crate::supervisor::Control;
use crate::view::{AcmeView, Action, LastError, NextStep, Progress, Revocation, Version, View};

/// Horizon of a plan if the request has none.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The farthest horizon of a plan.
const MAX_HORIZON: Duration = Duration::from_secs(2 * YEAR.as_secs());

/// The answer to `List`: all certificates, and the revocations of those that are not configured any more.
pub fn list(control: &Control) -> pb::ListResponse {
    let views = control.list();
    let is_configured = |one: &&Revocation| views.iter().any(|view| *view.name == *one.certificate);
    let revocations = control.revocations();
    let others = revocations.iter().filter(|one| !is_configured(one));
    pb::ListResponse {
        certificates: views.iter().map(certificate).collect(),
        revocations: others.map(revocation).collect(),
    }
}

pub(super) fn certificate(view: &View) -> pb::Certificate {
    pb::Certificate {
        name: view.name.to_string(),
        source: view.source.to_owned(),
        places: view.places.clone(),
        domains: view.domains.iter().map(ToString::to_string).collect(),
        serving: view.serving.as_ref().map(version),
        previous: view.previous.iter().map(version).collect(),
        next: Some(next_step(&view.next)),
        trouble: view.trouble.as_ref().map(trouble),
        last_success_time: view.last_success_at.map(timestamp),
        acme: view.acme.as_ref().map(acme),
        revocations: view.revocations.iter().map(revocation).collect(),
    }
}

pub(super) fn revocation(one: &Revocation) -> pb::Revocation {
    use pb::revocation::Progress as Wire;
    let progress = match one.progress {
        Progress::Serving => Wire::Serving,
        Progress::Asking => Wire::Asking,
        Progress::Refused => Wire::Refused,
        Progress::Revoked => Wire::Revoked,
    };
    pb::Revocation {
        name: one.certificate.clone(),
        fingerprint: fingerprint(one.fingerprint),
        ca: one.ca.clone(),
        reason: one.reason.as_str().to_owned(),
        asked_time: Some(timestamp(one.asked_at)),
        progress: progress.into(),
        message: one.message.clone().unwrap_or_default(),
        next_time: one.next_at.map(timestamp),
    }
}

/// The whole hash in hex.
pub(super) fn fingerprint(fingerprint: Fingerprint) -> String {
    format!("{fingerprint:x}")
}

pub(super) fn event(event: &Event, now: UnixTime) -> pb::Event {
    pb::Event {
        name: event.subject.name().to_string(),
        kind: event.kind.label().to_owned(),
        message: event.to_string(),
        time: Some(timestamp(now)),
        is_error: event.is_error(),
    }
}

/// `None` for a number that is no reason.
pub(super) fn reason(request: &pb::RevokeRequest) -> Option<RevocationReason> {
    use pb::revoke_request::Reason;
    Some(match Reason::try_from(request.reason).ok()? {
        Reason::Unspecified => RevocationReason::Unspecified,
        Reason::KeyCompromise => RevocationReason::KeyCompromise,
        Reason::AffiliationChanged => RevocationReason::AffiliationChanged,
        Reason::Superseded => RevocationReason::Superseded,
        Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
    })
}

/// The horizon of the requested plan.
pub(super) fn horizon(request: &pb::PlanRequest) -> Result<Duration, Status> {
    let Some(wanted) = request.horizon else {
        return Ok(YEAR);
    };
    match Duration::try_from(wanted) {
        Ok(horizon) if !horizon.is_zero() && horizon <= MAX_HORIZON => Ok(horizon),
        _ => Err(Status::invalid_argument(
            "horizon: give more than nothing and at most two years (730 days)",
        )),
    }
}

pub(super) fn plan(plan: &Plan) -> pb::PlanResponse {
    pb::PlanResponse {
        orders: plan.orders.iter().map(planned_order).collect(),
        limits: plan.limits.iter().map(planned_limit).collect(),
        complete: !plan.truncated,
    }
}

fn planned_order(order: &PlannedOrder) -> pb::PlannedOrder {
    pb::PlannedOrder {
        name: order.name.clone(),
        ca: order.ca.clone(),
        time: Some(timestamp(order.at)),
        why: order_reason(order.why).to_owned(),
        expected_life: Some(duration(order.expected_life)),
    }
}

fn planned_limit(limit: &PlannedLimit) -> pb::PlannedLimit {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    pb::PlannedLimit {
        ca: limit.ca.clone(),
        limit: limit.limit.to_string(),
        subject: limit.subject.clone().unwrap_or_default(),
        allowed: count(limit.limit.max),
        window: Some(duration(limit.limit.window)),
        peak: count(limit.peak),
        peak_time: limit.peak_at.map(timestamp),
        inside: limit.inside,
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    }
}

fn version(version: &Version) -> pb::Version {
    pb::Version {
        fingerprint: fingerprint(version.fingerprint),
        names: version.names.iter().map(ToString::to_string).collect(),
        key_kind: version.key_kind.to_string(),
        not_before_time: Some(timestamp(version.not_before)),
        not_after_time: Some(timestamp(version.not_after)),
        issuer: version.issuer.clone(),
        warnings: version.warnings.iter().map(ToString::to_string).collect(),
        promoted_time: version.promoted_at.map(timestamp),
        ca: version.ca.clone().unwrap_or_default(),
        order: version.order.clone().unwrap_or_default(),
        excluded: version.excluded,
    }
}

fn next_step(next: &NextStep) -> pb::NextStep {
    use pb::next_step::Action as Wire;
    let action = match next.action {
        Action::Read => Wire::Read,
        Action::Order => Wire::Order,
        Action::Ordering => Wire::Ordering,
        Action::Retry => Wire::Retry,
        Action::Hold => Wire::Hold,
    };
    pb::NextStep {
        action: action.into(),
        time: Some(timestamp(next.at)),
        why: next.why.clone(),
    }
}

fn trouble(trouble: &LastError) -> pb::Trouble {
    pb::Trouble {
        class: trouble.class.as_str().to_owned(),
        message: trouble.message.clone(),
        remedy: trouble.remedy.clone(),
        since_time: Some(timestamp(trouble.since)),
        attempts: trouble.attempts,
    }
}

fn acme(acme: &AcmeView) -> pb::AcmeDetails {
    pb::AcmeDetails {
        cas: acme.cas.clone(),
        challenge: acme.challenge.to_owned(),
        key: acme.key.to_owned(),
        renewal_explanation: acme.explanation.clone().unwrap_or_default(),
        next_order: acme.next_order.map(|(at, why)| pb::NextStep {
            action: pb::next_step::Action::Order.into(),
            time: Some(timestamp(at)),
            why: order_reason(why).to_owned(),
        }),
    }
}

fn timestamp(at: UnixTime) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    }
}
