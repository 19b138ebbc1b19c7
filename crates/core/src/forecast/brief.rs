//! A rate as it is remembered: four digits in four bytes.
//!
//! A window's demand is known to one part in a hundred at best (a Poisson sample of 10,000 requests). More digits than
//! that would only make memory and the journal's records larger.

use crate::unit::RequestsPerSecond;
use serde::{Deserialize, Serialize};

/// Requests a second to four significant digits, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Brief(f32);

impl Brief {
    /// Nothing was seen or said. Negative, so that half of the memory of an `Option` is enough.
    pub(crate) const NOTHING: Self = Self(-1.0);

    pub(crate) fn new(rate: Option<RequestsPerSecond>) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "four digits are kept")]
        rate.map_or(Self::NOTHING, |rate| Self((rate.brief().get() as f32).min(f32::MAX)))
    }

    pub(crate) fn get(self) -> Option<f64> {
        (self.0 >= 0.0).then(|| f64::from(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_kept() {
        for (raw, kept) in
            [(0.0, 0.0), (312.481_7, 312.5), (0.001_234_56, 0.001_235), (123_456.0, 123_500.0), (9_999.7, 10_000.0)]
        {
            let brief = Brief::new(RequestsPerSecond::new(raw));
            assert!((brief.get().unwrap() - kept).abs() <= kept * 1e-6, "{brief:?}");
            assert!(serde_json::to_string(&brief).unwrap().len() <= 8, "{brief:?}");
        }
    }

    #[test]
    fn nothing_is_no_rate() {
        assert_eq!(Brief::new(None).get(), None);
        assert_eq!(Brief::new(Some(RequestsPerSecond::ZERO)).get(), Some(0.0));
        assert_eq!(Brief::new(RequestsPerSecond::new(f64::MAX)).get(), Some(f64::from(f32::MAX)));
    }
}
