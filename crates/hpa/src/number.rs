//! Go's conversions of floats to integers on amd64: towards zero, and the smallest integer for what does not fit and for NaN. Rust's
//! `as` saturates instead, so a proposal of 3 billion replicas would come out as the largest integer and not as the smallest.

/// `int32(value)`.
#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
pub(crate) fn to_i32(value: f64) -> i32 {
    let whole = value.trunc();
    if (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&whole) { whole as i32 } else { i32::MIN }
}

/// `int64(value)`.
#[expect(clippy::cast_possible_truncation, reason = "the range was checked; 2^63 itself does not fit")]
pub(crate) fn to_i64(value: f64) -> i64 {
    let whole = value.trunc();
    if (-TWO_TO_THE_63..TWO_TO_THE_63).contains(&whole) { whole as i64 } else { i64::MIN }
}

/// The float next to the largest `int64`, which itself is none.
pub(crate) const TWO_TO_THE_63: f64 = 9_223_372_036_854_775_808.0;

/// 10 to the power of `exponent` as Go's `math.Pow10` has it: two table entries combined, whose last bit may differ from the nearest.
pub(crate) fn power_of_ten(exponent: i32) -> f64 {
    let (coarse, fine) = (exponent.unsigned_abs() / 32, exponent.unsigned_abs() % 32);
    match exponent {
        0..=308 => nearest(32 * coarse.cast_signed()) * nearest(fine.cast_signed()),
        -323..=-1 => nearest(-32 * coarse.cast_signed()) / nearest(fine.cast_signed()),
        i32::MIN..=-324 => 0.0,
        309..=i32::MAX => f64::INFINITY,
    }
}

/// The float nearest to 10 to the power of `exponent`.
fn nearest(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Go 1.26.8 on amd64.
    #[test]
    fn what_does_not_fit_becomes_the_smallest_integer() {
        for outside in [3e9, -3e9, 5e9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, 2_147_483_648.0] {
            assert_eq!(to_i32(outside), i32::MIN, "{outside}");
        }
        assert_eq!(to_i32(2_147_483_647.5), i32::MAX);
        assert_eq!(to_i32(-0.9), 0);
        for outside in [f64::NAN, f64::INFINITY, 1e19, 9.3e18, TWO_TO_THE_63] {
            assert_eq!(to_i64(outside), i64::MIN, "{outside}");
        }
        assert_eq!(to_i64(3e9), 3_000_000_000);
    }

    #[test]
    fn powers_of_ten_are_those_of_go() {
        assert_eq!(power_of_ten(0).to_bits(), 1f64.to_bits());
        assert_eq!(power_of_ten(-3).to_bits(), (1.0f64 / 1000.0).to_bits());
        assert_eq!(power_of_ten(309).to_bits(), f64::INFINITY.to_bits());
        assert_eq!(power_of_ten(-400).to_bits(), 0f64.to_bits());
    }
}
