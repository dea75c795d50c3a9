//! A profile as a picture: for each site how long its sections took.

use super::listing::{place, time_of};
use super::sites::{Profile, ProfiledSite};
use plotters::prelude::*;

/// How many sites are drawn.
const MOST: usize = 8;
const WIDTH: u32 = 900;
const HEIGHT: u32 = 170;
const COLOR: RGBColor = RGBColor(70, 110, 160);
const SLICE: RGBColor = RGBColor(200, 60, 40);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws the first sites of the list, one below the other, on one scale of time.
pub fn svg(profile: &Profile) -> String {
    let sites = profile.sites.iter().filter(|site| site.held.sections() > 0).take(MOST).collect::<Vec<_>>();
    let mut svg = String::new();
    {
        let size = (WIDTH, HEIGHT * sites.len().max(1) as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(profile, &sites, &area).expect("nothing can fail that is drawn in memory");
    }
    svg
}

fn draw(profile: &Profile, sites: &[&ProfiledSite], area: &Area<'_>) -> Result<(), impl std::error::Error> {
    area.fill(&WHITE)?;
    let scale = Scale::of(profile, sites);
    for (site, area) in sites.iter().zip(area.split_evenly((sites.len().max(1), 1))) {
        draw_site(profile, site, &scale, &area)?;
    }
    if sites.is_empty() {
        area.draw(&Text::new("no section has ended", (20, 20), ("sans-serif", 15)))?;
    }
    area.present()
}

/// The axis that all have in common.
struct Scale {
    /// What a tick is on it: in nanoseconds, or itself.
    tick: f64,
    slice: Option<f64>,
    from: f64,
    to: f64,
}

impl Scale {
    fn of(profile: &Profile, sites: &[&ProfiledSite]) -> Self {
        let slice = profile.rate.map(|_| profile.slice as f64);
        let mut scale = Self { tick: profile.rate.map_or(1.0, |rate| 1.0 / rate.0), slice, from: f64::MAX, to: 1.0 };
        let bars = sites.iter().flat_map(|site| site.held.filled()).collect::<Vec<_>>();
        let ends = bars.into_iter().map(|(from, to, _)| scale.bar(from, to)).chain(slice.map(|slice| (slice, slice)));
        let (from, to) = ends.fold((f64::MAX, 1.0), |all: (f64, f64), bar| (all.0.min(bar.0), all.1.max(bar.1)));
        (scale.from, scale.to) = (from.min(to) / 1.5, to * 1.5);
        scale
    }

    /// From where to where a bucket's bar goes. No logarithm shows that one begins at 0, or that one has no end.
    fn bar(&self, from: u64, to: Option<u64>) -> (f64, f64) {
        let to = to.map_or(from as f64 * 1.5, |to| to as f64);
        let from = if from == 0 { to / 1.5 } else { from as f64 };
        (from * self.tick, to * self.tick)
    }
}

fn draw_site(
    profile: &Profile,
    site: &ProfiledSite,
    scale: &Scale,
    area: &Area<'_>,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let most = site.held.filled().map(|(.., sections)| sections).max().unwrap_or(1) as f64;
    // Few sections that take long are what matters: they must show beside millions that do not.
    let (bottom, top) = (0.5, most * 2.0);
    let title = format!("{}: {}", site.verdict(profile.slice, profile.rate).word(), place(profile, site));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 14))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d((scale.from..scale.to).log_scale(), (bottom..top).log_scale())?;
    let label = |value: &f64| if profile.rate.is_some() { time_of(*value) } else { format!("{value} ticks") };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .x_labels(8)
        .y_labels(4)
        .y_desc("sections")
        .x_label_formatter(&label)
        .y_label_formatter(&|value: &f64| format!("{value}"))
        .draw()?;
    chart.draw_series(site.held.filled().map(|(from, to, sections)| {
        let (from, to) = scale.bar(from, to);
        Rectangle::new([(from, bottom), (to, sections as f64)], COLOR.filled())
    }))?;
    if let Some(slice) = scale.slice {
        let line = [(slice, bottom), (slice, top)];
        chart.draw_series([PathElement::new(line, SLICE.stroke_width(2))])?;
        let name = format!(" an extension: {}", time_of(slice));
        chart.draw_series([Text::new(name, (slice, top), ("sans-serif", 11).into_font().color(&SLICE))])?;
    }
    Ok(())
}
