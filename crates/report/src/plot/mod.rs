//! Pictures as data: what is drawn, and in words what is to be seen.

mod axis;
mod draw;

pub(crate) use self::axis::{Axis, Scale, Unit};
pub(crate) use self::draw::svg;

/// The colours of what is without fixes, and of what is with them.
pub(crate) const BEFORE: usize = 0;
pub(crate) const AFTER: usize = 1;

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plot {
    /// What it shows.
    pub title: String,
    /// For whoever cannot see it.
    pub description: String,
    pub chart: Chart,
}

/// What is drawn. Figures that are not finite are left out, and a chart without any is not drawn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Chart {
    /// Lines through points, from left to right.
    Lines { x: Axis, y: Axis, lines: Vec<Line> },
    /// Rows of marks, one below the other.
    Rows { x: Axis, series: Vec<Series>, rows: Vec<Row> },
}

/// What marks of one colour have in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub name: String,
    /// The number of a colour, and whether a light shade of it: for what the others stand beside.
    pub colour: usize,
    pub pale: bool,
}

impl Series {
    pub fn new(name: impl Into<String>, colour: usize) -> Self {
        Self { name: name.into(), colour, pale: false }
    }

    pub fn pale(name: impl Into<String>, colour: usize) -> Self {
        Self { pale: true, ..Self::new(name, colour) }
    }
}

/// A line, and its name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A row, and its name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub name: String,
    pub marks: Vec<Mark>,
}

/// A bar where it has a length, and a dot where it has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mark {
    /// Which of the chart's series it belongs to.
    pub series: usize,
    pub from: f64,
    pub to: f64,
    /// The interval that the end lies in.
    pub interval: Option<[f64; 2]>,
}

impl Mark {
    /// A dot, and the interval it lies in.
    pub fn dot(series: usize, at: f64, interval: Option<[f64; 2]>) -> Self {
        Self { series, from: at, to: at, interval }
    }

    fn is_finite(&self) -> bool {
        self.from.is_finite() && self.to.is_finite()
    }
}
