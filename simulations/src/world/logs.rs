//! What the product itself has to say, and its panics, as part of the trace.

use std::fmt::{self, Write};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;

use super::{Promise, Weak, World};

/// Panics that nobody has looked at yet.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Takes the logs of this thread, from information on, into the world's trace while the guard lives; and notes panics.
pub(super) fn listen(world: &World) -> tracing::subscriber::DefaultGuard {
    std::panic::set_hook(Box::new(|panic| PANICS.lock().push(panic.to_string())));
    let ear = Ear(world.downgrade()).with_filter(tracing_subscriber::filter::LevelFilter::INFO);
    tracing_subscriber::registry().with(ear).set_default()
}

/// Holds panics against the world.
pub(super) fn judge_panics(world: &World) {
    for panic in std::mem::take(&mut *PANICS.lock()) {
        world.violated(Promise::NoPanic, panic.replace('\n', " "));
    }
}

struct Ear(Weak);

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let data = event.metadata();
        let is_ours = data.target().starts_with("tetryx");
        if !is_ours && *data.level() > Level::ERROR {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let Some(world) = self.0.0.upgrade().map(|inner| World { inner }) else {
            return;
        };
        world.trace(format_args!(
            "{} {}: {}{}",
            data.level(),
            data.target(),
            line.message,
            line.fields
        ));
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
