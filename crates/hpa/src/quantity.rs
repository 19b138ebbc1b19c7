//! Quantities of the Kubernetes API (`"250m"`, `"1.5Gi"`, `"3e2"`), with the rounding and the overflows of `resource.Quantity`.
//!
//! Upstream keeps what has few digits as an integer and a power of ten, and everything else as a decimal that is rounded up to
//! 10⁻⁹; which of the two a text becomes decides how negative numbers round and where overflows wrap, so it is kept here too. A number
//! of more than 37 digits is cut to 37, which no result can show but one that overflows.

use crate::number::power_of_ten;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::cmp::Ordering;

/// An amount of something.
#[derive(Clone, Copy, Debug)]
pub struct Quantity(Amount);

#[derive(Clone, Copy, Debug)]
enum Amount {
    /// `value` × 10^`exponent`.
    Small { value: i64, exponent: i32 },
    /// `mantissa` × 10^`zeros` units of 10^-`scale`.
    Decimal { mantissa: i128, zeros: u32, scale: i32 },
}

/// What an integer of 64 bits can hold at least, in decimal digits.
const DIGITS: usize = 18;
/// The finest that a decimal is kept in, as a power of ten.
const NANO: i32 = -9;
/// More zeros than that change nothing that can be seen: the lowest 64 bits are 0, and a float is infinite.
const MOST_ZEROS: i32 = 400;

/// How a suffix scales a number.
#[derive(Clone, Copy)]
enum Suffix {
    Ten(i32),
    Two(u32),
}

fn suffix(text: &str) -> Option<Suffix> {
    Some(match text {
        "n" => Suffix::Ten(-9),
        "u" => Suffix::Ten(-6),
        "m" => Suffix::Ten(-3),
        "" => Suffix::Ten(0),
        "k" => Suffix::Ten(3),
        "M" => Suffix::Ten(6),
        "G" => Suffix::Ten(9),
        "T" => Suffix::Ten(12),
        "P" => Suffix::Ten(15),
        "E" => Suffix::Ten(18),
        "Ki" => Suffix::Two(10),
        "Mi" => Suffix::Two(20),
        "Gi" => Suffix::Two(30),
        "Ti" => Suffix::Two(40),
        "Pi" => Suffix::Two(50),
        "Ei" => Suffix::Two(60),
        _ => {
            let exponent: i64 = text.strip_prefix(['e', 'E'])?.parse().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "upstream cuts it to 32 bits")]
            let exponent = exponent as i32;
            Suffix::Ten(exponent)
        }
    })
}

/// A text in its parts: sign, digits before the point without leading zeros, digits behind it, suffix.
struct Parts<'a> {
    negative: bool,
    /// Whether there is any digit. The short form takes none for 0, the long one refuses it.
    digits: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: Suffix,
}

fn parts(text: &str) -> Option<Parts<'_>> {
    if text.is_empty() {
        return None;
    }
    let other = |character: char| !character.is_ascii_digit();
    let number = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = number.trim_start_matches('0');
    let (whole, rest) = digits.split_at(digits.find(other).unwrap_or(digits.len()));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(other).unwrap_or(rest.len())),
        None => ("", rest),
    };
    Some(Parts {
        negative: text.starts_with('-'),
        digits: number.trim_start_matches('.').starts_with(|first: char| first.is_ascii_digit()),
        whole: if whole.is_empty() { "0" } else { whole },
        fraction,
        suffix: suffix(rest)?,
    })
}

/// The short form, where upstream chooses it.
fn small(parts: &Parts<'_>) -> Option<Amount> {
    let count = parts.whole.len() + parts.fraction.len();
    let (exponent, factor) = match parts.suffix {
        Suffix::Ten(exponent) if count <= DIGITS => (exponent, 1i64),
        // 2^20 has about 6 digits, and so on: 15 digits are left over for number and factor.
        Suffix::Two(bits) if parts.fraction.is_empty() && count + (bits as usize * 3 / 10) <= 14 => (0, 1i64 << bits),
        Suffix::Ten(_) | Suffix::Two(_) => return None,
    };
    let exponent = exponent.wrapping_sub(i32::try_from(parts.fraction.len()).ok()?);
    if exponent < NANO {
        return None;
    }
    let value: i64 = format!("{}{}", parts.whole, parts.fraction).parse().ok()?;
    let value = value.checked_mul(factor)?;
    Some(Amount::Small { value: if parts.negative { -value } else { value }, exponent })
}

/// The long form: rounded up, away from zero, to 10⁻⁹; in binary units at most the largest `int64`.
fn decimal(parts: &Parts<'_>) -> Option<Amount> {
    if !parts.digits {
        return None;
    }
    let digits: String = format!("{}{}", parts.whole, parts.fraction);
    let digits = digits.trim_start_matches('0');
    let kept = digits.get(..37).unwrap_or(digits);
    let cut = i32::try_from(digits.len() - kept.len()).ok()?;
    let mut mantissa: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let mut exponent = cut.wrapping_sub(i32::try_from(parts.fraction.len()).ok()?);
    match parts.suffix {
        Suffix::Ten(power) => exponent = exponent.saturating_add(power),
        Suffix::Two(bits) => mantissa = mantissa.saturating_mul(1i128 << bits),
    }
    if mantissa == 0 {
        return Some(Amount::Small { value: 0, exponent: 0 });
    }
    if exponent < NANO {
        let places = u32::try_from(NANO.saturating_sub(exponent)).ok()?;
        mantissa = 10i128.checked_pow(places).map_or(1, |divisor| (mantissa - 1) / divisor + 1);
        exponent = NANO;
    }
    let zeros = u32::try_from(exponent.saturating_sub(NANO).min(MOST_ZEROS)).ok()?;
    let capped = matches!(parts.suffix, Suffix::Two(_))
        && 10i128
            .checked_pow(zeros)
            .and_then(|factor| mantissa.checked_mul(factor))
            .is_none_or(|nanos| nanos > i128::from(i64::MAX) * 1_000_000_000);
    let (mantissa, zeros, scale) = if capped { (i128::from(i64::MAX), 0, 0) } else { (mantissa, zeros, -NANO) };
    Some(Amount::Decimal { mantissa: if parts.negative { -mantissa } else { mantissa }, zeros, scale })
}

impl Quantity {
    /// No amount.
    pub const ZERO: Self = Self(Amount::Small { value: 0, exponent: 0 });

    /// Reads a quantity.
    ///
    /// # Errors
    /// What `resource.ParseQuantity` refuses.
    pub fn parse(text: &str) -> Result<Self, String> {
        parts(text)
            .and_then(|parts| small(&parts).or_else(|| decimal(&parts)))
            .map(Self)
            .ok_or_else(|| format!("expected a quantity such as \"250m\", \"2\" or \"1.5Gi\", not {text:?}"))
    }

    /// Thousandths, rounded up; 0 or the lowest 64 bits where they do not fit (`MilliValue`).
    #[must_use]
    pub fn milli(self) -> i64 {
        match self.0 {
            Amount::Small { value, exponent } if exponent < -3 => away_from_zero(value, exponent.abs_diff(-3)),
            Amount::Small { value, exponent } => raised(value, exponent.abs_diff(-3)),
            Amount::Decimal { mantissa, zeros, scale } => scaled(mantissa, zeros, scale - 3),
        }
    }

    /// The float that upstream compares tolerances with (`AsApproximateFloat64`).
    #[must_use]
    pub fn approximate(self) -> f64 {
        let (base, exponent) = match self.0 {
            #[expect(clippy::cast_precision_loss, reason = "upstream does the same")]
            Amount::Small { value, exponent } => (value as f64, exponent),
            Amount::Decimal { mantissa, zeros, scale } => {
                (format!("{mantissa}e{zeros}").parse().unwrap_or(f64::INFINITY), -scale)
            }
        };
        if exponent == 0 { base } else { base * power_of_ten(exponent) }
    }

    /// The sum.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Amount::Small { .. }, Amount::Small { value: 0, .. }) => return self,
            (Amount::Small { value: 0, .. }, Amount::Small { .. }) => return other,
            (Amount::Small { value, exponent }, Amount::Small { value: more, exponent: finer }) => {
                let least = exponent.min(finer);
                let raise = |value: i64, exponent: i32| value.checked_mul(10i64.checked_pow(exponent.abs_diff(least))?);
                let sum = raise(value, exponent).zip(raise(more, finer)).and_then(|(one, two)| one.checked_add(two));
                if let Some(value) = sum {
                    return Self(Amount::Small { value, exponent: least });
                }
            }
            _ => {}
        }
        let (one, two, zeros, scale) = self.aligned(other);
        Self(Amount::Decimal { mantissa: one.saturating_add(two), zeros, scale })
    }

    /// Which of two is more.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        let (one, two, ..) = self.aligned(other);
        one.cmp(&two)
    }

    /// Both amounts in the same unit: 10^(`zeros` - `scale`), where `scale` is how many decimal places the finer of them has. What
    /// then has more than 38 digits is cut to the most that is held.
    fn aligned(self, other: Self) -> (i128, i128, u32, i32) {
        let split = |quantity: Self| match quantity.0 {
            Amount::Small { value, exponent } => (i128::from(value), 0, exponent.saturating_neg()),
            Amount::Decimal { mantissa, zeros, scale } => (mantissa, zeros, scale),
        };
        let ((one, zeros, places), (two, more_zeros, more_places)) = (split(self), split(other));
        let scale = places.max(more_places);
        let zeros = zeros.saturating_add(scale.abs_diff(places));
        let more_zeros = more_zeros.saturating_add(scale.abs_diff(more_places));
        let least = zeros.min(more_zeros);
        let raise = |mantissa: i128, by: u32| mantissa.saturating_mul(10i128.saturating_pow(by));
        (raise(one, zeros - least), raise(two, more_zeros - least), least, scale)
    }
}

/// `value` × 10^`places`. Of what does not fit, upstream keeps the lowest 64 bits where it has a multiplication of its own for the
/// power, and 0 where it multiplies step by step.
fn raised(value: i64, places: u32) -> i64 {
    match places {
        0 => value,
        1..=3 | 6 | 9 if value == i64::MIN => 0,
        1..=3 | 6 | 9 => value.wrapping_mul(10i64.wrapping_pow(places)),
        // A zero stays one however many powers of ten it is given.
        _ => 10i64.checked_pow(places).and_then(|factor| value.checked_mul(factor)).unwrap_or(0),
    }
}

/// `value` / 10^`places`, rounded away from zero.
fn away_from_zero(value: i64, places: u32) -> i64 {
    let Some(divisor) = 10i64.checked_pow(places) else { return value.signum() };
    value / divisor + (value % divisor).signum()
}

/// `mantissa` × 10^`zeros` / 10^`places`, rounded up, in the way of `scaledValue`: what is below the largest `int64` is cut to 64 bits
/// before it is divided (which a large negative number does not survive), the rest afterwards.
#[expect(clippy::cast_possible_truncation, reason = "upstream keeps the lowest 64 bits")]
fn scaled(mantissa: i128, zeros: u32, places: i32) -> i64 {
    let lowest = (mantissa as i64).wrapping_mul(10i64.wrapping_pow(zeros));
    let distance = places.unsigned_abs();
    if places <= 0 {
        return lowest.wrapping_mul(crate::number::to_i64(power_of_ten(-places)));
    }
    let whole = 10i128.checked_pow(zeros).and_then(|factor| mantissa.checked_mul(factor));
    let below = whole.map_or(mantissa < 0, |whole| whole < i128::from(i64::MAX));
    if let (true, Some(divisor)) = (below, 10i64.checked_pow(distance)) {
        return lowest / divisor + i64::from(lowest % divisor != 0);
    }
    if let Some(left) = zeros.checked_sub(distance) {
        return (mantissa as i64).wrapping_mul(10i64.wrapping_pow(left));
    }
    let divisor = 10i128.saturating_pow(distance - zeros);
    (mantissa.div_euclid(divisor) as i64).wrapping_add(i64::from(mantissa.rem_euclid(divisor) != 0))
}

/// Thousandths as the canonical text of a quantity: whole, with the largest suffix that keeps them so; in binary units where wanted
/// and possible.
pub(crate) fn text_of_milli(milli: i64, binary: bool) -> String {
    const DECIMAL: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];
    const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if milli == 0 {
        return "0".to_owned();
    }
    let large = !(-1_024_000 < milli && milli < 1_024_000);
    let (mut number, step, suffixes) = if binary && large && milli % 1000 == 0 {
        (milli / 1000, 1024, &BINARY[..])
    } else {
        (milli, 1000, &DECIMAL[..])
    };
    let mut suffixes = suffixes.iter();
    let mut suffix = suffixes.next().copied().unwrap_or_default();
    // Upstream leaves the smallest int64 alone: it has no positive counterpart to divide.
    while number % step == 0 && milli != i64::MIN {
        number /= step;
        suffix = suffixes.next().copied().unwrap_or_default();
    }
    format!("{number}{suffix}")
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Quantity;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a quantity such as \"250m\", \"2\" or \"1.5Gi\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
                Quantity::parse(text.trim()).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_unit<E: Error>(self) -> Result<Quantity, E> {
                Ok(Quantity::ZERO)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milli(text: &str) -> i64 {
        Quantity::parse(text).unwrap().milli()
    }

    #[test]
    fn thousandths_are_rounded_up() {
        assert_eq!(milli("100m"), 100);
        assert_eq!(milli("0.1m"), 1);
        assert_eq!(milli("1.5Gi"), 1_610_612_736_000);
        assert_eq!(milli("3e2"), 300_000);
        assert_eq!(milli("1u"), 1);
        assert_eq!(milli("-1500u"), -2);
        assert_eq!(milli("+.5"), 500);
        assert_eq!(milli("1.G"), 1_000_000_000_000);
    }

    /// 0 or the lowest bits, as upstream happens to multiply.
    #[test]
    fn overflows_are_upstreams() {
        assert_eq!(milli("10P"), 0);
        assert_eq!(milli("999999999999999999"), 3_875_820_019_684_211_736);
        assert_eq!(milli("9223372036854775807"), -1000);
        assert_eq!(milli("9223372036854775807m"), i64::MAX);
        assert_eq!(milli("100Ei"), -1000);
        assert_eq!(milli("-100Ei"), 1000);
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for wrong in ["", "1 m", "1mm", "1ki", "x", "1e", "--1", "1.2.3", "1e2m", "0x10", "e-11", ".e-11"] {
            assert!(Quantity::parse(wrong).is_err(), "{wrong}");
        }
        // Upstream reads these as 0.
        for zero in ["-", "+", ".", "m", "Ki", "0", "00.000"] {
            assert_eq!(milli(zero), 0, "{zero}");
        }
    }

    #[test]
    fn tolerances_are_products_of_a_number_and_a_power_of_ten() {
        let float = |text: &str| Quantity::parse(text).unwrap().approximate();
        assert_eq!(float("0.05").to_bits(), (5.0f64 * (1.0 / 100.0)).to_bits());
        assert_eq!(float("50m").to_bits(), (50.0f64 * (1.0 / 1000.0)).to_bits());
        assert_eq!(float("2").to_bits(), 2f64.to_bits());
    }

    #[test]
    fn a_text_is_canonical() {
        assert_eq!(text_of_milli(667, false), "667m");
        assert_eq!(text_of_milli(10_000_000, false), "10k");
        assert_eq!(text_of_milli(-1_000, false), "-1");
        assert_eq!(text_of_milli(1_536_000_000, true), "1500Ki");
        assert_eq!(text_of_milli(1_536_000, true), "1536");
        assert_eq!(text_of_milli(2_097_152_000, true), "2Mi");
        assert_eq!(text_of_milli(2_097_152_001, true), "2097152001m");
        assert_eq!(text_of_milli(i64::MIN, false), "-9223372036854775808m");
        assert_eq!(text_of_milli(500_000, true), "500");
    }

    #[test]
    fn sums_and_comparisons_are_exact() {
        let quantity = |text: &str| Quantity::parse(text).unwrap();
        assert_eq!(quantity("500u").plus(quantity("500u")).milli(), 1);
        assert_eq!(quantity("1.5Gi").plus(quantity("1")).milli(), 1_610_612_737_000);
        assert_eq!(quantity("1Gi").compare(quantity("1G")), Ordering::Greater);
        assert_eq!(quantity("1000m").compare(quantity("1")), Ordering::Equal);
    }
}
