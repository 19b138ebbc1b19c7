//! What an answer of the API server means for the one who asked to write.
//!
//! Three outcomes: done, not done (with one of several meanings, of which only one is worth another decision at once), or unknown. A request
//! whose answer was lost may have been done, and is never sent again: the watch shows what became of it. The same code 422 has five
//! meanings on a 1.36 API server: a `test` that failed; an `add` below a map that is not there (the very same
//! body); an object that fails validation (it names causes); a denial by an admission policy that gives no reason; and a policy whose
//! expression itself fails.

/// What a refusal, or none, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A `test` failed, or somebody else was quicker: look again, and decide anew. Also what a patch gets whose path is not there.
    Changed,
    /// The object would not be valid.
    Invalid,
    /// An admission policy, a webhook or a quota does not let it.
    Denied,
    /// An admission policy cannot be evaluated: whoever installed it must mend it.
    PolicyBroken,
    /// We lack the permission.
    Forbidden,
    /// The object is not there.
    Gone,
    /// The API server asks us to wait.
    Busy,
    /// It may have been done.
    Unknown,
}

/// An answer that is not a success.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// HTTP status.
    pub code: u16,
    /// `message` of the status.
    pub message: &'a str,
    /// Whether its details name causes.
    pub causes: bool,
}

/// What `answer` means.
#[must_use]
pub fn meaning(answer: Refused<'_>) -> Meaning {
    let Refused { code, message, causes } = answer;
    let denied =
        message.contains("denied") || message.contains("admission webhook") || message.contains("exceeded quota");
    let broken = message.contains("resulted in error:");
    match code {
        403 | 422 if broken => Meaning::PolicyBroken,
        403 | 422 if denied => Meaning::Denied,
        422 if causes => Meaning::Invalid,
        409 | 422 => Meaning::Changed,
        401 | 403 => Meaning::Forbidden,
        404 | 410 => Meaning::Gone,
        429 => Meaning::Busy,
        400 | 405 | 413 | 415 => Meaning::Invalid,
        _ => Meaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_meanings_of_422_are_told_apart() {
        let rejected = "the server rejected our request due to an error in our request";
        let denied = "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'trimtab' with binding 'trimtab' denied request: too large a step";
        let broken = "ValidatingAdmissionPolicy 'x' with binding 'x' denied request: expression 'request.subResource == \"scale\"' resulted in error: no such key: subResource";
        let meaning_of = |message, causes| meaning(Refused { code: 422, message, causes });
        assert_eq!(
            meaning_of(rejected, false),
            Meaning::Changed,
            "a failed test, and an add without a parent, read the same"
        );
        assert_eq!(meaning_of("Deployment.apps \"web\" is invalid: spec.replicas", true), Meaning::Invalid);
        assert_eq!(meaning_of(denied, false), Meaning::Denied);
        assert_eq!(meaning_of(broken, false), Meaning::PolicyBroken);
    }

    #[test]
    fn a_refusal_that_may_have_been_done_is_unknown() {
        for code in [500, 502, 503, 504, 408] {
            assert_eq!(
                meaning(Refused { code, message: "etcdserver: request timed out", causes: false }),
                Meaning::Unknown
            );
        }
        let of = |code, message| meaning(Refused { code, message, causes: false });
        assert_eq!(of(409, "the object has been modified"), Meaning::Changed);
        assert_eq!(of(403, "User \"x\" cannot patch resource"), Meaning::Forbidden);
        assert_eq!(of(403, "exceeded quota: compute"), Meaning::Denied);
        assert_eq!(of(404, "not found"), Meaning::Gone);
        assert_eq!(of(429, "too many requests"), Meaning::Busy);
    }
}
