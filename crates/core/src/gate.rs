//! Gate: the confidence gate that the benchmark's figures were published for, as a method to compare with.
//!
//! Prediction alone sizes for the demand that is expected, with the steady state's 99th percentile below `SIZED` of the promise. A floor
//! on utilization stands below it, the lower the better the forecast was: with the mean relative error of the last five windows,
//! `confidence = clamp((HIGH − err) / (HIGH − LOW), 0, 1)` and `utilization = LOOSE + confidence · (TIGHT − LOOSE)`.
//! The calibration is the one that reproduces the published figures. It knows no price, no band and no jumps.

use crate::plan::Outset;
use crate::policy::Objective;
use crate::queue::Curve;
use crate::unit::{Erlangs, Ratio, Replicas};

/// Of the promised percentile, what a size is chosen for: 165 of 200 ms.
const SIZED: Ratio = Ratio::permille(825);
/// Errors at which a forecast is trusted fully, and not at all.
const LOW: f64 = 0.02;
const HIGH: f64 = 0.10;
/// Utilization that the floor allows without confidence, and with all of it.
const LOOSE: f64 = 0.70;
const TIGHT: f64 = 0.86;

/// The size that the gate chooses: the larger of what prediction needs and of the floor.
pub(crate) fn size(objective: &Objective, curve: &Curve, outset: Outset<'_>) -> Replicas {
    let (demand, per_replica) = (outset.forecast.median, outset.per_replica);
    let confidence = ((HIGH - outset.forecast.missed_by.get()) / (HIGH - LOW)).clamp(0.0, 1.0);
    let utilization = Ratio::clamped(LOOSE + confidence * (TIGHT - LOOSE));
    let floor = (demand / per_replica / utilization).ceil().max(Replicas(1));
    // The floor allows no load above `TIGHT`: what is larger than twice the floor only a single queue's tail asks for.
    let (mut low, mut high) = ((demand / per_replica).ceil().max(Replicas(1)).0, floor.plus(floor.0).0);
    while low < high {
        let middle = low.midpoint(high);
        if curve.latency(Erlangs::whole(middle), demand) > objective.latency * SIZED {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Replicas(low).max(floor)
}
