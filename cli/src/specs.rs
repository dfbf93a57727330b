//! Links and antennas as people type them in one argument.

use std::str::FromStr;

use tetryx_protocol::ground::{AntennaName, Direction, Link, LinkName};

use crate::frequency;

/// A radio link: `[NAME=]down|up:FREQUENCY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkSpec {
    name: Option<LinkName>,
    direction: Direction,
    frequency_hz: u64,
}

impl FromStr for LinkSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) => (Some(name.trim()), rest),
            None => (None, text),
        };
        let refused =
            || format!("'{text}' is no link; write for example down:137.1MHz or command=up:2.05GHz");
        let (direction, frequency) = rest.split_once(':').ok_or_else(refused)?;
        let direction = match direction.trim() {
            "down" => Direction::Down,
            "up" => Direction::Up,
            _ => return Err(refused()),
        };
        let name = name.map(|name| name.parse().map_err(|error| format!("{error}")));
        Ok(Self {
            name: name.transpose()?,
            direction,
            frequency_hz: frequency::parse(frequency)?,
        })
    }
}

/// The links that were typed; one without a name is called by its direction and, beside others, a number.
pub(crate) fn links(specs: &[LinkSpec]) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for spec in specs {
        let is_taken = |name: &str| {
            links.iter().any(|link| link.name.as_str() == name)
                || specs
                    .iter()
                    .any(|other| other.name.as_ref().is_some_and(|other| other.as_str() == name))
        };
        let name = spec.name.clone().unwrap_or_else(|| {
            let numbered = (1_usize..).map(|number| match number {
                1 => spec.direction.to_string(),
                _ => format!("{}-{number}", spec.direction),
            });
            let free = numbered.filter(|name| !is_taken(name));
            free.filter_map(|name| name.parse().ok())
                .next()
                .expect("a direction and a number is a name, and there are more numbers than links")
        });
        links.push(Link {
            name,
            direction: spec.direction,
            frequency_hz: spec.frequency_hz,
        });
    }
    links
}

/// An antenna: `NAME[,az=LOW..HIGH][,el=LOW..HIGH][,rate=AZ/EL][,mask=DEG|FILE]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AntennaSpec {
    pub(crate) name: AntennaName,
    pub(crate) azimuth_deg: Option<[f64; 2]>,
    pub(crate) elevation_deg: Option<[f64; 2]>,
    pub(crate) slew_rate_deg_s: Option<[f64; 2]>,
    pub(crate) mask: Option<String>,
}

impl FromStr for AntennaSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default().trim();
        let mut spec = Self {
            name: name.parse().map_err(|error| format!("{error}"))?,
            azimuth_deg: None,
            elevation_deg: None,
            slew_rate_deg_s: None,
            mask: None,
        };
        for part in parts {
            let refused = || {
                format!(
                    "'{part}' says nothing of an antenna; write for example dish,az=-90..450,el=0..90,rate=6/4,mask=5"
                )
            };
            let (key, value) = part.split_once('=').ok_or_else(refused)?;
            let pair = |between: &str| {
                let (low, high) = value.split_once(between)?;
                Some([low.trim().parse().ok()?, high.trim().parse().ok()?])
            };
            match key.trim() {
                "az" => spec.azimuth_deg = Some(pair("..").ok_or_else(refused)?),
                "el" => spec.elevation_deg = Some(pair("..").ok_or_else(refused)?),
                "rate" => spec.slew_rate_deg_s = Some(pair("/").ok_or_else(refused)?),
                "mask" => spec.mask = Some(value.trim().to_owned()),
                _ => return Err(refused()),
            }
        }
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(specs: &[&str]) -> Vec<String> {
        let specs: Vec<LinkSpec> = specs.iter().map(|text| text.parse().unwrap()).collect();
        let named = links(&specs).into_iter();
        named
            .map(|link| format!("{} {} {}", link.name, link.direction, link.frequency_hz))
            .collect()
    }

    #[test]
    fn a_link_without_a_name_is_called_by_its_direction() {
        assert_eq!(
            named(&["down:137.1MHz", "down:1.7GHz", "up:2GHz", "down-2=up:1GHz"]),
            [
                "down down 137100000",
                "down-3 down 1700000000",
                "up up 2000000000",
                "down-2 up 1000000000"
            ]
        );
    }

    #[test]
    fn what_is_no_link_is_told_with_an_example() {
        for text in [
            "",
            "down",
            "sideways:1GHz",
            "down:x",
            "=down:1GHz",
            "a/b=down:1GHz",
        ] {
            assert!(text.parse::<LinkSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_antenna_needs_only_a_name() {
        let plain: AntennaSpec = "dish".parse().unwrap();
        assert_eq!((plain.azimuth_deg, plain.mask), (None, None));
        let full: AntennaSpec = "dish,az=-90..450,el=0..90,rate=6/4,mask=5".parse().unwrap();
        assert_eq!(full.azimuth_deg, Some([-90.0, 450.0]));
        assert_eq!(full.slew_rate_deg_s, Some([6.0, 4.0]));
        assert_eq!(full.mask.as_deref(), Some("5"));
        for text in ["", ",az=0..1", "dish,az=0", "dish,beam=3", "dish,rate=a/b"] {
            assert!(text.parse::<AntennaSpec>().is_err(), "{text}");
        }
    }
}
