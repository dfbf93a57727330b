//! The passes of one satellite, from its path.

use super::culmination::highest;
use super::intervals::{Interval, Place, Scratch, intervals};
use super::masked::over_mask;
use super::view::{Reach, View};
use super::{Pass, Sight};
use crate::StationError;
use crate::ephemeris::Ephemeris;
use crate::frames::{EarthFixed, EarthRotation};
use crate::mask::HorizonMask;
use crate::propagator::Propagator;
use crate::site::Site;
use crate::time::SkyTime;

/// A place that looks, and the horizon it sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Observer {
    /// Where it stands.
    pub site: Site,
    /// What hides the sky there.
    pub mask: HorizonMask,
}

/// The time to search, and how the Earth stands in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    start: SkyTime,
    seconds: f64,
    earth: EarthRotation,
}

impl Window {
    /// The longest window that is searched at once: a leap year.
    pub const HOURS_MAX: f64 = 366.0 * 24.0;

    /// From `start` on, so many hours long.
    ///
    /// # Errors
    /// When it is empty or longer than [`Window::HOURS_MAX`].
    pub fn new(start: SkyTime, hours: f64, earth: EarthRotation) -> Result<Self, StationError> {
        if hours > 0.0 && hours <= Self::HOURS_MAX {
            Ok(Self {
                start,
                seconds: hours * 3600.0,
                earth,
            })
        } else {
            Err(StationError::Window {
                hours,
                hours_max: Self::HOURS_MAX,
            })
        }
    }

    /// When it begins.
    pub const fn start(&self) -> SkyTime {
        self.start
    }

    /// How long it is.
    pub const fn seconds(&self) -> f64 {
        self.seconds
    }

    /// How the Earth stands.
    pub const fn earth(&self) -> EarthRotation {
        self.earth
    }
}

/// Every pass of a satellite over one observer within a window, in order.
pub fn passes(propagator: &Propagator, observer: &Observer, window: &Window) -> Vec<Pass> {
    let mut search = Search::new(propagator, window);
    let mut found = Vec::new();
    search.passes(observer, |pass| found.push(pass));
    found
}

/// The path of one satellite, and what is found on it.
#[derive(Debug)]
pub(super) struct Search {
    path: Ephemeris,
    reaches: Vec<Reach>,
    pieces: u32,
    scratch: Scratch,
    intervals: Vec<Interval>,
    masked: Vec<Interval>,
}

impl Search {
    /// Samples the satellite.
    pub(super) fn new(propagator: &Propagator, window: &Window) -> Self {
        let path = Ephemeris::sample(propagator, window.earth, window.start, window.seconds);
        let low = path
            .cells
            .iter()
            .map(|cell| cell.radius_min)
            .fold(f64::INFINITY, f64::min);
        let high = path.cells.iter().map(|cell| cell.radius_max).fold(0.0, f64::max);
        Self {
            path,
            reaches: Vec::new(),
            // The elevation turns round once a pass in a low and round orbit, more often in others.
            pieces: if high < 9_000.0 && high - low < 700.0 {
                2
            } else {
                6
            },
            scratch: Scratch::default(),
            intervals: Vec::new(),
            masked: Vec::new(),
        }
    }

    /// Hands over every pass over an observer, in order.
    pub(super) fn passes(&mut self, observer: &Observer, mut take: impl FnMut(Pass)) {
        if self.path.cells.is_empty() {
            return;
        }
        let lowest = observer.mask.lowest_deg();
        let view = View::new(&observer.site, lowest);
        let reach = match self
            .reaches
            .iter()
            .position(|reach| reach.elevation_deg == lowest)
        {
            Some(known) => &self.reaches[known],
            None => {
                self.reaches.push(Reach::new(&self.path.cells, lowest));
                &self.reaches[self.reaches.len() - 1]
            }
        };
        reach.candidates(&view, &self.path.nodes, &mut self.scratch.candidates);
        intervals(&self.path, &view, &mut self.scratch, &mut self.intervals);
        let found = if observer.mask.is_flat() {
            &self.intervals
        } else {
            self.masked.clear();
            for interval in &self.intervals {
                over_mask(&self.path, observer, interval, &mut self.masked);
            }
            &self.masked
        };
        for interval in found {
            take(self.pass(&observer.site, &view, interval));
        }
    }

    fn pass(&self, site: &Site, view: &View, interval: &Interval) -> Pass {
        let (top, culminations) = highest(&self.path, view, interval, self.pieces);
        let (begin, end) = (self.seconds(interval.begin), self.seconds(interval.end));
        Pass {
            aos: (!interval.begin_is_cut).then(|| self.sight(site, interval.begin)),
            tca: self.sight(site, top),
            los: (!interval.end_is_cut).then(|| self.sight(site, interval.end)),
            seconds: end - begin,
            culminations,
        }
    }

    fn seconds(&self, place: Place) -> f64 {
        self.path.cells[place.cell].at(place.u)[3]
    }

    fn sight(&self, site: &Site, place: Place) -> Sight {
        let (value, slope) = self.path.cells[place.cell].at_with_slope(place.u);
        let state = EarthFixed {
            position_km: [value[0], value[1], value[2]],
            velocity_km_s: [slope[0] / slope[3], slope[1] / slope[3], slope[2] / slope[3]],
        };
        Sight {
            time: self.path.start.plus_seconds(value[3]),
            direction: site.direction(&state),
        }
    }
}
