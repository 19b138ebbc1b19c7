//! Moments and spans as the Kubernetes API writes them: RFC 3339 (`metav1.Time`), and Go durations (`metav1.Duration`). Both count
//! nanoseconds, and a moment has room for any span, so that no sum of them can overflow.

use serde::Deserialize;
use std::ops::{Add, Sub};

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Moment(i128);

/// Nanoseconds; may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(i64);

const NANOS: i64 = 1_000_000_000;

impl Moment {
    /// What Go has where no time was given: the first instant of the year 1.
    pub const ABSENT: Self = Self(-62_135_596_800 * NANOS as i128);

    /// A moment from nanoseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_nanos(nanos: i128) -> Self {
        Self(nanos)
    }
}

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn from_seconds(seconds: i32) -> Self {
        Self(seconds as i64 * NANOS)
    }

    /// Whole seconds, as `int32(span.Seconds())` has it.
    pub(crate) fn seconds(self) -> i32 {
        let (whole, rest) = (self.0 / NANOS, self.0 % NANOS);
        #[expect(clippy::cast_precision_loss, reason = "Go's Duration.Seconds does the same")]
        let seconds = whole as f64 + rest as f64 / 1e9;
        crate::number::to_i32(seconds)
    }
}

impl Add<Span> for Moment {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0 + i128::from(span.0))
    }
}

impl Sub<Span> for Moment {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0 - i128::from(span.0))
    }
}

// === RFC 3339 ===

/// Reads from the front of a text; every step refuses what Go's `time.Parse(time.RFC3339, ..)` refuses.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
    }

    fn within(&mut self, count: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        self.digits(count).filter(|number| range.contains(number))
    }

    fn skip(&mut self, expected: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        expected.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    /// A fraction of a second, in nanoseconds; further digits are cut, as Go cuts them.
    fn fraction(&mut self) -> Option<i64> {
        if self.skip(b".,").is_none() {
            return Some(0);
        }
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut nanos = 0;
        for place in 0..count.max(9) {
            let digit = if place < count { self.digits(1)? } else { 0 };
            if place < 9 {
                nanos = nanos * 10 + digit;
            }
        }
        (count > 0).then_some(nanos)
    }

    /// Seconds east of Greenwich.
    fn zone(&mut self) -> Option<i64> {
        if self.skip(b"Z").is_some() {
            return Some(0);
        }
        let sign = if self.skip(b"+-")? == b'+' { 1 } else { -1 };
        let hours = self.within(2, 0..=24)?;
        self.skip(b":")?;
        let minutes = self.within(2, 0..=60)?;
        Some(sign * (hours * 3600 + minutes * 60))
    }
}

fn days_in(month: i64, year: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first day of a month of the Gregorian calendar.
fn days_before(year: i64, month: i64) -> i64 {
    let years = year - 1;
    let leap_days = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    let months: i64 = (1..month).map(|earlier| days_in(earlier, year)).sum();
    365 * years + leap_days + months - 719_162
}

fn moment(text: &str) -> Option<Moment> {
    let mut reader = Reader(text.as_bytes());
    let year = reader.digits(4)?;
    reader.skip(b"-")?;
    let month = reader.within(2, 1..=12)?;
    reader.skip(b"-")?;
    let day = reader.within(2, 1..=days_in(month, year))?;
    reader.skip(b"T")?;
    let hour = reader.within(2, 0..=23)?;
    reader.skip(b":")?;
    let minute = reader.within(2, 0..=59)?;
    reader.skip(b":")?;
    let second = reader.within(2, 0..=59)?;
    let fraction = reader.fraction()?;
    let zone = reader.zone()?;
    if !reader.0.is_empty() {
        return None;
    }
    let seconds = (days_before(year, month) + day - 1) * 86_400 + hour * 3600 + minute * 60 + second - zone;
    Some(Moment(i128::from(seconds) * i128::from(NANOS) + i128::from(fraction)))
}

impl TryFrom<String> for Moment {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        moment(&text).ok_or_else(|| format!("expected a time such as \"2026-11-24T09:02:15Z\", not {text:?}"))
    }
}

// === Go durations ===

/// The length of a unit in nanoseconds.
fn unit(name: &str) -> Option<u64> {
    match name {
        "ns" => Some(1),
        "us" | "µs" | "μs" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

/// The largest magnitude: that of the smallest `int64`.
const LARGEST: u64 = 1 << 63;

/// One number with its unit, in nanoseconds, and what stands behind it.
fn part(text: &str) -> Option<(u64, &str)> {
    let other = |character: char| !character.is_ascii_digit();
    let (whole, rest) = text.split_at(text.find(other).unwrap_or(text.len()));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(other).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (name, rest) = rest
        .split_at(rest.find(|character: char| character == '.' || character.is_ascii_digit()).unwrap_or(rest.len()));
    let unit = unit(name)?;
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit).filter(|nanos| *nanos <= LARGEST)?;
    // Go counts the fraction as a float, and stops at the digit that would not fit.
    let (mut numerator, mut denominator) = (0u64, 1f64);
    for digit in fraction.bytes() {
        let Some(next) = numerator.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0'))) else {
            break;
        };
        if next > LARGEST {
            break;
        }
        (numerator, denominator) = (next, denominator * 10.0);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a unit, which fits")]
    let share = (numerator as f64 * (unit as f64 / denominator)) as u64;
    nanos = nanos.checked_add(share)?;
    (nanos <= LARGEST).then_some((nanos, rest))
}

fn span(text: &str) -> Option<Span> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(Span(0));
    }
    let mut nanos = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (more, behind) = part(rest)?;
        nanos = nanos.checked_add(more).filter(|nanos| *nanos <= LARGEST)?;
        rest = behind;
    }
    if negative {
        return Some(Span(0i64.wrapping_sub_unsigned(nanos)));
    }
    i64::try_from(nanos).ok().map(Span)
}

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        span(&text).ok_or_else(|| format!("expected a duration such as \"2m0s\" or \"300ms\", not {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        let nanos = |text: &str| moment(text).map(|moment| moment.0);
        assert_eq!(nanos("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(nanos("2026-11-24T09:02:15Z"), Some(1_795_510_935_000_000_000));
        assert_eq!(nanos("2026-11-24T10:02:15.25+01:00"), Some(1_795_510_935_250_000_000));
        assert_eq!(nanos("0001-01-01T00:00:00Z"), Some(Moment::ABSENT.0));
        assert!(nanos("2024-02-29T00:00:00.123456789123Z").is_some());
        for wrong in [
            "",
            "2026-11-24",
            "2026-11-24t09:02:15Z",
            "2026-02-29T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T09:02:15",
        ] {
            assert_eq!(nanos(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let nanos = |text: &str| span(text).map(|span| span.0);
        assert_eq!(nanos("2m0s"), Some(120 * NANOS));
        assert_eq!(nanos("1h15m30.918s"), Some(4_530_918_000_000));
        assert_eq!(nanos("-.5s"), Some(-NANOS / 2));
        assert_eq!(nanos("+1.5h"), Some(5_400 * NANOS));
        assert_eq!(nanos("100us"), Some(100_000));
        assert_eq!(nanos("0"), Some(0));
        assert_eq!(nanos("-9223372036854775808ns"), Some(i64::MIN));
        for wrong in ["", "-", "5", "s", ".s", "1.s.", "3x", "9223372036854775808ns", "3000000h", "1s "] {
            assert_eq!(nanos(wrong), None, "{wrong}");
        }
        assert_eq!(nanos("1.s"), Some(NANOS));
    }

    #[test]
    fn seconds_are_cut() {
        assert_eq!(Span(1_900_000_000).seconds(), 1);
        assert_eq!(Span::from_seconds(300).seconds(), 300);
    }
}
