//! Axes: from where to where, how it is divided, and what is written beside it.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use tare_evidence::units::{percent, time, whole};

/// What an axis shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub name: &'static str,
    pub unit: Unit,
    pub scale: Scale,
}

/// What a figure is of, and by that how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// In milliseconds.
    Time,
    Seconds,
    /// From 0 to 1.
    Share,
    Number,
}

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    /// By factors.
    Logarithmic,
    /// By how little is left to one: 90 %, 99 %, 99.9 % are equally far apart.
    Nines,
}

/// The closest to all that [`Scale::Nines`] shows.
const MOST_NINES: f64 = 5.0;
/// Marks along an axis without factors, about.
const TICKS: f64 = 6.0;
/// Figures beyond it are not shown, and those as near to zero are zero: between them there are no steps that can be told.
const GREATEST: f64 = 1e300;

impl Unit {
    fn shown(self, value: f64) -> String {
        match self {
            _ if value == 0.0 => "0".into(),
            Self::Time if value >= 1e3 => format!("{} s", shortest(value / 1e3)),
            Self::Time => time_of_a_tick(value),
            Self::Seconds => format!("{} s", shortest(value)),
            Self::Share => percent_of_a_tick(value),
            Self::Number if value.abs() < 10.0 => shortest(value),
            Self::Number if value < 0.0 => format!("−{}", whole(value)),
            Self::Number => whole(value),
        }
    }
}

/// Ticks are round: `5 ms` and not `5.00 ms`.
fn time_of_a_tick(milliseconds: f64) -> String {
    let shown = time(milliseconds);
    let Some((number, unit)) = shown.split_once(' ') else { return shown };
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}")
}

fn percent_of_a_tick(share: f64) -> String {
    let fine = share > 0.9994;
    if fine { format!("{} %", shortest((share * 1e7).round() / 1e5)) } else { percent(share) }
}

fn shortest(value: f64) -> String {
    format!("{}", (value * 1e4).round() / 1e4)
}

/// An axis of which it is known from where to where it goes.
#[derive(Clone, Debug)]
pub(super) struct Ruler {
    /// In figures.
    range: Range<f64>,
    scale: Scale,
    ticks: Vec<(f64, String)>,
}

impl Ruler {
    /// As long as `values` ask for; nothing where there is none that it can show.
    pub fn over(axis: &Axis, values: impl Iterator<Item = f64>) -> Option<Self> {
        let scale = axis.scale;
        let values = values.filter_map(shown).filter(|value| scale != Scale::Logarithmic || *value > 0.0);
        let (least, most) = values.fold(None, |ends: Option<(f64, f64)>, value| {
            Some(ends.map_or((value, value), |(least, most)| (least.min(value), most.max(value))))
        })?;
        let (range, ticks) = match scale {
            Scale::Linear => linear(least, most),
            Scale::Logarithmic => logarithmic(least, most),
            Scale::Nines => nines(most),
        };
        let ticks = ticks.into_iter().map(|tick| (tick, axis.unit.shown(tick))).collect();
        Some(Self { range, scale, ticks })
    }

    /// With a name in the middle of each of so many rows, the first on top.
    pub fn of_rows(names: Vec<String>) -> Self {
        let middles = names.into_iter().enumerate().map(|(nth, name)| (nth as f64 + 0.5, name));
        let ticks: Vec<_> = middles.collect();
        Self { range: ticks.len() as f64..0.0, scale: Scale::Linear, ticks }
    }

    /// Within the axis.
    pub fn clamped(&self, value: f64) -> f64 {
        let (least, most) = (self.range.start.min(self.range.end), self.range.start.max(self.range.end));
        value.clamp(least, most)
    }

    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.ln(),
            Scale::Nines => -(1.0 - value).max(10_f64.powf(-MOST_NINES)).log10(),
        }
    }

    pub fn ticks(&self) -> usize {
        self.ticks.len()
    }
}

impl Ranged for Ruler {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let (start, end) = (self.place(self.range.start), self.place(self.range.end));
        let share = (self.place(self.clamped(*value)) - start) / (end - start);
        first + (f64::from(last - first) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(tick, _)| *tick).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Ruler {
    fn format_ext(&self, value: &f64) -> String {
        let known = self.ticks.iter().find(|(tick, _)| tick == value);
        known.map(|(_, shown)| shown.clone()).unwrap_or_default()
    }
}

/// `value` as an axis can show it.
fn shown(value: f64) -> Option<f64> {
    match value.abs() {
        small if small < 1.0 / GREATEST => Some(0.0),
        other => (other <= GREATEST).then_some(value),
    }
}

/// From zero, or from below it where there is something, in steps of 1, 2 or 5.
fn linear(least: f64, most: f64) -> (Range<f64>, Vec<f64>) {
    let (least, most) = (least.min(0.0), most.max(0.0));
    let most = if least == most { 1.0 } else { most };
    let rough = (most - least) / TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(power);
    let (first, last) = ((least / step).floor(), (most / step).ceil());
    let ticks = (first as i64..=last as i64).map(|nth| nth as f64 * step).collect();
    (first * step..last * step, ticks)
}

/// From one power of ten to another; what is between two powers of ten is also marked where there are few.
fn logarithmic(least: f64, most: f64) -> (Range<f64>, Vec<f64>) {
    let (first, last) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    let last = last.max(first + 1);
    let factors: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    // So that their names do not run into one another.
    let every = ((last - first) as usize).div_ceil(8);
    let powers = (first..=last).step_by(every);
    let ticks = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
    let range = 10_f64.powi(first)..10_f64.powi(last);
    let ticks = ticks.filter(|tick| *tick <= range.end * 1.001).collect();
    (range, ticks)
}

/// From none to as close to all as `most` comes.
fn nines(most: f64) -> (Range<f64>, Vec<f64>) {
    let all = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
    let end = all.into_iter().find(|tick| *tick >= most).unwrap_or(0.99999).max(0.9);
    (0.0..end, all.into_iter().filter(|tick| *tick <= end).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruler(unit: Unit, scale: Scale, values: &[f64]) -> Vec<String> {
        let ruler = Ruler::over(&Axis { name: "", unit, scale }, values.iter().copied()).unwrap();
        ruler.ticks.into_iter().map(|(_, shown)| shown).collect()
    }

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        assert_eq!(ruler(Unit::Time, Scale::Linear, &[0.3, 24.0]), ["0", "5 ms", "10 ms", "15 ms", "20 ms", "25 ms"]);
        let decades = ["100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"];
        assert_eq!(ruler(Unit::Time, Scale::Logarithmic, &[0.0002, 3000.0]), decades);
        assert_eq!(ruler(Unit::Time, Scale::Logarithmic, &[2.0, 7.0]), ["1 ms", "2 ms", "5 ms", "10 ms"]);
        assert_eq!(ruler(Unit::Share, Scale::Linear, &[-0.1, 0.5])[..2], ["-10 %", "0"]);
        assert_eq!(
            ruler(Unit::Share, Scale::Nines, &[0.5, 0.9995]),
            ["0", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
        );
    }

    #[test]
    fn figures_that_are_out_of_all_proportion_have_few_ticks() {
        for values in [[0.0, 5e-324], [-1.7e308, 1.7e308], [1e-300, 1e300], [-1e300, 1e300], [5e-324, 1.7e308]] {
            for scale in [Scale::Linear, Scale::Logarithmic, Scale::Nines] {
                let axis = Axis { name: "", unit: Unit::Number, scale };
                let Some(ruler) = Ruler::over(&axis, values.into_iter()) else { continue };
                assert!((2..20).contains(&ruler.ticks()), "{values:?} {scale:?} {}", ruler.ticks());
                assert!((0..=100).contains(&ruler.map(&values[0], (0, 100))), "{values:?} {scale:?}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_has_no_place() {
        let axis = Axis { name: "", unit: Unit::Time, scale: Scale::Logarithmic };
        assert!(Ruler::over(&axis, [f64::NAN, f64::INFINITY, 0.0, -1.0].into_iter()).is_none());
        let ruler = Ruler::over(&axis, [f64::NAN, 2.0].into_iter()).unwrap();
        assert_eq!((ruler.map(&1.0, (0, 100)), ruler.map(&10.0, (0, 100)), ruler.map(&0.0, (0, 100))), (0, 100, 0));
    }
}
