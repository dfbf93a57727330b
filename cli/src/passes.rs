//! `pass predict`: when satellites are up, computed here. `pass list` asks the server.

use anyhow::{Result, anyhow, bail};
use serde::Serialize;
use tetryx_station::elements::{self, Elements};
use tetryx_station::frames::EarthRotation;
use tetryx_station::look::{Link, Look, Tracker, Way};
use tetryx_station::passes::{Network, Observer, Pass, Sight, Window};
use tetryx_station::propagator::Propagator;
use tetryx_station::sun;
use tetryx_station::time::SkyTime;
use tetryx_station::units::Hertz;

use crate::args::{PassCommand, PassPredict};
use crate::context::Context;
use crate::ground;
use crate::render::{self, table};

/// Elements further from the window than that are remarked on.
const AGE_DAYS_MAX: f64 = 7.0;
/// The Sun lower than that, and satellites can be seen by eye.
const NIGHT_DEG: f64 = -6.0;

/// Runs a `pass` command; `false` if an element set was refused, or no pass was found in a list.
pub(crate) async fn run(context: &Context, command: PassCommand) -> Result<bool> {
    match command {
        PassCommand::List(args) => ground::list_passes(context, args).await,
        PassCommand::Predict(args) => predict(context, &args),
    }
}

/// A pass for a program. What the window cuts off is null.
#[derive(Debug, Serialize)]
struct Report<'a> {
    satellite: &'a str,
    catalogue_number: u32,
    aos: Option<String>,
    tca: String,
    los: Option<String>,
    duration_s: f64,
    elevation_deg_max: f64,
    azimuth_deg_aos: Option<f64>,
    azimuth_deg_tca: f64,
    azimuth_deg_los: Option<f64>,
    range_km_aos: Option<f64>,
    range_km_tca: f64,
    range_km_los: Option<f64>,
    range_rate_km_s_aos: Option<f64>,
    range_rate_km_s_tca: f64,
    range_rate_km_s_los: Option<f64>,
    range_acceleration_km_s2_tca: f64,
    culminations: u32,
    sunlit_tca: bool,
    night_tca: bool,
    #[serde(flatten)]
    doppler: Option<Doppler>,
}

/// The shift of a downlink in hertz.
#[derive(Debug, Serialize)]
struct Doppler {
    doppler_hz_aos: Option<f64>,
    doppler_hz_tca: f64,
    doppler_hz_los: Option<f64>,
}

impl Doppler {
    /// Of a pass whose satellite sends so many hertz.
    fn of(satellite: &Satellite, pass: &Pass, frequency_hz: u64) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "frequencies are below 2^53 Hz")]
        let link = Link {
            way: Way::Down,
            frequency: Hertz::new(frequency_hz as f64).ok()?,
        };
        let shift = |sight: Sight| {
            let look = satellite.tracker.look(sight.time);
            let rate = look.map_or(sight.direction.range_rate, |look| look.direction.range_rate);
            rounded(link.shift(rate).get(), 3)
        };
        Some(Self {
            doppler_hz_aos: pass.aos.map(shift),
            doppler_hz_tca: shift(pass.tca),
            doppler_hz_los: pass.los.map(shift),
        })
    }
}

/// A satellite, and all that is asked about it.
struct Satellite {
    label: String,
    catalogue_number: u32,
    propagator: Propagator,
    tracker: Tracker,
}

fn predict(context: &Context, args: &PassPredict) -> Result<bool> {
    let earth = EarthRotation::with_dut1_s(args.dut1)?;
    let window = Window::new(args.from, args.hours, earth)?;
    let observer = Observer {
        site: args.site,
        mask: ground::mask(&args.mask)?,
    };
    let text = ground::read(&args.elements)?;
    let (mut good, mut refused) = (Vec::new(), 0_u64);
    for entry in elements::read_bytes(&text) {
        match entry {
            Ok(elements) => good.push(elements),
            Err(error) => {
                refused += 1;
                context
                    .render
                    .talk(&format!("{}: {error}", args.elements.display()));
            }
        }
    }
    if good.is_empty() {
        bail!("{} has no element set that can be used", args.elements.display());
    }
    remark_on_age(context, &good, args.from);
    let satellites = good
        .iter()
        .map(|elements| {
            let propagator =
                Propagator::new(elements).map_err(|reason| anyhow!("{}: {reason}", elements.label()))?;
            Ok(Satellite {
                label: elements.label(),
                catalogue_number: elements.catalogue_number.get(),
                tracker: Tracker::new(propagator.clone(), args.site, earth),
                propagator,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let count = if context.render.is_json() {
        print_json(context, &satellites, observer, &window, args.frequency)?
    } else {
        print_table(context, &satellites, observer, &window, args.frequency)?
    };
    if count == 0 {
        context.render.talk("no satellite is up in this window");
    }
    if refused > 0 {
        let read = satellites.len() as u64;
        context.render.talk(&format!(
            "{} refused, the other {} searched",
            render::count(refused, "element set"),
            render::count(read, "element set"),
        ));
    }
    Ok(refused == 0)
}

/// SGP4 drifts by kilometres a day.
fn remark_on_age(context: &Context, all: &[Elements], from: SkyTime) {
    let age = |elements: &Elements| elements.age_days(from).abs();
    let old = all.iter().filter(|elements| age(elements) > AGE_DAYS_MAX).count();
    let oldest = all.iter().max_by(|a, b| age(a).total_cmp(&age(b)));
    if let (1.., Some(oldest)) = (old, oldest) {
        context.render.talk(&format!(
            "{} more than {AGE_DAYS_MAX} days from the window ({}: {:.1} days); get fresh elements for times to the second",
            if old == 1 { "1 element set is".to_owned() } else { format!("{old} element sets are") },
            oldest.label(),
            oldest.age_days(from),
        ));
    }
}

/// Hands over each pass with its satellite until printing fails, and counts them.
fn search(
    satellites: &[Satellite],
    observer: Observer,
    window: &Window,
    mut take: impl FnMut(&Satellite, &Pass) -> Result<()>,
) -> Result<usize> {
    let propagators: Vec<_> = satellites
        .iter()
        .map(|satellite| satellite.propagator.clone())
        .collect();
    let mut result = Ok(());
    let mut count = 0;
    Network::new(vec![observer]).passes(&propagators, window, |target| {
        for (_, pass) in &target.passes {
            count += 1;
            if result.is_ok() {
                result = take(&satellites[target.satellite], pass);
            }
        }
    });
    result.map(|()| count)
}

fn print_json(
    context: &Context,
    satellites: &[Satellite],
    observer: Observer,
    window: &Window,
    frequency_hz: Option<u64>,
) -> Result<usize> {
    let mut list = context.render.json_list();
    let site = observer.site;
    let count = search(satellites, observer, window, |satellite, pass| {
        let look = |sight: Sight| satellite.tracker.look(sight.time).ok();
        let (aos, los) = (pass.aos.and_then(look), pass.los.and_then(look));
        let tca = look(pass.tca);
        let range = |look: Look| look.direction.range.get();
        let rate = |look: Look| look.direction.range_rate.get();
        let state = satellite.propagator.state(pass.tca.time);
        list.push(&Report {
            satellite: &satellite.label,
            catalogue_number: satellite.catalogue_number,
            aos: pass.aos.map(|sight| sight.time.to_string()),
            tca: pass.tca.time.to_string(),
            los: pass.los.map(|sight| sight.time.to_string()),
            duration_s: rounded(pass.seconds, 6),
            elevation_deg_max: rounded(pass.tca.direction.elevation.degrees(), 6),
            azimuth_deg_aos: pass
                .aos
                .map(|sight| rounded(sight.direction.azimuth.degrees(), 6)),
            azimuth_deg_tca: rounded(pass.tca.direction.azimuth.degrees(), 6),
            azimuth_deg_los: pass
                .los
                .map(|sight| rounded(sight.direction.azimuth.degrees(), 6)),
            range_km_aos: aos.map(|look| rounded(range(look), 6)),
            range_km_tca: rounded(tca.map_or(pass.tca.direction.range.get(), range), 6),
            range_km_los: los.map(|look| rounded(range(look), 6)),
            range_rate_km_s_aos: aos.map(|look| rounded(rate(look), 9)),
            range_rate_km_s_tca: rounded(tca.map_or(pass.tca.direction.range_rate.get(), rate), 9),
            range_rate_km_s_los: los.map(|look| rounded(rate(look), 9)),
            range_acceleration_km_s2_tca: rounded(tca.map_or(0.0, |look| look.range_acceleration_km_s2), 9),
            culminations: pass.culminations,
            sunlit_tca: state.is_ok_and(|state| sun::is_sunlit(pass.tca.time, &state)),
            night_tca: sun::elevation_deg(pass.tca.time, &site, window.earth()) < NIGHT_DEG,
            doppler: frequency_hz.and_then(|frequency| Doppler::of(satellite, pass, frequency)),
        })
    })?;
    list.end()?;
    Ok(count)
}

/// Digits beyond those of the computation are noise.
fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

fn print_table(
    context: &Context,
    satellites: &[Satellite],
    observer: Observer,
    window: &Window,
    frequency_hz: Option<u64>,
) -> Result<usize> {
    let mut rows = Vec::new();
    let time =
        |sight: Option<Sight>| sight.map_or_else(|| "-".to_owned(), |sight| render::utc(sight.time.to_utc()));
    let azimuth = |sight: Option<Sight>| {
        sight.map_or_else(
            || "-".to_owned(),
            |sight| format!("{:.0}°", sight.direction.azimuth.degrees()),
        )
    };
    let count = search(satellites, observer, window, |satellite, pass| {
        rows.push((
            pass.aos.map_or(window.start(), |sight| sight.time),
            [
                satellite.label.clone(),
                time(pass.aos),
                time(Some(pass.tca)),
                time(pass.los),
                format!("{:.1}°", pass.tca.direction.elevation.degrees()),
                azimuth(pass.aos),
                azimuth(pass.los),
            ],
            frequency_hz.and_then(|frequency| Doppler::of(satellite, pass, frequency)),
        ));
        Ok(())
    })?;
    // In the order in which an operator meets them.
    rows.sort_by_key(|row| row.0);
    let head = [
        "SATELLITE",
        "AOS (UTC)",
        "TCA (UTC)",
        "LOS (UTC)",
        "MAX EL",
        "AZ AOS",
        "AZ LOS",
    ];
    if count == 0 {
        return Ok(count);
    }
    if frequency_hz.is_none() {
        let rows: Vec<_> = rows.into_iter().map(|row| row.1).collect();
        context.render.data(&table(head, &rows))?;
        return Ok(count);
    }
    let rows: Vec<[String; 10]> = rows
        .into_iter()
        .map(|(_, [satellite, aos, tca, los, elevation, from, to], doppler)| {
            let hertz = |shift: Option<f64>| {
                shift.map_or_else(|| "-".to_owned(), |hz| format!("{:+.0}", hz.round() + 0.0))
            };
            let shifts = doppler.map_or([None; 3], |doppler| {
                [
                    doppler.doppler_hz_aos,
                    Some(doppler.doppler_hz_tca),
                    doppler.doppler_hz_los,
                ]
            });
            let [at_aos, at_tca, at_los] = shifts.map(hertz);
            [
                satellite, aos, tca, los, elevation, from, to, at_aos, at_tca, at_los,
            ]
        })
        .collect();
    let [a, b, c, d, e, f, g] = head;
    let head = [a, b, c, d, e, f, g, "HZ AT AOS", "AT TCA", "AT LOS"];
    context.render.data(&table(head, &rows))?;
    Ok(count)
}
