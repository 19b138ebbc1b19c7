//! A drawing as SVG text: axes, lines, marks and words, and nothing else. The same drawing gives the same bytes.
//!
//! Written by hand rather than by a plotting library: a square-root axis, labels that keep apart and strips of marks are what these figures
//! need, and what such a library makes hard.

use std::fmt::Write;

/// Colours that people with any colour vision tell apart (Okabe and Ito 2008), and greys.
pub(super) mod colour {
    pub(in super::super) const BLUE: &str = "#0072b2";
    pub(in super::super) const VERMILION: &str = "#d55e00";
    pub(in super::super) const GREEN: &str = "#009e73";
    pub(in super::super) const PURPLE: &str = "#cc79a7";
    pub(in super::super) const ORANGE: &str = "#e69f00";
    pub(in super::super) const SKY: &str = "#56b4e9";
    pub(in super::super) const INK: &str = "#222222";
    pub(in super::super) const SOFT: &str = "#777777";
    pub(in super::super) const FAINT: &str = "#dddddd";
}

/// A drawing in the making.
#[derive(Debug)]
pub(super) struct Canvas {
    width: f64,
    height: f64,
    body: String,
}

/// Where a word stands relative to its point.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// What stands for a point: a shape for each policy, so that colour is never all that tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Circle,
    Square,
    Diamond,
    Triangle,
    Inverted,
    Cross,
    Ring,
    Plus,
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    pub(super) fn words(&mut self, (x, y): (f64, f64), anchor: Anchor, colour: &str, words: &str) {
        self.sized((x, y), anchor, (13.0, false), colour, words);
    }

    pub(super) fn title(&mut self, at: (f64, f64), words: &str) {
        self.sized(at, Anchor::Start, (17.0, true), colour::INK, words);
    }

    pub(super) fn sized(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        (size, bold): (f64, bool),
        colour: &str,
        words: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if bold { " font-weight=\"bold\"" } else { "" };
        let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{weight}>{words}</text>"#
        ));
    }

    pub(super) fn upright(&mut self, (x, y): (f64, f64), words: &str) {
        let soft = colour::INK;
        self.add(format_args!(
            r#"<text transform="translate({x:.1} {y:.1}) rotate(-90)" text-anchor="middle" font-size="13" fill="{soft}">{words}</text>"#
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        ));
    }

    pub(super) fn path(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: &str, width: f64) {
        let mut corners: Vec<(String, String)> = Vec::new();
        for (x, y) in points {
            let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
            // On a level stretch its two ends say all.
            if let [.., (_, before), (last, level)] = corners.as_mut_slice()
                && *before == y
                && *level == y
            {
                *last = x;
                continue;
            }
            corners.push((x, y));
        }
        let corners: Vec<String> = corners.into_iter().map(|(x, y)| format!("{x},{y}")).collect();
        let course = corners.join(" ");
        self.add(format_args!(
            r#"<polyline points="{course}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>"#
        ));
    }

    pub(super) fn area(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        self.add(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
        ));
    }

    pub(super) fn mark(&mut self, mark: Mark, (x, y): (f64, f64), radius: f64, colour: &str) {
        let fill = format!(r##"fill="{colour}" stroke="#ffffff" stroke-width="1""##);
        let stroke = format!(r#"fill="none" stroke="{colour}" stroke-width="2.2""#);
        let r = radius;
        match mark {
            Mark::Circle => self.add(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="{r}" {fill}/>"#)),
            Mark::Ring => self.add(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="{r}" {stroke}/>"#)),
            Mark::Square => self.shape(&[(-r, -r), (r, -r), (r, r), (-r, r)], (x, y), &fill),
            Mark::Diamond => {
                let r = 1.3 * r;
                self.shape(&[(0.0, -r), (r, 0.0), (0.0, r), (-r, 0.0)], (x, y), &fill);
            }
            Mark::Triangle => self.shape(&[(0.0, -1.25 * r), (1.2 * r, r), (-1.2 * r, r)], (x, y), &fill),
            Mark::Inverted => self.shape(&[(0.0, 1.25 * r), (1.2 * r, -r), (-1.2 * r, -r)], (x, y), &fill),
            Mark::Cross => {
                self.line((x - r, y - r), (x + r, y + r), colour, 2.2);
                self.line((x - r, y + r), (x + r, y - r), colour, 2.2);
            }
            Mark::Plus => {
                self.line((x - 1.2 * r, y), (x + 1.2 * r, y), colour, 2.2);
                self.line((x, y - 1.2 * r), (x, y + 1.2 * r), colour, 2.2);
            }
        }
    }

    fn shape(&mut self, corners: &[(f64, f64)], (x, y): (f64, f64), style: &str) {
        let corners: Vec<String> = corners.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
        self.add(format_args!(r#"<polygon points="{}" {style}/>"#, corners.join(" ")));
    }

    /// The document.
    pub(super) fn svg(&self) -> String {
        let (width, height, body) = (self.width, self.height, &self.body);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"DejaVu Sans, Verdana, sans-serif\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
        )
    }
}

/// How numbers become places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// The least number and the largest.
    pub(super) numbers: (f64, f64),
    /// Where they stand.
    pub(super) places: (f64, f64),
    /// Whether the square root decides, so that what is small and what is large can both be read, and zero has a place.
    pub(super) root: bool,
}

impl Axis {
    pub(super) fn place(&self, number: f64) -> f64 {
        let bend = |number: f64| if self.root { number.max(0.0).sqrt() } else { number };
        let ((least, most), (from, to)) = (self.numbers, self.places);
        let share = (bend(number) - bend(least)) / (bend(most) - bend(least));
        from + share.clamp(0.0, 1.0) * (to - from)
    }

    /// Round numbers on it, about so many: on a root axis those that keep apart.
    pub(super) fn ticks(&self, about: f64) -> Vec<f64> {
        let (least, most) = self.numbers;
        if self.root {
            let round = [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0];
            let mut kept: Vec<f64> = Vec::new();
            for tick in round.into_iter().filter(|tick| (least..=most).contains(tick)) {
                let apart = |last: &f64| (self.place(tick) - self.place(*last)).abs() >= 34.0;
                if kept.last().is_none_or(apart) {
                    kept.push(tick);
                }
            }
            return kept;
        }
        let rough = (most - least).max(f64::MIN_POSITIVE) / about;
        let decade = libm::pow(10.0, libm::log10(rough).floor());
        let step = [1.0, 2.0, 5.0].map(|step| step * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * decade);
        let first = (least / step).ceil();
        (0..100).map(|number| (first + f64::from(number)) * step).take_while(|tick| *tick <= most + 1e-9).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_lie_on_the_axis() {
        let axis = |numbers| Axis { numbers, places: (0.0, 500.0), root: false };
        assert_eq!(axis((0.0, 9.3)).ticks(5.0), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(axis((17.0, 41.0)).ticks(5.0), [20.0, 25.0, 30.0, 35.0, 40.0]);
    }

    #[test]
    fn a_root_axis_has_a_place_for_zero_and_ticks_that_keep_apart() {
        let axis = Axis { numbers: (0.0, 0.25), places: (0.0, 500.0), root: true };
        assert!(axis.place(0.0).abs() < 1e-9 && (axis.place(0.0625) - 250.0).abs() < 1e-9);
        let ticks = axis.ticks(5.0);
        assert!(ticks.contains(&0.0) && ticks.contains(&0.2), "{ticks:?}");
        assert!(ticks.windows(2).all(|pair| axis.place(pair[1]) - axis.place(pair[0]) >= 34.0), "{ticks:?}");
    }

    #[test]
    fn of_a_level_stretch_the_ends_are_drawn() {
        let mut canvas = Canvas::new(10.0, 10.0);
        let points = [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (3.0, 5.0), (4.0, 6.0), (5.0, 6.0)];
        canvas.path(points, colour::INK, 1.0);
        assert!(canvas.svg().contains(r#"points="0.0,1.0 3.0,1.0 3.0,5.0 4.0,6.0 5.0,6.0""#), "{}", canvas.svg());
    }

    #[test]
    fn words_cannot_break_the_document() {
        let mut canvas = Canvas::new(10.0, 10.0);
        canvas.words((0.0, 0.0), Anchor::Start, colour::INK, "a < b & c");
        assert!(canvas.svg().contains("a &lt; b &amp; c"));
    }
}
