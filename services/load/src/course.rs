//! The course of the rate over time.

use anyhow::{Context, bail, ensure};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Spans with their rates, one after the other; the last one of a constant has no end.
#[derive(Debug, PartialEq)]
pub(crate) struct Course {
    /// End of each span and the rate in it, requests a second.
    spans: Vec<(Duration, f64)>,
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|error| format!("expected a duration such as 500ms or 30s: {error}"))?;
    Duration::try_from(span).ok().filter(|span| !span.is_zero()).ok_or_else(|| "expected a duration above 0".to_owned())
}

impl Course {
    pub(crate) fn new(
        rate: Option<f64>,
        steps: Option<&str>,
        trace: Option<&Path>,
        time_scale: f64,
        rate_scale: f64,
    ) -> anyhow::Result<Self> {
        ensure!(
            time_scale > 0.0 && time_scale.is_finite(),
            "--time-scale: expected a factor above 0, got {time_scale}"
        );
        ensure!(
            rate_scale >= 0.0 && rate_scale.is_finite(),
            "--rate-scale: expected a factor of at least 0, got {rate_scale}"
        );
        let course = match (rate, steps, trace) {
            (Some(rate), None, None) => Self { spans: vec![(Duration::MAX, checked(rate).context("--rate")?)] },
            (None, Some(steps), None) => Self::steps(steps).context("--steps")?,
            (None, None, Some(path)) => {
                let text = read(path).with_context(|| format!("failed to read the trace {}", path.display()))?;
                Self::trace(&text, time_scale, rate_scale).with_context(|| format!("trace {}", path.display()))?
            }
            _ => bail!("expected one of --rate, --steps and --trace"),
        };
        Ok(course)
    }

    /// The rate at this time, or `None` after the end.
    pub(crate) fn rate(&self, at: Duration) -> Option<f64> {
        let index = self.spans.partition_point(|(end, _)| *end <= at);
        self.spans.get(index).map(|(_, rate)| *rate)
    }

    fn steps(text: &str) -> anyhow::Result<Self> {
        let mut spans = Vec::new();
        let mut end = Duration::ZERO;
        for step in text.split(',') {
            let (span, rate) =
                step.split_once(':').with_context(|| format!("expected SPAN:RATE such as 30s:100, got {step:?}"))?;
            end += duration(span).map_err(anyhow::Error::msg)?;
            spans.push((end, checked(rate.parse().with_context(|| format!("expected a rate, got {rate:?}"))?)?));
        }
        Ok(Self { spans })
    }

    fn trace(text: &[u8], time_scale: f64, rate_scale: f64) -> anyhow::Result<Self> {
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text);
        let head = reader.headers()?.clone();
        let column =
            |name: &str| head.iter().position(|head| head == name).with_context(|| format!("no column {name}"));
        let (time, rate) = (column("t_seconds")?, column("rate")?);
        let mut rows = Vec::new();
        for row in reader.records() {
            let row = row?;
            let line = row.position().map_or(0, csv::Position::line);
            let number = |index: usize| -> anyhow::Result<f64> {
                let text = row.get(index).unwrap_or_default();
                text.parse().with_context(|| format!("line {line}: expected a number, got {text:?}"))
            };
            rows.push((number(time)?, checked(number(rate)?).with_context(|| format!("line {line}"))? * rate_scale));
        }
        ensure!(rows.len() > 1, "expected at least two rows");
        ensure!(rows.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0)), "t_seconds must rise from row to row");
        let start = rows.first().map_or(0.0, |row| row.0);
        // The last row lasts as long as the one before it.
        let last = match rows.as_slice() {
            [.., a, b] => b.0 + (b.0 - a.0),
            _ => 0.0,
        };
        let ends = rows.iter().skip(1).map(|row| row.0).chain([last]);
        let spans =
            ends.zip(&rows).map(|(end, row)| (Duration::from_secs_f64((end - start) / time_scale), row.1)).collect();
        Ok(Self { spans })
    }
}

fn checked(rate: f64) -> anyhow::Result<f64> {
    ensure!(rate.is_finite() && rate >= 0.0, "expected requests a second, at least 0, got {rate}");
    Ok(rate)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let mut text = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(file).read_to_end(&mut text)?;
    } else {
        std::io::BufReader::new(file).read_to_end(&mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn steps_follow_each_other_and_end() {
        let course = Course::new(None, Some("30s:100,60s:200"), None, 1.0, 1.0).unwrap();
        assert_eq!(course.rate(29 * SECOND), Some(100.0));
        assert_eq!(course.rate(30 * SECOND), Some(200.0));
        assert_eq!(course.rate(90 * SECOND), None);
    }

    #[test]
    fn a_trace_is_scaled_in_time_and_rate() {
        let course = Course::trace(b"# unit: req/s\nt_seconds,rate\n100,10\n160,20\n", 60.0, 3.0).unwrap();
        assert_eq!(course, Course { spans: vec![(SECOND, 30.0), (2 * SECOND, 60.0)] });
    }

    #[test]
    fn what_is_wrong_with_a_trace_is_said_with_its_line() {
        let error = Course::trace(b"t_seconds,rate\n0,10\n60,many\n", 1.0, 1.0).unwrap_err();
        assert!(format!("{error:#}").contains("line 3: expected a number, got \"many\""), "{error:#}");
        assert!(
            format!("{:#}", Course::trace(b"t,rate\n0,1\n", 1.0, 1.0).unwrap_err()).contains("no column t_seconds")
        );
    }

    #[test]
    fn a_negative_rate_is_refused() {
        assert!(Course::new(Some(-1.0), None, None, 1.0, 1.0).is_err());
    }
}
