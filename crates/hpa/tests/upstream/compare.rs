//! Where our answer to a case is another one than upstream's. Words are our own, and compared with nobody's.

use serde_json::{Value, json};
use trimtab_hpa::{Answer, Case, Missing, evaluate};

/// Our answer, in the form that upstream's has.
fn ours(answer: Result<Answer, Missing>) -> Value {
    match answer {
        Ok(answer) => serde_json::to_value(answer).expect("an answer is JSON"),
        Err(missing) => json!({"panic": missing.to_string()}),
    }
}

fn without_words(answer: &Value) -> Value {
    if !answer["panic"].is_null() {
        return json!("crashes");
    }
    let metrics = answer["metrics"].as_array().into_iter().flatten();
    let metric =
        |metric: &Value| json!([metric["name"], metric["proposal"], metric["usage"], metric["error"].is_null()]);
    json!({
        "metrics": metrics.map(metric).collect::<Vec<_>>(),
        "proposal": answer["proposal"],
        "desired": answer["desired"],
        "conditions": answer["conditions"],
    })
}

/// Both answers, where they differ.
pub(crate) fn difference(case: &Value, theirs: &Value) -> Option<String> {
    let read: Case = match serde_json::from_value(case.clone()) {
        Ok(read) => read,
        Err(error) => return Some(format!("the case cannot be read: {error}")),
    };
    let ours = ours(evaluate(&read));
    let (short, expected) = (without_words(&ours), without_words(theirs));
    (short != expected).then(|| format!("ours   {short}\ntheirs {expected}\nours   {ours}\ntheirs {theirs}"))
}
