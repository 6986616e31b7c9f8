//! Pictures as SVG.

use plotters::coord::{CoordTranslate, Shift};
use plotters::prelude::*;
use plotters::series::LineSeries;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Ruler;
use super::{Axis, Chart, Line, Mark, Plot, Row, Series};

/// Pixels: as wide as a page's column, and on a phone to be moved below one's finger.
const WIDTH: u32 = 760;
const HEIGHT: u32 = 360;
/// Of one row.
const ROW: u32 = 24;
/// What is below the rows: the axis, its ticks and its name.
const BELOW: u32 = 60;
/// Of one character, about.
const CHARACTER: u32 = 9;
/// What of a row's name is shown.
const LONGEST_NAME: usize = 34;
const TEXT: u32 = 17;
/// A line of names, and where the first one begins.
const LINE: u32 = 24;
const INDENT: i32 = 12;
/// More points than this are a line, and need no marks.
const MARKED: usize = 12;

/// Told apart also by those who see fewer colours (Okabe and Ito, Color Universal Design, 2008). The page gives each another shade
/// where it is dark.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
];
/// Light shades of the first two.
const PALE: [RGBColor; 2] = [RGBColor(0xf2, 0xcd, 0xb0), RGBColor(0xa9, 0xcf, 0xe6)];
/// What is written, and the lines behind it.
const INK: RGBColor = RGBColor(0x1a, 0x1a, 0x1b);
const FAINT: RGBColor = RGBColor(0xdd, 0xdd, 0xdc);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// `plot` as SVG; nothing where it has no figure that can be drawn.
pub(crate) fn svg(plot: &Plot) -> Option<String> {
    let mut text = String::new();
    let drawn = match &plot.chart {
        Chart::Lines { x, y, lines } => draw_lines(&mut text, x, y, lines),
        Chart::Rows { x, series, rows } => draw_rows(&mut text, x, series, rows),
    };
    drawn?.ok()?;
    Some(text)
}

fn draw_lines(text: &mut String, x: &Axis, y: &Axis, lines: &[Line]) -> Option<Drawn> {
    let points = || lines.iter().flat_map(|line| &line.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let across = Ruler::over(x, points().map(|(x, _)| *x))?;
    let up = Ruler::over(y, points().map(|(_, y)| *y))?;
    let mut drawn = || {
        let area = SVGBackend::with_string(text, (WIDTH, HEIGHT)).into_drawing_area();
        let names: Vec<_> =
            lines.iter().enumerate().map(|(nth, line)| (&*line.name, colour(nth, false), Some(nth))).collect();
        let area = legend(area, &names)?;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(30)
            .margin_top(8)
            .x_label_area_size(48)
            .y_label_area_size(84)
            .build_cartesian_2d(across.clone(), up.clone())?;
        chart
            .configure_mesh()
            .x_labels(across.ticks())
            .y_labels(up.ticks())
            .max_light_lines(0)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .label_style(("sans-serif", TEXT, &INK))
            .x_desc(x.name)
            .y_desc(y.name)
            .draw()?;
        for (nth, line) in lines.iter().enumerate() {
            let colour = colour(nth, false);
            let points = || line.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
            chart.draw_series(LineSeries::new(points(), colour.stroke_width(2)))?;
            if line.points.len() <= MARKED {
                points().try_for_each(|at| mark(chart.plotting_area(), nth, at, colour))?;
            }
        }
        area.present()?;
        Ok(())
    };
    Some(drawn())
}

fn draw_rows(text: &mut String, x: &Axis, series: &[Series], rows: &[Row]) -> Option<Drawn> {
    let marks = || rows.iter().flat_map(|row| &row.marks).filter(|mark| mark.is_finite());
    let ends = |mark: &Mark| {
        [Some(mark.from), Some(mark.to), mark.interval.map(|ends| ends[0]), mark.interval.map(|ends| ends[1])]
    };
    let across = Ruler::over(x, marks().flat_map(ends).flatten())?;
    let down = Ruler::of_rows(rows.iter().map(|row| shortened(&row.name)).collect());
    let of_series = |nth: usize| series.get(nth).map_or(INK, |series| colour(series.colour, series.pale));
    let names: Vec<_> = (0..series.len()).map(|nth| (&*series[nth].name, of_series(nth), None)).collect();
    let widest = rows.iter().map(|row| shortened(&row.name).chars().count()).max().unwrap_or(0) as u32;
    let mut drawn = || {
        let height = ROW * rows.len() as u32 + BELOW + legend_height(&names);
        let area = SVGBackend::with_string(text, (WIDTH, height)).into_drawing_area();
        let area = legend(area, &names)?;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(36)
            .margin_top(8)
            .x_label_area_size(BELOW - 8)
            .y_label_area_size(widest * CHARACTER + 16)
            .build_cartesian_2d(across.clone(), down.clone())?;
        chart
            .configure_mesh()
            .x_labels(across.ticks())
            .y_labels(down.ticks())
            .max_light_lines(0)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .label_style(("sans-serif", TEXT, &INK))
            .x_desc(x.name)
            .draw()?;
        for (nth, row) in rows.iter().enumerate() {
            for mark in row.marks.iter().filter(|mark| mark.is_finite()) {
                let middle = nth as f64 + 0.5;
                let style = of_series(mark.series).filled();
                let thin = if series.get(mark.series).is_some_and(|series| series.pale) { 0.3 } else { 0.2 };
                match mark.from == mark.to {
                    true => drop(chart.draw_series([Circle::new((mark.to, middle), 5, style)])?),
                    false => {
                        let corners =
                            [(across.clamped(mark.from), nth as f64 + thin), (mark.to, nth as f64 + 1.0 - thin)];
                        chart.draw_series([Rectangle::new(corners, style)])?;
                    }
                }
                if let Some([lower, upper]) = mark.interval.filter(|ends| ends.iter().all(|end| end.is_finite())) {
                    let [lower, upper] = [lower, upper].map(|end| across.clamped(end));
                    let whisker = |points| PathElement::new(points, INK.stroke_width(2));
                    let tick = |at| whisker(vec![(at, middle - 0.15), (at, middle + 0.15)]);
                    chart.draw_series([whisker(vec![(lower, middle), (upper, middle)]), tick(lower), tick(upper)])?;
                }
            }
        }
        area.present()?;
        Ok(())
    };
    Some(drawn())
}

/// A name, its colour, and the number of its line where it is one.
type Named<'a> = (&'a str, RGBColor, Option<usize>);

/// Where each name is written: from the left, and in which line.
fn places(names: &[Named<'_>]) -> Vec<(i32, u32)> {
    let (mut at, mut line) = (INDENT, 0);
    let place = |(name, ..): &Named<'_>| {
        let wide = (shortened(name).chars().count() as u32 * CHARACTER) as i32 + 40;
        if at > INDENT && at + wide > WIDTH as i32 {
            (at, line) = (INDENT, line + 1);
        }
        let place = (at, line);
        at += wide;
        place
    };
    names.iter().map(place).collect()
}

/// One name says nothing that the title does not.
fn legend_height(names: &[Named<'_>]) -> u32 {
    match places(names).last() {
        Some((_, line)) if names.len() > 1 => (line + 1) * LINE,
        _ => 0,
    }
}

/// Names with their colours on top, where there are several; and what is left below.
fn legend<'a>(area: Area<'a>, names: &[Named<'_>]) -> Result<Area<'a>, Box<dyn std::error::Error>> {
    let height = legend_height(names);
    if height == 0 {
        return Ok(area);
    }
    let (top, below) = area.split_vertically(height);
    let written = ("sans-serif", TEXT, &INK).into_text_style(&top).pos(Pos::new(HPos::Left, VPos::Center));
    for ((name, colour, line), (left, row)) in names.iter().zip(places(names)) {
        let middle = (row * LINE + LINE / 2) as i32;
        match line {
            Some(nth) => {
                top.draw(&PathElement::new([(left, middle), (left + 20, middle)], colour.stroke_width(2)))?;
                mark(&top, *nth, (left + 10, middle), *colour)?;
            }
            None => top.draw(&Rectangle::new([(left + 4, middle - 6), (left + 16, middle + 6)], colour.filled()))?,
        }
        top.draw(&Text::new(shortened(name), (left + 26, middle), written.clone()))?;
    }
    Ok(below)
}

/// Marks a point of a line, for lines to differ by more than their colour.
fn mark<C: CoordTranslate>(
    area: &DrawingArea<SVGBackend<'_>, C>,
    nth: usize,
    at: C::From,
    colour: RGBColor,
) -> Result<(), Box<dyn std::error::Error>> {
    match nth % 3 {
        0 => area.draw(&Circle::new(at, 5, colour.filled()))?,
        1 => area.draw(&TriangleMarker::new(at, 7, colour.filled()))?,
        _ => area.draw(&Cross::new(at, 5, colour.stroke_width(2)))?,
    }
    Ok(())
}

fn colour(nth: usize, pale: bool) -> RGBColor {
    let full = COLOURS[nth % COLOURS.len()];
    if pale { PALE[nth % PALE.len()] } else { full }
}

fn shortened(name: &str) -> String {
    match name.chars().count() > LONGEST_NAME {
        true => name.chars().take(LONGEST_NAME - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
