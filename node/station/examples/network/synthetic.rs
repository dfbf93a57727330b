//! A made-up catalogue with the mix of the real one, and stations all over the Earth. The same every time.

use std::f64::consts::PI;
use std::fmt::Write as _;

use tetryx_station::site::Site;

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Numbers(u64);

impl Numbers {
    /// Evenly in [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next()
    }
}

/// Two-line element sets of so many satellites: mostly low and round, as the real catalogue is.
pub(crate) fn catalogue(count: usize) -> String {
    let mut numbers = Numbers(2_026);
    let mut text = String::new();
    for index in 0..count {
        // (share up to here, revolutions a day, eccentricity, inclination): LEO, Sun-synchronous, navigation, GEO,
        // inclined geosynchronous, transfer, Molniya.
        let kind = numbers.next();
        let (motion, eccentricity, inclination) = if kind < 0.62 {
            (
                numbers.between(14.9, 15.6),
                numbers.between(0.0001, 0.003),
                numbers.between(42.0, 70.0),
            )
        } else if kind < 0.90 {
            (
                numbers.between(13.4, 15.3),
                numbers.between(0.0002, 0.02),
                numbers.between(86.0, 99.0),
            )
        } else if kind < 0.93 {
            (
                numbers.between(1.7, 2.3),
                numbers.between(0.0005, 0.02),
                numbers.between(53.0, 66.0),
            )
        } else if kind < 0.97 {
            (
                numbers.between(1.0022, 1.0032),
                numbers.between(0.0001, 0.001),
                numbers.between(0.01, 0.2),
            )
        } else if kind < 0.98 {
            (
                numbers.between(0.99, 1.01),
                numbers.between(0.0005, 0.01),
                numbers.between(1.0, 15.0),
            )
        } else if kind < 0.99 {
            (
                numbers.between(2.1, 2.3),
                numbers.between(0.6, 0.72),
                numbers.between(5.0, 30.0),
            )
        } else {
            (2.006, numbers.between(0.66, 0.72), numbers.between(62.0, 64.5))
        };
        let day = numbers.between(60.0, 61.0);
        let number = index % 99_999 + 1;
        let drag = if motion > 12.0 {
            numbers.between(1e4, 5e4)
        } else {
            0.0
        };
        let one = format!("1 {number:05}U 26001A   26{day:012.8}  .00000000  00000-0  {drag:05.0}-4 0  999");
        let two = format!(
            "2 {number:05} {inclination:8.4} {:8.4} {:07.0} {:8.4} {:8.4} {motion:11.8}    1",
            numbers.between(0.0, 360.0),
            eccentricity * 1e7,
            numbers.between(0.0, 360.0),
            numbers.between(0.0, 360.0),
        );
        for line in [one, two] {
            let sum: u32 = line
                .chars()
                .map(|c| c.to_digit(10).unwrap_or(u32::from(c == '-')))
                .sum();
            writeln!(text, "{line}{}", sum % 10).expect("a string takes every line");
        }
    }
    text
}

/// Places on a Fibonacci lattice between the polar circles and beyond, at sea level.
#[expect(clippy::cast_precision_loss, reason = "a few hundred stations")]
pub(crate) fn sites(count: usize) -> Vec<Site> {
    let golden = PI * (3.0 - 5.0_f64.sqrt());
    (0..count)
        .map(|index| {
            let height = 1.0 - (2.0 * index as f64 + 1.0) / count as f64;
            let longitude = (index as f64 * golden).to_degrees().rem_euclid(360.0) - 180.0;
            Site::new(height.asin().to_degrees(), longitude, 0.0).expect("on the Earth")
        })
        .collect()
}
