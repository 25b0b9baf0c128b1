//! A small picture of one series: its newest values, what was expected, and where it went out of line. SVG is
//! written here and rendered to PNG with a font of our own, so that it looks the same on every machine. Pure.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::message::{clean, signal_words};
use crate::model::Anomaly;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 240;
/// The plot inside the picture.
const LEFT: f64 = 88.0;
const RIGHT: f64 = 624.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 204.0;

/// The chart of an anomaly as PNG; `None` with fewer than two values to draw.
pub fn png(anomaly: &Anomaly) -> Option<Vec<u8>> {
    render(&svg(anomaly)?)
}

fn render(svg: &str) -> Option<Vec<u8>> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(dejavu::sans::regular().to_vec());
        Arc::new(fonts)
    });
    let options = Options {
        fontdb: fonts.clone(),
        font_family: "DejaVu Sans".to_owned(),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).ok()?;
    let mut picture = Pixmap::new(WIDTH, HEIGHT)?;
    resvg::render(&tree, Transform::identity(), &mut picture.as_mut());
    picture.encode_png().ok()
}

/// From values and instants to places in the picture.
struct Scale {
    low: f64,
    high: f64,
    steps: f64,
}

impl Scale {
    fn y(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    fn x(&self, step: f64) -> f64 {
        LEFT + (step / self.steps).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

fn svg(anomaly: &Anomaly) -> Option<String> {
    let values: Vec<Option<f64>> =
        anomaly.evidence.recent.iter().map(|v| v.filter(|v| v.is_finite())).collect();
    if values.iter().flatten().count() < 2 {
        return None;
    }
    let band = [anomaly.expected - anomaly.spread, anomaly.expected + anomaly.spread]
        .map(|edge| if edge.is_finite() { edge } else { anomaly.expected });
    let seen = || values.iter().flatten().copied().chain(band).filter(|v| v.is_finite());
    let highest = seen().fold(f64::NEG_INFINITY, f64::max);
    let lowest = seen().fold(f64::INFINITY, f64::min).min(0.0);
    let high = if highest > lowest { highest } else { lowest + 1.0 };
    let steps = f64::from(u32::try_from(values.len() - 1).ok()?);
    let scale = Scale { low: lowest, high, steps };
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="DejaVu Sans" font-size="13"><rect width="100%" height="100%" fill="#ffffff"/>"##
    );
    let title = format!(
        "{} {}: {} now, {} expected",
        clean(&anomaly.series.service, 30),
        clean(signal_words(&anomaly.series.signal), 24),
        anomaly.unit.show(anomaly.current),
        anomaly.unit.show(anomaly.expected)
    );
    text(&mut svg, (16.0, 24.0), "start", &title);
    draw_band(&mut svg, &scale, band, anomaly.expected);
    for edge in [scale.low, scale.high] {
        text(&mut svg, (LEFT - 8.0, scale.y(edge) + 5.0), "end", &anomaly.unit.show(edge));
    }
    draw_times(&mut svg, &scale, anomaly, values.len());
    draw_values(&mut svg, &scale, &values);
    svg.push_str("</svg>");
    Some(svg)
}

fn draw_band(svg: &mut String, scale: &Scale, band: [f64; 2], expected: f64) {
    let [low, high] = band.map(|edge| scale.y(edge));
    let (top, height, width) = (high.min(low), (high - low).abs().max(2.0), RIGHT - LEFT);
    element(
        svg,
        &format!(
            r##"<rect x="{LEFT}" y="{top:.1}" width="{width}" height="{height:.1}" fill="#cfe3f7"/>"##
        ),
    );
    if expected.is_finite() {
        let y = scale.y(expected);
        element(
            svg,
            &format!(
                r##"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="#5b8fc0" stroke-dasharray="5 4"/>"##
            ),
        );
    }
    element(
        svg,
        &format!(r##"<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="#888888"/>"##),
    );
}

/// The ends of the time axis, and the onset.
fn draw_times(svg: &mut String, scale: &Scale, anomaly: &Anomaly, count: usize) {
    let Some(from) = anomaly.evidence.recent_from else { return };
    let to = anomaly.window.1;
    let below = BOTTOM + 20.0;
    text(svg, (LEFT, below), "start", &from.format("%H:%M UTC").to_string());
    text(svg, (RIGHT, below), "end", &to.format("%H:%M UTC").to_string());
    let length = (to - from).num_milliseconds();
    let (Ok(count), true) = (u32::try_from(count), length > 0) else { return };
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of some hours")]
    let share = (anomaly.onset - from).num_milliseconds() as f64 / length as f64;
    if !(0.0..=1.0).contains(&share) {
        return;
    }
    let x = scale.x(share * f64::from(count));
    element(
        svg,
        &format!(r##"<path d="M{x:.1} {TOP}V{BOTTOM}" stroke="#c0392b" stroke-dasharray="2 3"/>"##),
    );
    let onset = format!("since {}", anomaly.onset.format("%H:%M"));
    let anchor = if x > f64::midpoint(LEFT, RIGHT) { "end" } else { "start" };
    let beside = if anchor == "end" { x - 6.0 } else { x + 6.0 };
    text(svg, (beside, TOP + 12.0), anchor, &onset);
}

/// The values as lines with gaps, and the last one as a dot.
fn draw_values(svg: &mut String, scale: &Scale, values: &[Option<f64>]) {
    let mut path = String::new();
    let mut pen_down = false;
    let mut last = None;
    for (index, value) in values.iter().enumerate() {
        let step = f64::from(u32::try_from(index).unwrap_or(u32::MAX));
        let Some(value) = value else {
            pen_down = false;
            continue;
        };
        let (x, y) = (scale.x(step), scale.y(*value));
        let command = if pen_down { 'L' } else { 'M' };
        // A point alone between gaps is a line of no length, which round caps show as a dot.
        let alone = if pen_down { "" } else { "h0" };
        element(&mut path, &format!("{command}{x:.1} {y:.1}{alone}"));
        pen_down = true;
        last = Some((x, y));
    }
    element(
        svg,
        &format!(
            r##"<path d="{path}" fill="none" stroke="#1a1a1a" stroke-width="2" stroke-linecap="round"/>"##
        ),
    );
    if let Some((x, y)) = last {
        element(svg, &format!(r##"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="#c0392b"/>"##));
    }
}

fn element(svg: &mut String, markup: &str) {
    svg.push_str(markup);
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // Writing into a String cannot fail.
    write!(
        svg,
        r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="#1a1a1a">{escaped}</text>"##
    )
    .unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use resvg::tiny_skia::Pixmap;

    use super::*;
    use crate::model::Unit;
    use crate::notify::samples::outage;

    fn dark(picture: &Pixmap, rows: std::ops::Range<u32>, columns: std::ops::Range<u32>) -> usize {
        let is_dark = |x, y| {
            picture.pixel(x, y).is_some_and(|p| p.red() < 96 && p.green() < 96 && p.blue() < 96)
        };
        rows.flat_map(|y| columns.clone().map(move |x| (x, y)))
            .filter(|(x, y)| is_dark(*x, *y))
            .count()
    }

    #[test]
    fn the_picture_has_a_title_axes_and_a_line() {
        let png = png(&outage().members[0].anomaly).unwrap();
        let picture = Pixmap::decode_png(&png).unwrap();
        assert_eq!((picture.width(), picture.height()), (WIDTH, HEIGHT));
        // Without a font, texts vanish silently: the title, and the times below the axis, must leave ink.
        assert!(dark(&picture, 8..30, 16..400) > 500);
        assert!(dark(&picture, 208..230, 88..200) > 100);
        assert!(dark(&picture, 45..203, 100..620) > 300);
        assert!(png.len() < 40_000, "{} bytes", png.len());
    }

    #[test]
    fn hostile_names_stay_text() {
        let mut anomaly = outage().members[0].anomaly.clone();
        anomaly.series.service = "</text><image href='file:///etc/passwd'/>&".into();
        let svg = svg(&anomaly).unwrap();
        assert!(!svg.contains("<image"), "{svg}");
        assert!(render(&svg).is_some());
    }

    #[test]
    fn odd_numbers_are_drawn_or_declined() {
        let mut anomaly = outage().members[0].anomaly.clone();
        anomaly.unit = Unit::Count;
        anomaly.evidence.recent = vec![Some(3.0), Some(3.0)];
        (anomaly.expected, anomaly.spread) = (f64::NAN, f64::INFINITY);
        assert!(png(&anomaly).is_some());
        anomaly.evidence.recent = vec![Some(f64::INFINITY), None, Some(-1e300), Some(1e300)];
        assert!(png(&anomaly).is_some());
        anomaly.evidence.recent = vec![Some(1.0), None];
        assert!(png(&anomaly).is_none());
        anomaly.evidence.recent = Vec::new();
        assert!(png(&anomaly).is_none());
    }
}
