//! The fields of one element set on their way to [`Elements`], whatever the format.

use std::sync::Arc;

use jiff::civil;

use super::Elements;
use super::catalogue_number::CatalogueNumber;
use super::location::Source;
use super::problem::{ElementsError, Problem};
use super::read::Format;
use crate::propagator::Propagator;
use crate::time::SkyTime;

/// The numbers that SGP4 needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    MeanMotion,
    Eccentricity,
    Inclination,
    AscendingNode,
    Pericenter,
    MeanAnomaly,
    Bstar,
}

impl Field {
    pub(super) const ALL: [Self; 7] = [
        Self::MeanMotion,
        Self::Eccentricity,
        Self::Inclination,
        Self::AscendingNode,
        Self::Pericenter,
        Self::MeanAnomaly,
        Self::Bstar,
    ];

    /// As CCSDS 502.0-B names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::MeanMotion => "MEAN_MOTION",
            Self::Eccentricity => "ECCENTRICITY",
            Self::Inclination => "INCLINATION",
            Self::AscendingNode => "RA_OF_ASC_NODE",
            Self::Pericenter => "ARG_OF_PERICENTER",
            Self::MeanAnomaly => "MEAN_ANOMALY",
            Self::Bstar => "BSTAR",
        }
    }

    /// The unit of the standard, and other ways to write it.
    const fn units(self) -> &'static [&'static str] {
        match self {
            Self::MeanMotion => &["rev/day", "REV/DAY", "revs/day"],
            Self::Eccentricity => &["n/a", "none"],
            Self::Inclination | Self::AscendingNode | Self::Pericenter | Self::MeanAnomaly => &["deg", "DEG"],
            Self::Bstar => &["1/ER", "1/er", "ER**-1"],
        }
    }
}

/// Where an element set came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) format: Format,
    /// Where it begins, for what is wrong with the whole of it.
    pub(super) begin: usize,
    pub(super) text: &'a str,
}

/// What has been read of one element set.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    source: &'a Source<'a>,
    origin: Origin<'a>,
    pub(super) name: Option<String>,
    pub(super) designator: Option<String>,
    number: Option<CatalogueNumber>,
    epoch: Option<SkyTime>,
    values: [Option<f64>; Field::ALL.len()],
    seen: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(source: &'a Source<'a>, origin: Origin<'a>) -> Self {
        Self {
            source,
            origin,
            name: None,
            designator: None,
            number: None,
            epoch: None,
            values: [None; Field::ALL.len()],
            seen: Vec::new(),
        }
    }

    pub(super) fn set_number(&mut self, number: CatalogueNumber) {
        self.number = Some(number);
    }

    pub(super) fn set_epoch(&mut self, epoch: SkyTime) {
        self.epoch = Some(epoch);
    }

    pub(super) fn error(&self, byte: usize, problem: Problem) -> ElementsError {
        let number = self.number.map(|number| number.to_string());
        self.source.error(byte, self.name.clone().or(number), problem)
    }

    /// Takes a field of an OMM as text; one that SGP4 does not need is passed over.
    pub(super) fn take(
        &mut self,
        key: &str,
        value: &str,
        unit: Option<&str>,
        byte: usize,
    ) -> Result<(), ElementsError> {
        let key = key.trim().to_ascii_uppercase();
        let value = value.trim();
        match key.as_str() {
            "OBJECT_NAME" => self.name = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "OBJECT_ID" => self.designator = Some(value.to_owned()).filter(|id| !id.is_empty()),
            "NORAD_CAT_ID" => {
                self.once("NORAD_CAT_ID", value, byte)?;
                let refused = || Problem::CatalogueNumber {
                    value: value.to_owned(),
                };
                let number = CatalogueNumber::parse(value).ok_or_else(|| self.error(byte, refused()))?;
                self.number = Some(number);
            }
            "EPOCH" => {
                self.once("EPOCH", value, byte)?;
                let refused = || Problem::Epoch {
                    value: value.to_owned(),
                };
                self.epoch = Some(epoch(value).ok_or_else(|| self.error(byte, refused()))?);
            }
            "CENTER_NAME" => self.only("CENTER_NAME", value, &["EARTH"], "EARTH", byte)?,
            "REF_FRAME" => self.only("REF_FRAME", value, &["TEME"], "TEME", byte)?,
            "TIME_SYSTEM" => self.only("TIME_SYSTEM", value, &["UTC"], "UTC", byte)?,
            "MEAN_ELEMENT_THEORY" => {
                let known = ["SGP4", "SGP/SGP4", "SGP", "SDP4", "SGP4/SDP4"];
                self.only("MEAN_ELEMENT_THEORY", value, &known, "SGP4", byte)?;
            }
            "EPHEMERIS_TYPE" => self.only(
                "EPHEMERIS_TYPE",
                value,
                &["0", "1", "2", "3", "SGP", "SGP4", "SDP4"],
                "SGP4 (type 0)",
                byte,
            )?,
            _ => {
                if let Some(field) = Field::ALL.into_iter().find(|field| field.name() == key) {
                    self.once(field.name(), value, byte)?;
                    self.check_unit(field, unit, byte)?;
                    self.set(field, self.number_of(field, value, byte)?, byte)?;
                }
            }
        }
        Ok(())
    }

    fn once(&mut self, field: &'static str, value: &str, byte: usize) -> Result<(), ElementsError> {
        if self.seen.contains(&field) {
            return Err(self.error(byte, Problem::Twice { field }));
        }
        if value.is_empty() {
            return Err(self.error(byte, Problem::NoValue { field }));
        }
        self.seen.push(field);
        Ok(())
    }

    fn only(
        &self,
        field: &'static str,
        value: &str,
        known: &[&str],
        expected: &'static str,
        byte: usize,
    ) -> Result<(), ElementsError> {
        if value.is_empty() || known.iter().any(|known| known.eq_ignore_ascii_case(value)) {
            Ok(())
        } else {
            let value = value.to_owned();
            Err(self.error(
                byte,
                Problem::Unsupported {
                    field,
                    value,
                    expected,
                },
            ))
        }
    }

    fn check_unit(&self, field: Field, unit: Option<&str>, byte: usize) -> Result<(), ElementsError> {
        match unit.map(str::trim).filter(|unit| !unit.is_empty()) {
            Some(unit) if !field.units().contains(&unit) => Err(self.error(
                byte,
                Problem::WrongUnit {
                    field: field.name(),
                    unit: unit.to_owned(),
                    expected: field.units()[0],
                },
            )),
            _ => Ok(()),
        }
    }

    fn number_of(&self, field: Field, value: &str, byte: usize) -> Result<f64, ElementsError> {
        value.parse().map_err(|_| {
            let value = value.to_owned();
            self.error(
                byte,
                Problem::NotANumber {
                    field: field.name(),
                    value,
                },
            )
        })
    }

    /// Takes a number, within the range of its field.
    pub(super) fn set(&mut self, field: Field, value: f64, byte: usize) -> Result<(), ElementsError> {
        let name = field.name();
        let refused = |problem| Err(self.error(byte, problem));
        if !value.is_finite() {
            return refused(Problem::NotFinite {
                field: name,
                value: value.to_string(),
            });
        }
        let out_of = |range| Problem::OutOfRange {
            field: name,
            value,
            range,
        };
        match field {
            Field::Eccentricity if value >= 1.0 => return refused(Problem::NotClosed { value }),
            Field::Eccentricity if value < 0.0 => return refused(out_of("0 to 1")),
            Field::MeanMotion if value <= 0.0 => return refused(Problem::NoMotion { value }),
            // 17.1 a day would graze the ground.
            Field::MeanMotion if value > 18.0 => return refused(out_of("0 to 18 revolutions a day")),
            Field::Inclination if !(0.0..=180.0).contains(&value) => {
                return refused(out_of("0 to 180 degrees"));
            }
            Field::AscendingNode | Field::Pericenter | Field::MeanAnomaly if value.abs() > 360.0 => {
                return refused(out_of("-360 to 360 degrees"));
            }
            Field::Bstar if value.abs() > 100.0 => return refused(out_of("-100 to 100 per Earth radius")),
            _ => {}
        }
        self.values[field as usize] = Some(value);
        Ok(())
    }

    /// The element set, if nothing is missing and SGP4 starts from it.
    pub(super) fn finish(self) -> Result<Elements, ElementsError> {
        let begin = self.origin.begin;
        let missing = |field| self.error(begin, Problem::Missing { field });
        let value = |field: Field| self.values[field as usize].ok_or_else(|| missing(field.name()));
        let elements = Elements {
            catalogue_number: self.number.ok_or_else(|| missing("NORAD_CAT_ID"))?,
            epoch: self.epoch.ok_or_else(|| missing("EPOCH"))?,
            mean_motion_rev_day: value(Field::MeanMotion)?,
            eccentricity: value(Field::Eccentricity)?,
            inclination_deg: value(Field::Inclination)?,
            ascending_node_deg: value(Field::AscendingNode)?,
            pericenter_deg: value(Field::Pericenter)?,
            mean_anomaly_deg: value(Field::MeanAnomaly)?,
            bstar: value(Field::Bstar)?,
            name: self.name.clone(),
            designator: self.designator.clone(),
            format: self.origin.format,
            source: Arc::from(self.origin.text),
        };
        match Propagator::new(&elements) {
            Ok(_) => Ok(elements),
            Err(reason) => Err(self.error(begin, Problem::Theory { reason })),
        }
    }
}

/// `2026-03-02T12:03:10.123456` or `2026-061T12:03:10.123456`, with or without `Z`, or a blank for the `T`.
fn epoch(text: &str) -> Option<SkyTime> {
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let date = match date.split('-').collect::<Vec<_>>()[..] {
        [year, day] if year.len() == 4 && day.len() == 3 => {
            let first = civil::Date::new(year.parse().ok()?, 1, 1).ok()?;
            first.with().day_of_year(day.parse().ok()?).build().ok()?
        }
        _ => date.parse().ok()?,
    };
    let time: civil::Time = time.parse().ok()?;
    date.to_datetime(time)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?
        .timestamp()
        .to_string()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_date_or_a_day_of_the_year() {
        let expected: SkyTime = "2026-03-02T12:03:10.123456Z".parse().unwrap();
        for text in [
            "2026-03-02T12:03:10.123456",
            "2026-03-02T12:03:10.123456Z",
            "2026-03-02 12:03:10.123456",
            "2026-061T12:03:10.123456",
        ] {
            assert_eq!(epoch(text), Some(expected), "{text}");
        }
        for text in [
            "2026-02-30T00:00:00",
            "2025-366T00:00:00",
            "2026-03-02",
            "noon",
            "2026-03-02T25:00:00",
        ] {
            assert_eq!(epoch(text), None, "{text}");
        }
    }
}
