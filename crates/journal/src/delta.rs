//! What changed between two JSON documents, as a merge patch (RFC 7396).
//!
//! Two snapshots of one workload, seconds apart, differ in a handful of numbers. A merge patch cannot say "this key is
//! now null" (it would mean "this key is gone"), so the writer applies what it has made and stores the document whole
//! where the result is another one.

use serde_json::{Map, Value};

/// The patch that makes `now` of `before`, or `None` where no patch can.
pub(crate) fn between(before: &Value, now: &Value) -> Option<Value> {
    let patch = changed(before, now).unwrap_or_else(|| Value::Object(Map::new()));
    let mut patched = before.clone();
    apply(&mut patched, &patch);
    (patched == *now).then_some(patch)
}

fn changed(before: &Value, now: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, now) else {
        return (before != now).then(|| now.clone());
    };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let kept = new.iter().filter_map(|(key, value)| {
        let change = old.get(key).map_or_else(|| Some(value.clone()), |was| changed(was, value))?;
        Some((key.clone(), change))
    });
    let patch: Map<String, Value> = gone.chain(kept).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Applies a patch: section 2 of the RFC.
pub(crate) fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, change) in patch {
        if change.is_null() {
            target.remove(key);
        } else {
            apply(target.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no NaN", |raw| raw.is_finite()).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_makes_exactly_the_new_document_or_there_is_none(before in document(), now in document()) {
            if let Some(patch) = between(&before, &now) {
                let mut patched = before;
                apply(&mut patched, &patch);
                prop_assert_eq!(patched, now);
            }
        }
    }

    #[test]
    fn only_what_changed_is_kept() {
        let before = json!({"demand": {"fresh": {"value": 1.5, "age": 2.0}}, "fleet": {"ready": 3}});
        let now = json!({"demand": {"missing": "unreachable"}, "fleet": {"ready": 3}});
        assert_eq!(between(&before, &now), Some(json!({"demand": {"fresh": null, "missing": "unreachable"}})));
        assert_eq!(between(&now, &now), Some(json!({})));
    }

    #[test]
    fn a_null_that_appears_has_no_patch() {
        assert_eq!(between(&json!({"age": 1}), &json!({"age": null})), None);
    }
}
