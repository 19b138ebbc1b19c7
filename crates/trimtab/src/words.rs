//! Errors of others in our words: one line each, with the cure where we know it, and without what nobody should read in a log.

use std::error::Error;

/// How a message begins that says which right is lacking: what begins like this is a condition of each workload that it concerns.
pub(crate) const NOT_ALLOWED: &str = "not allowed to ";

/// An error with all its causes, in one line.
#[must_use]
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What the API server says, or why it does not.
#[must_use]
pub(crate) fn api(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 401 => {
            format!(
                "the API server does not accept our token: is it expired, or of another cluster? ({})",
                status.message
            )
        }
        kube::Error::Api(status) => status.message.clone(),
        kube::Error::Service(cause) => {
            format!(
                "the API server does not answer: {}; check that it runs there and that the network lets us through",
                chain(cause.as_ref())
            )
        }
        other => chain(other),
    }
}

/// Why a file cannot be used in which credentials stand. Its parser quotes the lines around a mistake, and a value that it did
/// not expect: only the place and what was expected are kept.
#[must_use]
pub(crate) fn without_secrets(error: &dyn Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    // serde's own words: `invalid type: string "the value", expected a map`
    let Some((before, said)) = line.split_once("invalid ") else { return line.to_owned() };
    let (found, expected) = said.rsplit_once(", expected ").unwrap_or((said, "something else"));
    let kind = found.split(['"', '`']).next().unwrap_or_default().trim_end();
    format!("{before}invalid {kind}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_kubeconfig_is_named_without_its_secrets() {
        let broken = "users: [{name: admin, user: {token: s3cret}\ncontexts: []\n";
        let error = kube::config::Kubeconfig::from_yaml(broken).unwrap_err();
        assert!(error.to_string().contains("s3cret"), "else this test shows nothing: {error}");
        let said = without_secrets(&error);
        assert!(said.contains("line 1") && !said.contains("s3cret"), "{said}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_not_repeated() {
        let wrong = "users: [{name: admin, user: \"s3cret, expected\"}]\n";
        let error = kube::config::Kubeconfig::from_yaml(wrong).unwrap_err();
        assert!(error.to_string().contains("s3cret"), "else this test shows nothing: {error}");
        let said = without_secrets(&error);
        assert!(said.contains("expected") && !said.contains("s3cret"), "{said}");
    }
}
