//! Quantities with their unit in the type.
//!
//! One door in (`new`, which refuses NaN, infinities and negative numbers), and only operators that mean
//! something: a rate times a time is an offered load, never another rate. There is no `From<f64>` and no
//! `Deref`. `f64::{sqrt, floor, ceil}` and the four operations are exact by IEEE 754; everything else in this
//! crate goes through `libm`, so that a replay gives the same bits on every machine.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Div, Mul};

/// A number that no quantity can hold: NaN, infinite or negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotAQuantity(f64);

impl fmt::Display for NotAQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a finite number of at least 0", self.0)
    }
}

impl std::error::Error for NotAQuantity {}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0.0);

            /// The quantity, or `None` where `raw` is NaN, infinite or negative.
            #[must_use]
            pub fn new(raw: f64) -> Option<Self> {
                (raw.is_finite() && raw >= 0.0).then_some(Self(raw))
            }

            /// A whole number of it, for constants.
            #[must_use]
            pub const fn whole(raw: u32) -> Self {
                Self(raw as f64)
            }

            /// The number in this type's unit.
            #[must_use]
            pub const fn get(self) -> f64 {
                self.0
            }

            /// Whether there is nothing of it.
            #[must_use]
            pub fn is_nothing(&self) -> bool {
                self.0 <= 0.0
            }

            /// The larger of the two.
            #[must_use]
            pub fn max(self, other: Self) -> Self {
                Self(self.0.max(other.0))
            }

            /// The smaller of the two.
            #[must_use]
            pub fn min(self, other: Self) -> Self {
                Self(self.0.min(other.0))
            }

            /// What is left after taking `other` away: nothing where `other` is larger.
            #[must_use]
            pub fn less(self, other: Self) -> Self {
                Self((self.0 - other.0).max(0.0))
            }

            /// The same to four significant digits: as much as is known of what is measured, and half as long in a record.
            #[must_use]
            pub fn brief(self) -> Self {
                let scale = libm::pow(10.0, 3.0 - libm::log10(self.0).floor());
                if scale.is_finite() && scale > 0.0 { Self((self.0 * scale).round() / scale) } else { self }
            }

            /// Clamps a number that arithmetic may have driven out of range; NaN becomes zero.
            pub(crate) fn clamped(raw: f64) -> Self {
                Self(raw.clamp(0.0, f64::MAX).max(0.0))
            }
        }

        impl TryFrom<f64> for $name {
            type Error = NotAQuantity;
            fn try_from(raw: f64) -> Result<Self, NotAQuantity> {
                Self::new(raw).ok_or(NotAQuantity(raw))
            }
        }

        impl From<$name> for f64 {
            fn from(quantity: $name) -> f64 {
                quantity.0
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, rhs: Self) -> Self {
                Self::clamped(self.0 + rhs.0)
            }
        }
    };
}

quantity! {
    /// Requests a second: demand, or what one replica can serve.
    RequestsPerSecond
}
quantity! {
    /// Seconds, as a length of time.
    Seconds
}
quantity! {
    /// Offered load: the mean number of servers that demand keeps busy (Little's law).
    Erlangs
}
quantity! {
    /// A share; 1 is all of it.
    Ratio
}
quantity! {
    /// A value in the unit of its own query, to be compared with a limit in the same unit.
    Level
}

impl Ratio {
    /// All of it.
    pub const ONE: Self = Self(1.0);

    /// `share` thousandths, for constants.
    #[must_use]
    pub const fn permille(share: u32) -> Self {
        Self(share as f64 / 1000.0)
    }

    /// `share` hundredths, for constants.
    #[must_use]
    pub const fn percent(share: u32) -> Self {
        Self(share as f64 / 100.0)
    }
}

impl Seconds {
    /// So many thousandths, for constants.
    #[must_use]
    pub const fn milliseconds(span: u32) -> Self {
        Self(span as f64 / 1000.0)
    }
}

/// Little's law: the only way to make an offered load.
impl Mul<Seconds> for RequestsPerSecond {
    type Output = Erlangs;
    fn mul(self, service_time: Seconds) -> Erlangs {
        Erlangs::clamped(self.0 * service_time.0)
    }
}

/// Demand over what one replica serves: the same offered load, from a rate instead of a time.
impl Div<RequestsPerSecond> for RequestsPerSecond {
    type Output = Erlangs;
    fn div(self, per_replica: RequestsPerSecond) -> Erlangs {
        Erlangs::clamped(self.0 / per_replica.0)
    }
}

/// The load that would keep servers busy for only that share of their time.
impl Div<Ratio> for Erlangs {
    type Output = Self;
    fn div(self, share: Ratio) -> Self {
        Self::clamped(self.0 / share.0)
    }
}

impl Erlangs {
    /// Whole replicas that are kept busy, the rest of a replica left out; saturates.
    #[must_use]
    pub fn floor(self) -> Replicas {
        Replicas::saturating(self.0.floor())
    }

    /// The fewest replicas that are not fewer than the load; saturates.
    #[must_use]
    pub fn ceil(self) -> Replicas {
        Replicas::saturating(self.0.ceil())
    }
}

/// What is left of a rate that only serves that many parts of itself.
impl Div<Ratio> for RequestsPerSecond {
    type Output = Self;
    fn div(self, parts: Ratio) -> Self {
        Self::clamped(self.0 / parts.0)
    }
}

impl Mul<Ratio> for RequestsPerSecond {
    type Output = Self;
    fn mul(self, share: Ratio) -> Self {
        Self::clamped(self.0 * share.0)
    }
}

/// A part of a time, or some times as much.
impl Mul<Ratio> for Seconds {
    type Output = Self;
    fn mul(self, share: Ratio) -> Self {
        Self::clamped(self.0 * share.0)
    }
}

/// What that many replicas serve together.
impl Mul<Replicas> for RequestsPerSecond {
    type Output = Self;
    fn mul(self, replicas: Replicas) -> Self {
        Self::clamped(self.0 * f64::from(replicas.0))
    }
}

/// A number of replicas of one workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Replicas(pub u32);

impl Replicas {
    /// The integer part of a number that is not negative; extreme demand means the most, never a wrapped few.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range before")]
    fn saturating(raw: f64) -> Self {
        Self(raw.clamp(0.0, f64::from(u32::MAX)) as u32)
    }

    /// So many replicas more.
    #[must_use]
    pub const fn plus(self, more: u32) -> Self {
        Self(self.0.saturating_add(more))
    }

    /// So many replicas fewer, down to none.
    #[must_use]
    pub const fn minus(self, fewer: u32) -> Self {
        Self(self.0.saturating_sub(fewer))
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of windows of the objective: ahead of the last one that ended, or behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Windows(pub i64);

/// A moment: milliseconds since 1970-01-01 UTC, on the clock of whoever took the snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// How long ago `earlier` was; zero where it lies ahead, as after a clock was set back.
    #[must_use]
    pub fn since(self, earlier: Self) -> Seconds {
        // A difference of milliseconds loses nothing in an f64 before the year 287396.
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 ms")]
        let millis = self.0.saturating_sub(earlier.0).max(0) as f64;
        Seconds::clamped(millis / 1000.0)
    }

    /// The window of that length in which this moment lies, counted from 1970; the moment that ends one lies in it.
    #[must_use]
    pub fn window(self, length: Seconds) -> Windows {
        Windows(self.0.saturating_sub(1).div_euclid(Self::millis(length)))
    }

    /// When that window begins.
    #[must_use]
    pub fn begins(self, length: Seconds) -> Self {
        Self::start(self.window(length), length)
    }

    /// When a window of that length begins.
    #[must_use]
    pub fn start(window: Windows, length: Seconds) -> Self {
        Self(window.0.saturating_mul(Self::millis(length)))
    }

    /// Whether this moment ends a window.
    #[must_use]
    pub fn ends(self, length: Seconds) -> bool {
        self.0.rem_euclid(Self::millis(length)) == 0
    }

    fn millis(length: Seconds) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 2^53 before")]
        let millis = (length.0 * 1000.0).clamp(1.0, 9e15) as i64;
        millis
    }

    /// The moment so much later, to the millisecond.
    #[must_use]
    pub fn after(self, delay: Seconds) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 2^53 before")]
        let millis = (delay.0 * 1000.0).min(9e15) as i64;
        Self(self.0.saturating_add(millis))
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these are exact")]
mod tests {
    use super::*;

    #[test]
    fn no_quantity_holds_what_is_not_a_number() {
        for raw in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1] {
            assert_eq!(Seconds::new(raw), None, "{raw}");
        }
        assert_eq!(Seconds::new(0.0), Some(Seconds::ZERO));
        assert!(serde_json::from_str::<Ratio>("-1").unwrap_err().to_string().contains("at least 0"));
    }

    #[test]
    fn arithmetic_never_leaves_the_range() {
        let huge = RequestsPerSecond::new(f64::MAX).unwrap();
        assert_eq!((huge + huge).get(), f64::MAX);
        assert_eq!((RequestsPerSecond::ZERO / RequestsPerSecond::ZERO).get(), 0.0);
        assert_eq!((huge / RequestsPerSecond::ZERO).get(), f64::MAX);
    }

    #[test]
    fn a_clock_set_back_gives_no_negative_age() {
        assert_eq!(Timestamp(1_000).since(Timestamp(5_000)), Seconds::ZERO);
        assert_eq!(Timestamp(5_500).since(Timestamp(5_000)).get(), 0.5);
        assert_eq!(Timestamp(0).after(Seconds::whole(2)), Timestamp(2_000));
    }
}
