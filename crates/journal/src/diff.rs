//! Which fields of two values differ, in words.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// A field in which a recorded value and the recomputed one differ.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDifference {
    /// Where it stands, as in `forecast.upper` or `bites.0.limit`.
    pub field: String,
    /// What was recorded; `None` where the field was not there.
    pub recorded: Option<Value>,
    /// What it is now; `None` where the field is not there.
    pub recomputed: Option<Value>,
}

impl fmt::Display for FieldDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "absent".to_owned(), Value::to_string);
        write!(f, "{}: recorded {}, now {}", self.field, shown(&self.recorded), shown(&self.recomputed))
    }
}

/// The fields in which the two differ, in the order of their names; none where they are equal.
pub fn diff<T: Serialize>(recorded: &T, recomputed: &T) -> Vec<FieldDifference> {
    let mut differences = Vec::new();
    match (serde_json::to_value(recorded), serde_json::to_value(recomputed)) {
        (Ok(recorded), Ok(recomputed)) => compare("", Some(&recorded), Some(&recomputed), &mut differences),
        (recorded, recomputed) => {
            let shown =
                |value: Result<Value, serde_json::Error>| value.unwrap_or_else(|error| error.to_string().into());
            differences.push(FieldDifference {
                field: "all".into(),
                recorded: Some(shown(recorded)),
                recomputed: Some(shown(recomputed)),
            });
        }
    }
    differences
}

fn compare(field: &str, recorded: Option<&Value>, recomputed: Option<&Value>, differences: &mut Vec<FieldDifference>) {
    let below = |key: &str| if field.is_empty() { key.to_owned() } else { format!("{field}.{key}") };
    match (recorded, recomputed) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                compare(&below(key), old.get(key), new.get(key), differences);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(&below(&index.to_string()), old.get(index), new.get(index), differences);
            }
        }
        (recorded, recomputed) if recorded == recomputed => {}
        (recorded, recomputed) => differences.push(FieldDifference {
            field: field.to_owned(),
            recorded: recorded.cloned(),
            recomputed: recomputed.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_names_the_fields_that_differ_and_no_others() {
        let recorded = json!({"to": 7, "forecast": {"upper": 210.5, "now": 200}, "bites": [{"limit": "step"}]});
        let recomputed = json!({"to": 7, "forecast": {"upper": 211.0, "now": 200}, "bites": []});
        let words: Vec<String> = diff(&recorded, &recomputed).iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            ["bites.0: recorded {\"limit\":\"step\"}, now absent", "forecast.upper: recorded 210.5, now 211.0"]
        );
    }
}
