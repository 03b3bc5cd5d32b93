//! A picture of speed and cost against other programs: bars, as SVG, in colours that a light and a dark page take.
//!
//! It needs nothing of the benchmark, so that a test can draw it.

/// One program.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) users_per_second: f64,
    pub(crate) cpu_us_per_user: f64,
    /// Whether it is the one that is compared with the others.
    pub(crate) is_ours: bool,
}

/// One half of the picture.
struct Chart<'a> {
    axis: &'a str,
    left: f64,
    figures: Vec<(f64, bool)>,
}

const WIDTH: f64 = 860.0;
const NAMES: f64 = 170.0;
/// Of the longest bar; its number stands behind it.
const LONGEST: f64 = 250.0;
const BESIDE: f64 = 85.0;
const TOP: f64 = 92.0;
const ROW: f64 = 34.0;
const THICK: f64 = 20.0;

const STYLE: &str = "text{font-family:system-ui,sans-serif;font-size:13px;fill:#24292f}\
                     .title{font-size:16px;font-weight:600}.small{font-size:12px;fill:#57606a}\
                     .ours{fill:#0969da}.other{fill:#8c959f}.axis{stroke:#8c959f}\
                     @media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}\
                     .ours{fill:#4493f8}.other{fill:#6e7681}.axis{stroke:#6e7681}}";

/// The bars under a title, and under it how they came about.
pub(crate) fn svg(title: &str, how: &str, bars: &[Bar]) -> String {
    let speed = bars.iter().map(|bar| (bar.users_per_second, bar.is_ours)).collect();
    let cpu = bars.iter().map(|bar| (bar.cpu_us_per_user, bar.is_ours)).collect();
    let charts = [
        Chart { axis: "users a second (more is better)", left: NAMES, figures: speed },
        Chart {
            axis: "µs of CPU time a user (less is better)",
            left: NAMES + LONGEST + BESIDE,
            figures: cpu,
        },
    ];
    let bottom = middle(bars.len()) - ROW / 2.0;
    let height = bottom + 16.0;
    let mut parts = vec![
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">"),
        format!("<title>{}</title>", escaped(title)),
        format!("<style>{STYLE}</style>"),
        text((16.0, 26.0), "title", title),
        text((16.0, 47.0), "small", how),
    ];
    parts.extend(bars.iter().enumerate().map(|(row, bar)| text((16.0, base(row)), "name", &bar.name)));
    parts.extend(charts.iter().flat_map(|chart| chart.parts(bottom)));
    parts.push("</svg>\n".to_owned());
    parts.join("\n")
}

impl Chart<'_> {
    fn parts(&self, bottom: f64) -> Vec<String> {
        let Self { axis, left, figures } = self;
        let most = figures.iter().map(|(figure, _)| *figure).fold(f64::MIN_POSITIVE, f64::max);
        let mut parts = vec![text((*left, TOP - 14.0), "small", axis)];
        for (row, (figure, is_ours)) in figures.iter().enumerate() {
            // Whatever is there is seen.
            let (y, length) = (middle(row) - THICK / 2.0, (figure / most * LONGEST).max(1.0));
            let class = if *is_ours { "ours" } else { "other" };
            parts.push(format!(
                "<rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" height=\"{THICK}\"/>"
            ));
            parts.push(text((left + length + 6.0, base(row)), "number", &with_commas(*figure)));
        }
        parts
            .push(format!("<line class=\"axis\" x1=\"{left}\" y1=\"{TOP}\" x2=\"{left}\" y2=\"{bottom}\"/>"));
        parts
    }
}

/// The height of a row's middle.
#[expect(clippy::cast_precision_loss, reason = "a few rows")]
fn middle(row: usize) -> f64 {
    TOP + ROW * (row as f64 + 0.5)
}

/// Where its text stands.
fn base(row: usize) -> f64 {
    middle(row) + 4.5
}

fn text((x, y): (f64, f64), class: &str, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A figure as it is read: `10,658`.
pub(crate) fn with_commas(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut groups: Vec<_> = digits.as_bytes().rchunks(3).map(String::from_utf8_lossy).collect();
    groups.reverse();
    groups.join(",")
}
