//! Plots as SVG that takes its text colour from the page, so that it reads on light and on dark.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::{Axis, Plot, Scale, Series, Style};

const SIZE: (u32, u32) = (900, 560);

/// Stands for the page's text colour until the drawing is done; nothing else is drawn in it.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_IN_SVG: &str = "#010203";
const INK_IN_PAGE: &str = "currentColor";

/// Colours that keep their distance on light and dark and for most kinds of colour blindness.
const COLOURS: [RGBColor; 7] = [
    RGBColor(58, 123, 213),
    RGBColor(226, 115, 38),
    RGBColor(30, 158, 119),
    RGBColor(200, 80, 160),
    RGBColor(140, 110, 220),
    RGBColor(190, 150, 20),
    RGBColor(128, 128, 128),
];

/// Room beside the outermost points, as a part of the axis.
const MARGIN: f64 = 0.04;

/// Draws `plot`; values that an axis cannot show are left out.
///
/// # Errors
/// Where the drawing library fails.
pub(super) fn svg(plot: &Plot) -> Result<String> {
    let shown: Vec<Series> = plot
        .series
        .iter()
        .map(|series| shown_part(series, plot))
        .collect();
    let points = || shown.iter().flat_map(|series| &series.points);
    let x = range(points().map(|point| point.0), plot.x.scale);
    let y = range(points().map(|point| point.1), plot.y.scale);
    let mut out = String::new();
    {
        let root = SVGBackend::with_string(&mut out, SIZE).into_drawing_area();
        match (plot.x.scale, plot.y.scale) {
            (Scale::Linear, Scale::Linear) => draw(&root, plot, &shown, x, y),
            (Scale::Linear, Scale::Log) => draw(&root, plot, &shown, x, y.log_scale()),
            (Scale::Log, Scale::Linear) => draw(&root, plot, &shown, x.log_scale(), y),
            (Scale::Log, Scale::Log) => draw(&root, plot, &shown, x.log_scale(), y.log_scale()),
        }?;
        root.present().map_err(failed)?;
    }
    Ok(out.replace(INK_IN_SVG, INK_IN_PAGE))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw<X, Y>(root: &Area<'_>, plot: &Plot, shown: &[Series], x: X, y: Y) -> Result<()>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(root)
        .margin(12)
        .x_label_area_size(52)
        .y_label_area_size(76)
        .build_cartesian_2d(x, y)
        .map_err(failed)?;
    let font = |size: u32| ("sans-serif", size).into_font().color(&INK);
    chart
        .configure_mesh()
        .x_desc(plot.x.label.as_str())
        .y_desc(plot.y.label.as_str())
        .axis_style(INK.mix(0.6))
        .bold_line_style(INK.mix(0.15))
        .light_line_style(INK.mix(0.05))
        .label_style(font(14))
        .axis_desc_style(font(16))
        .x_label_formatter(&|value| tick(*value, &plot.x))
        .y_label_formatter(&|value| tick(*value, &plot.y))
        .draw()
        .map_err(failed)?;
    for (idx, series) in shown.iter().enumerate() {
        let colour = COLOURS[idx % COLOURS.len()];
        let line_width = match series.style {
            Style::Curve => 2,
            Style::Bound => 1,
            Style::Points => 0,
        };
        if line_width > 0 {
            let line = LineSeries::new(
                series.points.iter().copied(),
                colour.stroke_width(line_width),
            );
            let drawn = chart.draw_series(line).map_err(failed)?;
            drawn.label(&series.name).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(line_width + 1))
            });
        }
        if series.style != Style::Bound {
            let dots = series
                .points
                .iter()
                .map(|&point| Circle::new(point, 4, colour.filled()));
            let drawn = chart.draw_series(dots).map_err(failed)?;
            if series.style == Style::Points {
                drawn
                    .label(&series.name)
                    .legend(move |(x, y)| Circle::new((x + 11, y), 4, colour.filled()));
            }
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(font(14))
        .border_style(TRANSPARENT)
        .background_style(TRANSPARENT)
        .draw()
        .map_err(failed)
}

fn shown_part(series: &Series, plot: &Plot) -> Series {
    let fits =
        |value: f64, axis: &Axis| value.is_finite() && (axis.scale == Scale::Linear || value > 0.0);
    let mut shown = series.clone();
    shown
        .points
        .retain(|&(x, y)| fits(x, &plot.x) && fits(y, &plot.y));
    shown
}

/// From the least to the greatest value with room on both sides; never empty.
fn range(values: impl Iterator<Item = f64>, scale: Scale) -> Range<f64> {
    let into = |value: f64| {
        if scale == Scale::Log {
            value.ln()
        } else {
            value
        }
    };
    let back = |value: f64| {
        if scale == Scale::Log {
            value.exp()
        } else {
            value
        }
    };
    let empty = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values.map(into).fold(empty, |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let room = if high > low {
        (high - low) * MARGIN
    } else {
        0.5
    };
    back(low - room)..back(high + room)
}

/// A number at an axis: short, and on a logarithmic one with as few digits as tell it.
fn tick(value: f64, axis: &Axis) -> String {
    match axis.scale {
        Scale::Linear => format!("{:.3}", value)
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_string(),
        Scale::Log => {
            // Marks are reckoned, so that 0.3 is 0.30000000000000004: three digits count.
            let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
            match (1e-3..1e4).contains(&rounded) {
                true => rounded.to_string(),
                false => format!("{rounded:e}"),
            }
        }
    }
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

#[cfg(test)]
mod tests {
    use super::super::Section;
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn marks_are_short() {
        let axis = |scale| Axis {
            scale,
            ..sample_plot().x
        };
        let (linear, log) = (axis(Scale::Linear), axis(Scale::Log));
        let of = |value| tick(value, &log);
        assert_eq!(of(0.1 + 0.2), "0.3");
        assert_eq!(of(7.0 * 0.1), "0.7");
        assert_eq!((of(1.0), of(200.0)), ("1".into(), "200".into()));
        assert_eq!((of(3e-5), of(2e4)), ("3e-5".into(), "2e4".into()));
        assert_eq!(tick(3.2000000000000006, &linear), "3.2");
    }

    fn sample_plot() -> Plot {
        let mut plots = sample()
            .sections
            .into_iter()
            .filter_map(|section| match section {
                Section::Plot(plot) => Some(plot),
                _ => None,
            });
        plots.next_back().unwrap()
    }

    #[test]
    fn every_series_and_axis_is_named() {
        let svg = svg(&sample_plot()).unwrap();
        for text in ["bits a weight", "nMSE", "codec", "others", "bound"] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
        assert!(svg.contains(INK_IN_PAGE) && !svg.contains(INK_IN_SVG));
    }

    #[test]
    fn what_cannot_be_shown_is_left_out() {
        let mut plot = sample_plot();
        plot.series[0].points.extend([
            (f64::NAN, 0.1),
            (2.0, 0.0),
            (2.0, -1.0),
            (1.0, f64::INFINITY),
        ]);
        assert_eq!(svg(&plot).unwrap(), svg(&sample_plot()).unwrap());
    }

    #[test]
    fn plots_of_nothing_and_of_one_point_are_drawn() {
        let mut plot = sample_plot();
        plot.series.truncate(1);
        plot.series[0].points.truncate(1);
        svg(&plot).unwrap();
        plot.series.clear();
        for scale in [Scale::Linear, Scale::Log] {
            (plot.x.scale, plot.y.scale) = (scale, scale);
            svg(&plot).unwrap();
        }
    }

    #[test]
    fn ranges_have_room() {
        let check = |values: &[f64], scale, low: f64, high: f64| {
            let range = range(values.iter().copied(), scale);
            assert!(
                (range.start - low).abs() < 1e-9 && (range.end - high).abs() < 1e-9,
                "{range:?}"
            );
        };
        check(&[0.0, 1.0], Scale::Linear, -0.04, 1.04);
        check(&[2.0], Scale::Linear, 1.5, 2.5);
        check(
            &[1.0, 1.0_f64.exp()],
            Scale::Log,
            (-0.04_f64).exp(),
            1.04_f64.exp(),
        );
    }
}
