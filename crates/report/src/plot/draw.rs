//! Pictures as SVG.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Ruler;
use super::{Axis, Chart, Line, Mark, Plot, Row};

/// Pixels: as wide as a page's column, and on a phone to be moved below one's finger.
const WIDTH: u32 = 760;
const HEIGHT: u32 = 360;
/// Of one row.
const ROW: u32 = 24;
/// Of one character, about.
const CHARACTER: u32 = 8;
/// What of a row's name is shown.
const LONGEST_NAME: usize = 34;
const TEXT: u32 = 14;

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
        let area = legend(area, lines.iter().map(|line| &*line.name))?;
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
            let style = COLOURS[nth % COLOURS.len()].stroke_width(2);
            let points = line.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
            match is_dashed(nth) {
                true => drop(chart.draw_series(DashedLineSeries::new(points, 7, 4, style))?),
                false => drop(chart.draw_series(LineSeries::new(points, style))?),
            }
        }
        area.present()?;
        Ok(())
    };
    Some(drawn())
}

fn draw_rows(text: &mut String, x: &Axis, series: &[String], rows: &[Row]) -> Option<Drawn> {
    let marks = || rows.iter().flat_map(|row| &row.marks).filter(|mark| mark.is_finite());
    let ends = |mark: &Mark| {
        [Some(mark.from), Some(mark.to), mark.interval.map(|ends| ends[0]), mark.interval.map(|ends| ends[1])]
    };
    let across = Ruler::over(x, marks().flat_map(ends).flatten())?;
    let down = Ruler::of_rows(rows.iter().map(|row| shortened(&row.name)).collect());
    let widest = rows.iter().map(|row| shortened(&row.name).chars().count()).max().unwrap_or(0) as u32;
    let mut drawn = || {
        let below_the_rows = 100;
        let area = SVGBackend::with_string(text, (WIDTH, ROW * rows.len() as u32 + below_the_rows)).into_drawing_area();
        let area = legend(area, series.iter().map(|name| &**name))?;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(36)
            .margin_top(8)
            .x_label_area_size(48)
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
                let style = COLOURS[mark.series % COLOURS.len()].filled();
                match mark.from == mark.to {
                    true => drop(chart.draw_series([Circle::new((mark.to, middle), 5, style)])?),
                    false => {
                        let corners = [(across.clamped(mark.from), nth as f64 + 0.2), (mark.to, nth as f64 + 0.8)];
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

/// Names with their colours in a line on top, where there are several; and what is left below.
fn legend<'a, 'b>(
    area: Area<'a>,
    names: impl Iterator<Item = &'b str> + Clone,
) -> Result<Area<'a>, Box<dyn std::error::Error>> {
    if names.clone().count() < 2 {
        return Ok(area);
    }
    let (top, below) = area.split_vertically(26);
    let written = ("sans-serif", TEXT, &INK).into_text_style(&top).pos(Pos::new(HPos::Left, VPos::Center));
    let mut at = 12;
    for (nth, name) in names.enumerate() {
        let colour = COLOURS[nth % COLOURS.len()];
        let (name, middle) = (shortened(name), 14);
        let parts = if is_dashed(nth) { vec![(at, at + 8), (at + 12, at + 20)] } else { vec![(at, at + 20)] };
        for (from, to) in parts {
            top.draw(&Rectangle::new([(from, middle - 2), (to, middle + 2)], colour.filled()))?;
        }
        top.draw(&Text::new(name.clone(), (at + 26, middle), written.clone()))?;
        at += 26 + (name.chars().count() as u32 * CHARACTER) as i32 + 18;
    }
    Ok(below)
}

/// Every other one, for lines to differ by more than their colour.
const fn is_dashed(nth: usize) -> bool {
    nth % 2 == 1
}

fn shortened(name: &str) -> String {
    match name.chars().count() > LONGEST_NAME {
        true => name.chars().take(LONGEST_NAME - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
