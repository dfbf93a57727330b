//! Curves as pictures.

use std::path::Path;

use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::{
    BLACK, ChartBuilder, Color, IntoDrawingArea, LineSeries, PathElement, RGBColor, SVGBackend, WHITE,
};

use super::curve::Curve;

const SIZE: (u32, u32) = (860, 460);
const COLOURS: [RGBColor; 4] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
];
/// The left end of the time axis, in seconds.
const FROM: f64 = 0.01;

/// Draws the curves into an SVG file: the time on a logarithmic axis, the fraction upwards.
///
/// # Errors
/// When the file cannot be written; in words.
pub(super) fn draw(path: &Path, title: &str, curves: &[Curve]) -> Result<(), String> {
    try_draw(path, title, curves).map_err(|error| format!("{}: {error}", path.display()))
}

fn try_draw(path: &Path, title: &str, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    let longest = curves.iter().filter_map(|curve| curve.after(1_000)).max();
    let to = longest
        .map_or(1.0, |longest| longest.as_secs_f64() * 1.3)
        .max(1.0);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(54)
        .build_cartesian_2d((FROM..to).log_scale(), 0.0..1.02)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("fraction")
        .x_label_formatter(&|seconds| format!("{seconds}"))
        .y_label_formatter(&|fraction| format!("{fraction:.1}"))
        .light_line_style(WHITE)
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(steps(curve, to), colour.stroke_width(2)))?
            .label(format!("{} ({})", curve.name, curve.total()))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .position(plotters::chart::SeriesLabelPosition::LowerRight)
        .draw()?;
    area.present()?;
    Ok(())
}

/// The curve as a staircase, from the left end of the axis to the right one.
fn steps(curve: &Curve, to: f64) -> Vec<(f64, f64)> {
    let mut steps = vec![(FROM, 0.0)];
    let mut height = 0.0;
    for (seconds, fraction) in curve.corners() {
        let seconds = seconds.max(FROM);
        steps.push((seconds, height));
        steps.push((seconds, fraction));
        height = fraction;
    }
    steps.push((to, height));
    steps
}
