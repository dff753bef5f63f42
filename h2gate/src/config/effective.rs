//! The configuration that runs, in the shape of the file: what was read from it, and what was made of that since.

use serde_json::{Map, Value, json};

use super::Resolved;
use super::bounds::{Amount, BACKEND_BOUNDS, BoundTable, CLIENT_BOUNDS, LIMIT_BOUNDS, TIMEOUT_BOUNDS};
use super::keys::Shape;

pub(super) const REDACTED: &str = "<redacted>";

pub(super) fn json(resolved: &Resolved) -> Value {
    let gateway = &resolved.gateway;
    let mut all = resolved.effective.clone();
    let client = amounts(&CLIENT_BOUNDS, &gateway.limits.client);
    let backend = amounts(&BACKEND_BOUNDS, &gateway.limits.backend);
    let mut limits = amounts(&LIMIT_BOUNDS, &gateway.limits);
    limits.insert("client".to_owned(), client.into());
    limits.insert("backend".to_owned(), backend.into());
    add(&mut all, "/limits", limits);
    add(&mut all, "/timeouts", amounts(&TIMEOUT_BOUNDS, &gateway.timeouts));
    if let Some(map) = all.as_object_mut() {
        map.insert("workers".to_owned(), json!(gateway.workers));
        for list in ["certificates", "trust_bundles", "routes", "backends"] {
            map.entry(list).or_insert(json!([]));
        }
    }
    for (n, route) in gateway.routes.iter().enumerate() {
        let name = ("name".to_owned(), json!(route.name));
        add(&mut all, &format!("/routes/{n}"), Map::from_iter([name]));
    }
    all
}

/// Gives the values of `keys` in `next` (`log.format`) back what they are in `running`: they change at a restart alone.
pub(super) fn keep(next: &mut Value, running: &Value, keys: &[&str]) {
    for key in keys {
        let pointer = format!("/{}", key.replace('.', "/"));
        let (section, name) = pointer.rsplit_once('/').unwrap_or_default();
        let Some(map) = next.pointer_mut(section).and_then(Value::as_object_mut) else {
            continue;
        };
        match running.pointer(&pointer) {
            Some(value) => map.insert(name.to_owned(), value.clone()),
            None => map.remove(name),
        };
    }
}

/// Adds `values` to the mapping at `pointer`.
fn add(all: &mut Value, pointer: &str, values: Map<String, Value>) {
    if let Some(map) = all.pointer_mut(pointer).and_then(Value::as_object_mut) {
        map.extend(values);
    }
}

fn amounts<T>(bounds: &BoundTable<T>, of: &T) -> Map<String, Value> {
    let value = |shape: Shape, amount: Amount| match amount {
        Amount::Rate { burst, per_second } => json!({ "burst": burst, "per_second": per_second }),
        Amount::Number(number) if !matches!(shape, Shape::Size) => json!(number),
        amount => json!(amount.text(shape)),
    };
    bounds
        .amounts(of)
        .into_iter()
        .map(|(key, amount)| (key.name.to_owned(), value(key.shape, amount)))
        .collect()
}
