//! What distance does to a time: time = work + round trips × distance.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far the fitted round trips may be from those counted: a share of them, or of one where none was counted.
const TOLERANCE: f64 = 0.05;

/// What a bench counted of one iteration, and measured at several distances. It is written beside Criterion's files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counted {
    /// Round trips of one iteration; exact.
    pub round_trips: u64,
    /// Bytes to the server and back of one iteration; nothing where it never speaks, or where they are not the same each time.
    pub wire_bytes: Option<u64>,
    /// How often one iteration asks for memory; nothing where it is not the same each time.
    pub allocations: Option<u64>,
    /// Times at distances; none where only the round trips were counted.
    pub points: Vec<Point>,
}

/// How long one iteration takes at one distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Round-trip time of the network, in milliseconds.
    pub distance_ms: f64,
    /// Time of one iteration, in milliseconds.
    pub time_ms: f64,
}

/// The line through times at several distances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Law {
    /// What it was fitted to.
    pub points: Vec<Point>,
    /// Time at no distance, in milliseconds; never negative.
    pub work_ms: f64,
    /// The slope: as many round trips' worth of distance is waited for.
    pub round_trips: f64,
    /// Root mean square of the points' distances from the line, in milliseconds.
    pub error_ms: f64,
}

impl Counted {
    /// The law its points follow; nothing when they are all at one distance.
    pub fn law(&self) -> Option<Law> {
        Law::fit(&self.points)
    }
}

impl Law {
    /// By least squares, each point counting as much as any other: the distance is put in by a timer, whose error does
    /// not grow with it, so that far points are as sure as near ones, and tell more of the slope. A line that would
    /// begin below zero is fitted again from zero, for work takes some time.
    fn fit(points: &[Point]) -> Option<Self> {
        let first = points.first()?.distance_ms;
        if points.iter().all(|point| point.distance_ms == first) {
            return None;
        }
        let mean = |of: &dyn Fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
        let (distance, time) = (mean(&|point| point.distance_ms), mean(&|point| point.time_ms));
        // The slope of the best line through a given place.
        let slope_through = |distance: f64, time: f64| {
            mean(&|point| (point.distance_ms - distance) * (point.time_ms - time))
                / mean(&|point| (point.distance_ms - distance).powi(2))
        };
        let slope = slope_through(distance, time);
        let (work_ms, round_trips) = match time - slope * distance {
            negative if negative < 0.0 => (0.0, slope_through(0.0, 0.0)),
            work => (work, slope),
        };
        let error_ms = mean(&|point| (point.time_ms - work_ms - round_trips * point.distance_ms).powi(2)).sqrt();
        Some(Self { points: points.to_vec(), work_ms, round_trips, error_ms })
    }

    /// The time of one iteration with a round-trip time of `distance_ms`, in milliseconds.
    pub fn at(&self, distance_ms: f64) -> f64 {
        // Of a bench without round trips the slope is noise, which may fall.
        (self.work_ms + self.round_trips * distance_ms).max(0.0)
    }

    /// Whether the slope is what was counted, give or take 5 %, or 0.05 where nothing was counted.
    pub fn agrees_with(&self, counted: u64) -> bool {
        let counted = counted as f64;
        (self.round_trips - counted).abs() <= TOLERANCE * counted.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(points: &[(f64, f64)]) -> Option<Law> {
        let points = points.iter().map(|&(distance_ms, time_ms)| Point { distance_ms, time_ms }).collect();
        Counted { points, ..Counted::default() }.law()
    }

    #[test]
    fn a_line_is_found_again_and_goes_on_beyond_its_points() {
        let law = law(&[(0.0, 9.0), (10.0, 69.0), (50.0, 309.0)]).unwrap();
        assert!((law.work_ms - 9.0).abs() < 1e-9 && (law.round_trips - 6.0).abs() < 1e-9 && law.error_ms < 1e-9);
        assert!((law.at(120.0) - 729.0).abs() < 1e-6);
    }

    #[test]
    fn the_error_is_how_far_points_are_from_the_line() {
        let law = law(&[(0.0, 4.0), (0.0, 6.0), (10.0, 24.0), (10.0, 26.0)]).unwrap();
        assert_eq!((law.work_ms, law.round_trips, law.error_ms), (5.0, 2.0, 1.0));
    }

    #[test]
    fn one_distance_is_no_line() {
        assert_eq!((law(&[]), law(&[(50.0, 300.0), (50.0, 301.0)])), (None, None));
    }

    #[test]
    fn work_is_never_negative() {
        let law = law(&[(10.0, 58.0), (20.0, 121.0)]).unwrap();
        assert_eq!(law.work_ms, 0.0);
        assert!((law.round_trips - 6.0).abs() < 0.01, "the slope is that of a line from zero: {}", law.round_trips);
        let falling = Law { work_ms: 1.0, round_trips: -0.1, ..Law::default() };
        assert_eq!(falling.at(100.0), 0.0);
    }

    #[test]
    fn five_per_cent_apart_still_agree() {
        let agrees = |round_trips, counted| Law { round_trips, ..Law::default() }.agrees_with(counted);
        assert!(agrees(6.29, 6) && agrees(5.71, 6) && agrees(-0.05, 0));
        assert!(!agrees(6.31, 6) && !agrees(5.69, 6) && !agrees(0.06, 0));
    }
}
