//! Reads the JSON of Prometheus' HTTP API, in one pass, with strings borrowed from the body.
//!
//! Memory is bounded by the body (see `transport`) and by [`MAX_SERIES`]: of each series only its value is kept, of
//! the first of each question also its labels. Deliberately absent: a document tree, and native histograms, which
//! are no number.

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The label that tells to which question a series belongs.
pub(super) const TAG: &str = "trimtab_q";

/// Series in one answer; one question wants one, and thousands are asked together. Ten thousand small series are
/// about 2 MB.
pub(super) const MAX_SERIES: u32 = 10_000;

/// Labels of one series that are looked at; Prometheus' own targets have about 10, and no one reads more.
const MAX_LABELS: usize = 64;

/// Remarks that are kept; Prometheus sends at most 10 of a kind.
const MAX_REMARKS: usize = 32;

/// An answer, read.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// Whether `status` was `success`; `None` where there was no such field.
    pub(super) success: Option<bool>,
    /// `resultType`: vector, scalar, string or matrix.
    pub(super) kind: String,
    /// `errorType`, empty where there was none.
    pub(super) error_type: String,
    /// `error`, empty where there was none.
    pub(super) error: String,
    /// The result may be incomplete.
    pub(super) warnings: Vec<String>,
    /// Remarks about the query.
    pub(super) infos: Vec<String>,
    /// What the result holds, by tag; series without a tag are under the empty one.
    pub(super) found: BTreeMap<String, Found>,
    /// How many series there were.
    pub(super) series: u32,
    /// When the server evaluated: milliseconds since 1970.
    pub(super) evaluated_ms: Option<i64>,
    /// The points of a matrix, of its first series; those that are no finite number are left out.
    pub(super) points: Vec<(i64, f64)>,
}

/// The series of one question.
#[derive(Debug)]
pub(super) struct Found {
    /// How many.
    pub(super) count: u32,
    /// Of the first; `None` where it is no float (a native histogram, or text that is no number).
    pub(super) value: Option<f64>,
    /// In which labels the others differ from the first.
    pub(super) differ: BTreeSet<String>,
    labels: BTreeMap<String, String>,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// More than [`MAX_SERIES`].
    #[error("more than {MAX_SERIES} series")]
    TooManySeries,
    /// Not the JSON that was expected.
    #[error("not an answer of the Prometheus API: {0}")]
    Malformed(#[source] serde_json::Error),
}

/// Reads a body. Total: any bytes give a reply or an error.
pub(super) fn read(body: &[u8]) -> Result<Reply, WireError> {
    let mut reply = Reply::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Envelope(&mut reply).deserialize(&mut json).and_then(|()| json.end());
    match read {
        Ok(()) if reply.success.is_none() => Err(WireError::Malformed(serde_json::Error::custom("no field `status`"))),
        Ok(()) => Ok(reply),
        Err(_) if reply.series > MAX_SERIES => Err(WireError::TooManySeries),
        Err(error) => Err(WireError::Malformed(error)),
    }
}

impl Reply {
    fn take(&mut self, labels: &[(Cow<'_, str>, Cow<'_, str>)], value: Option<f64>) {
        let tag = labels.iter().find(|(name, _)| name == TAG).map_or("", |(_, tag)| tag.as_ref());
        if let Some(found) = self.found.get_mut(tag) {
            found.count = found.count.saturating_add(1);
            found.compare(labels);
        } else {
            let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            self.found.insert(tag.to_owned(), Found { count: 1, value, differ: BTreeSet::new(), labels });
        }
    }
}

impl Found {
    fn compare(&mut self, labels: &[(Cow<'_, str>, Cow<'_, str>)]) {
        for (name, value) in labels {
            if self.labels.get(name.as_ref()).map(String::as_str) != Some(value.as_ref()) {
                self.differ.insert(name.to_string());
            }
        }
        for name in self.labels.keys() {
            if !labels.iter().any(|(other, _)| other == name) {
                self.differ.insert(name.clone());
            }
        }
    }
}

/// The outermost object.
struct Envelope<'r>(&'r mut Reply);

impl<'de> DeserializeSeed<'de> for Envelope<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Envelope<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `status` and `data`")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            match key.as_ref() {
                "status" => self.0.success = Some(map.next_value::<Text<'_>>()?.0 == "success"),
                "errorType" => self.0.error_type = map.next_value::<Text<'_>>()?.0.into_owned(),
                "error" => self.0.error = map.next_value::<Text<'_>>()?.0.into_owned(),
                "warnings" => map.next_value_seed(Remarks(&mut self.0.warnings))?,
                "infos" => map.next_value_seed(Remarks(&mut self.0.infos))?,
                "data" => map.next_value_seed(Data(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A list of texts, or null.
struct Remarks<'r>(&'r mut Vec<String>);

impl<'de> DeserializeSeed<'de> for Remarks<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Remarks<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(Text(remark)) = seq.next_element()? {
            if self.0.len() < MAX_REMARKS {
                self.0.push(remark.into_owned());
            }
        }
        Ok(())
    }
}

/// `data`: the kind of result and the result, in either order; or null.
struct Data<'r>(&'r mut Reply);

impl<'de> DeserializeSeed<'de> for Data<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Data<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `resultType` and `result`")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            match key.as_ref() {
                "resultType" => self.0.kind = map.next_value::<Text<'_>>()?.0.into_owned(),
                "result" => map.next_value_seed(Outcome(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// `result`: a list of series, or a time and a text (scalar and string); or null.
struct Outcome<'r>(&'r mut Reply);

impl<'de> DeserializeSeed<'de> for Outcome<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Outcome<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of series, or a time and a value")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Element(self.0))?.is_some() {}
        Ok(())
    }
}

/// One element of a result: a series, or half of a scalar.
struct Element<'r>(&'r mut Reply);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series, a time or a value")
    }
    fn visit_f64<E>(self, seconds: f64) -> Result<(), E> {
        self.0.evaluated_ms = milliseconds(seconds);
        Ok(())
    }
    fn visit_u64<E>(self, seconds: u64) -> Result<(), E> {
        self.0.evaluated_ms = milliseconds(seconds as f64);
        Ok(())
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.take(&[], text.parse().ok());
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.series += 1;
        if self.0.series > MAX_SERIES {
            return Err(A::Error::custom("too many series"));
        }
        let first = self.0.series == 1;
        let mut labels = Vec::new();
        let mut value = None;
        while let Some(Text(key)) = map.next_key()? {
            match key.as_ref() {
                "metric" => map.next_value_seed(Labels(&mut labels))?,
                "value" => {
                    let Point { ms, value: read } = map.next_value()?;
                    self.0.evaluated_ms = ms.or(self.0.evaluated_ms);
                    value = read;
                }
                "values" if first => map.next_value_seed(Points(&mut self.0.points))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        self.0.take(&labels, value);
        Ok(())
    }
}

/// The labels of a series.
struct Labels<'v, 'de>(&'v mut Vec<(Cow<'de, str>, Cow<'de, str>)>);

impl<'de> DeserializeSeed<'de> for Labels<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Labels<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of labels")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Text(name), Text(value))) = map.next_entry()? {
            if self.0.len() < MAX_LABELS || name == TAG {
                self.0.push((name, value));
            }
        }
        Ok(())
    }
}

/// The points of a series over time.
struct Points<'v>(&'v mut Vec<(i64, f64)>);

impl<'de> DeserializeSeed<'de> for Points<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Points<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of points")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(Point { ms, value }) = seq.next_element()? {
            if let (Some(ms), Some(value)) = (ms, value.filter(|value| value.is_finite())) {
                self.0.push((ms, value));
            }
        }
        Ok(())
    }
}

/// A time and a number that is written as a text, e.g. `[1435781451.781,"1"]`.
struct Point {
    ms: Option<i64>,
    value: Option<f64>,
}

impl<'de> serde::Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let (seconds, Text(text)): (f64, Text<'de>) = serde::Deserialize::deserialize(json)?;
        Ok(Self { ms: milliseconds(seconds), value: text.parse().ok() })
    }
}

/// A text, borrowed from the body where it has no escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct AsText;
        impl<'de> Visitor<'de> for AsText {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        json.deserialize_str(AsText)
    }
}

/// Prometheus writes times as seconds with a fraction; `None` where that is no date between 1970 and 5138.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn milliseconds(seconds: f64) -> Option<i64> {
    (0.0..1e11).contains(&seconds).then(|| (seconds * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"trimtab_q":"v0"},"value":[1435781451.781,"1.5"]},
        {"metric":{"trimtab_q":"v1","pod":"a","zone":"x"},"value":[1435781451.781,"NaN"]},
        {"metric":{"trimtab_q":"v1","pod":"b","zone":"x","le":"+Inf"},"value":[1435781451.781,"+Inf"]},
        {"metric":{"trimtab_q":"v2","n":"\u00e9\n"},"histogram":[1435781451.781,{"count":"1","buckets":[[1,"0","1","2"]]}]}
    ],"stats":{"x":[1,{"y":null}]}},"warnings":["w"],"infos":["i"]}"#;

    #[test]
    fn a_vector_is_sorted_by_tag_and_the_differing_labels_are_named() {
        let reply = read(VECTOR.as_bytes()).unwrap();
        assert_eq!((reply.kind.as_str(), reply.series, reply.evaluated_ms), ("vector", 4, Some(1_435_781_451_781)));
        assert_eq!((reply.warnings, reply.infos), (vec!["w".to_owned()], vec!["i".to_owned()]));
        assert_eq!(reply.found["v0"].value, Some(1.5));
        assert_eq!(reply.found["v1"].count, 2);
        assert_eq!(reply.found["v1"].differ.iter().collect::<Vec<_>>(), ["le", "pod"]);
        assert_eq!((reply.found["v2"].count, reply.found["v2"].value), (1, None), "a native histogram is no number");
    }

    #[test]
    fn all_numbers_of_prometheus_are_read() {
        for (text, value) in
            [("1e-3", 1e-3), ("+Inf", f64::INFINITY), ("-Inf", f64::NEG_INFINITY), ("-0", -0.0), ("5e-324", 5e-324)]
        {
            let body = format!(
                r#"{{"status":"success","data":{{"result":[{{"value":[1,"{text}"]}}],"resultType":"vector"}}}}"#
            );
            let read = read(body.as_bytes()).unwrap().found[""].value.unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{text}");
        }
    }

    #[test]
    fn scalars_texts_and_ranges_are_told_apart() {
        let body = |kind: &str, result: &str| {
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
        };
        let scalar = read(body("scalar", r#"[1.5,"7"]"#).as_bytes()).unwrap();
        assert_eq!((scalar.found[""].value, scalar.evaluated_ms), (Some(7.0), Some(1500)));
        assert_eq!(read(body("string", r#"[1,"abc"]"#).as_bytes()).unwrap().kind, "string");
        let matrix =
            read(body("matrix", r#"[{"metric":{"a":"b"},"values":[[1,"1"],[2,"NaN"],[3,"3"]]}]"#).as_bytes()).unwrap();
        assert_eq!(matrix.points, [(1000, 1.0), (3000, 3.0)]);
    }

    #[test]
    fn errors_are_read_and_strangers_are_refused() {
        let refusal = read(br#"{"status":"error","errorType":"bad_data","error":"no"}"#).unwrap();
        assert_eq!(
            (refusal.success, refusal.error_type.as_str(), refusal.error.as_str()),
            (Some(false), "bad_data", "no")
        );
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"kind":"Status"}"#,
            "null",
            r#"{"status":"success"} and more"#,
            r#"{"status":1}"#,
        ] {
            assert!(matches!(read(body.as_bytes()), Err(WireError::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn too_many_series_are_refused_at_the_bound() {
        let body = |count: usize| {
            let series = vec![r#"{"metric":{},"value":[1,"1"]}"#; count].join(",");
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
        };
        let bound = usize::try_from(MAX_SERIES).unwrap();
        assert_eq!(read(body(bound).as_bytes()).unwrap().found[""].count, MAX_SERIES);
        assert!(matches!(read(body(bound + 1).as_bytes()), Err(WireError::TooManySeries)));
    }

    #[test]
    fn hostile_bodies_are_read_in_little_memory() {
        let labels: String =
            (0..250_000).flat_map(|n| ["\"".to_owned(), n.to_string(), "\":\"\",".to_owned()]).collect();
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{{labels}"z":""}},"value":[1,"1"]}}]}}}}"#
        );
        assert_eq!(read(body.as_bytes()).unwrap().found[""].labels.len(), MAX_LABELS);
        assert!(read("[".repeat(4 << 20).as_bytes()).is_err());
        assert!(read(format!(r#"{{"status":"success","x":{}"#, "[".repeat(4 << 20)).as_bytes()).is_err());
        let remarks = vec!["\"r\""; 100_000].join(",");
        assert_eq!(
            read(format!(r#"{{"status":"success","warnings":[{remarks}]}}"#).as_bytes()).unwrap().warnings.len(),
            MAX_REMARKS
        );
    }

    #[test]
    fn a_truncated_body_is_never_taken_for_a_whole_one() {
        for end in 0..VECTOR.len() {
            assert!(read(VECTOR.as_bytes().get(..end).unwrap()).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_reply_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn any_change_of_an_answer_gives_a_reply_or_an_error(at in 0..VECTOR.len(), byte: u8, cut in 0_usize..40) {
            let mut body = VECTOR.as_bytes().to_vec();
            let end = (at + cut).min(body.len());
            body.splice(at..end, [byte]);
            let _ = read(&body);
        }
    }
}
