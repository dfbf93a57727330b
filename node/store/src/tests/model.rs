//! The argument of [`crate::collect`] as a model: every order in which uploads, a read, deletions, collections and a
//! crash can take their steps, over two NARs that share a chunk.
//!
//! The model knows presence, pins and what survives a crash, and no bytes; that the store does what the model says is
//! what [`super::interleavings`] and [`super::properties`] are for. Each rule of the argument can be broken: the check must
//! then find the loss, or it would prove nothing.

use stateright::{Checker, HasDiscoveries, Model, Property};

/// A set of chunks and manifests.
type Keys = u8;

/// What the old NAR and the new one consist of: they share a chunk, and have a manifest each.
const NARS: [Keys; 2] = [0b0101, 0b1011];
const KEYS: u8 = 4;

/// The rules that the argument rests on.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// A pin is taken before its owner is told what is here.
    pin_before_answer: bool,
    /// The state is read once releases linger.
    mark_after_beginning: bool,
    /// What is released during a collection stays protected to its end.
    releases_linger: bool,
    /// A pin is released only after the record is applied.
    release_after_applied: bool,
    /// What protects a key is looked at under the lock under which it is removed.
    sweep_at_once: bool,
    /// A pin is durable before the record is proposed.
    pins_durable: bool,
    /// A read holds what it has been told of.
    reads_hold: bool,
}

const RULES: Rules = Rules {
    pin_before_answer: true,
    mark_after_beginning: true,
    releases_linger: true,
    release_after_applied: true,
    sweep_at_once: true,
    pins_durable: true,
    reads_hold: true,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// Half of asking is done.
    Asking,
    Asked,
    Sent,
    Flushed,
    /// The record may be applied at any time.
    Proposed,
    Applied,
    /// Its process is gone; its pin waits for its time to end.
    Stray,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Upload {
    nar: usize,
    phase: Phase,
    pinned: Keys,
    is_pin_durable: bool,
    /// What it relies on: it was told that this is here, or has put it.
    told: Keys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Idle,
    Holding,
    /// It was told that this is here.
    Seen(Keys),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Collector {
    Idle,
    Begun,
    Marked(Keys),
    /// What is marked, the key to look at, and whether it has been found dead.
    Sweeping(Keys, u8, bool),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    present: Keys,
    /// What is found after a crash that loses all it can.
    durable: Keys,
    /// Which NARs the applied state names.
    live: [bool; 2],
    uploads: [Upload; 2],
    reader: Reader,
    held: Keys,
    collector: Collector,
    lingering: Option<Keys>,
    collections_left: u8,
    crashes_left: u8,
    /// Nothing but the running collection has happened since it began.
    is_quiet: bool,
    orphan_left: bool,
    swept_during_upload: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Upload(usize),
    GiveUp(usize),
    Delete(usize),
    Read,
    Collect,
    /// Whether what was not synced survives.
    Crash(bool),
}

impl State {
    fn named(&self) -> Keys {
        let live = self.live.iter().zip(NARS).filter(|(live, _)| **live);
        live.fold(0, |keys, (_, nar)| keys | nar)
    }

    fn protected(&self) -> Keys {
        let pinned = self.uploads.iter().fold(0, |keys, upload| keys | upload.pinned);
        pinned | self.held | self.lingering.unwrap_or(0)
    }

    /// What was protected and may not be any more lingers.
    fn released(&mut self, keys: Keys, rules: Rules) {
        let released = keys & !self.protected();
        if rules.releases_linger
            && let Some(lingering) = &mut self.lingering
        {
            *lingering |= released;
        }
    }

    fn unpin(&mut self, of: usize, rules: Rules) {
        let keys = std::mem::take(&mut self.uploads[of].pinned);
        self.released(keys, rules);
    }

    fn is_idle(&self) -> bool {
        let uploads = self
            .uploads
            .iter()
            .all(|upload| matches!(upload.phase, Phase::Idle | Phase::Done) && upload.pinned == 0);
        uploads && self.held == 0
    }

    fn upload(&mut self, of: usize, rules: Rules) {
        let present = self.present;
        let upload = &mut self.uploads[of];
        let keys = NARS[upload.nar];
        let (is_first, pin_first) = (upload.phase == Phase::Idle, rules.pin_before_answer);
        match upload.phase {
            Phase::Idle | Phase::Asking => {
                if is_first == pin_first {
                    upload.pinned = keys;
                } else {
                    upload.told = present & keys;
                }
                upload.phase = if is_first { Phase::Asking } else { Phase::Asked };
            }
            Phase::Asked => {
                self.present |= keys & !upload.told;
                upload.told = keys;
                upload.phase = Phase::Sent;
            }
            Phase::Sent => {
                self.durable = self.present;
                for upload in &mut self.uploads {
                    upload.is_pin_durable |= rules.pins_durable && upload.pinned != 0;
                }
                self.uploads[of].phase = Phase::Flushed;
            }
            Phase::Flushed => {
                upload.phase = Phase::Proposed;
                if !rules.release_after_applied {
                    self.unpin(of, rules);
                }
            }
            Phase::Proposed => {
                self.live[upload.nar] = true;
                upload.phase = Phase::Applied;
            }
            Phase::Applied | Phase::Stray => {
                upload.told = 0;
                upload.phase = Phase::Done;
                self.unpin(of, rules);
            }
            Phase::Done => {}
        }
    }

    fn read(&mut self, rules: Rules) {
        self.reader = match self.reader {
            Reader::Idle => {
                self.held = if rules.reads_hold { NARS[0] } else { 0 };
                Reader::Holding
            }
            Reader::Holding => Reader::Seen(self.present & NARS[0]),
            Reader::Seen(_) | Reader::Done => {
                let keys = std::mem::take(&mut self.held);
                self.released(keys, rules);
                Reader::Done
            }
        };
    }

    fn collect(&mut self, rules: Rules) {
        let begin = |state: &mut Self| {
            state.lingering = Some(0);
            state.is_quiet = state.is_idle();
        };
        self.collector = match self.collector {
            Collector::Idle if rules.mark_after_beginning => {
                begin(self);
                Collector::Begun
            }
            Collector::Idle => Collector::Marked(self.named()),
            Collector::Begun => Collector::Marked(self.named()),
            Collector::Marked(marked) => {
                if !rules.mark_after_beginning {
                    begin(self);
                }
                Collector::Sweeping(marked, 0, false)
            }
            Collector::Sweeping(_, KEYS, _) => {
                // The index is told, and the bytes go.
                self.durable &= self.present;
                self.lingering = None;
                self.orphan_left |= self.is_quiet && self.present != self.named();
                self.collections_left -= 1;
                Collector::Idle
            }
            Collector::Sweeping(marked, at, is_doomed) => {
                let key = 1 << at;
                let is_dead = (self.present & key) & !marked & !self.protected() != 0;
                if is_dead && !rules.sweep_at_once && !is_doomed {
                    Collector::Sweeping(marked, at, true)
                } else {
                    if is_dead || is_doomed {
                        self.present &= !key;
                        self.swept_during_upload |= !self.is_idle();
                    }
                    Collector::Sweeping(marked, at + 1, false)
                }
            }
        };
    }

    fn crash(&mut self, keeps: bool) {
        // What a sweep removed is found again unless the index was told.
        self.present = self.durable | if keeps { self.present } else { 0 };
        for upload in &mut self.uploads {
            if !upload.is_pin_durable {
                upload.pinned = 0;
            }
            upload.phase = match upload.phase {
                // The record is on its way without the process.
                Phase::Proposed => Phase::Proposed,
                Phase::Idle | Phase::Done => upload.phase,
                _ => {
                    upload.told = 0;
                    Phase::Stray
                }
            };
        }
        self.reader = Reader::Done;
        self.held = 0;
        self.collector = Collector::Idle;
        self.lingering = None;
        self.crashes_left -= 1;
    }
}

impl Model for Rules {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let upload = |nar| Upload {
            nar,
            phase: Phase::Idle,
            pinned: 0,
            is_pin_durable: false,
            told: 0,
        };
        vec![State {
            present: NARS[0],
            durable: NARS[0],
            live: [true, false],
            // The old NAR is pushed again, the new one for the first time.
            uploads: [upload(0), upload(1)],
            reader: Reader::Idle,
            held: 0,
            collector: Collector::Idle,
            lingering: None,
            collections_left: 2,
            crashes_left: 1,
            is_quiet: false,
            orphan_left: false,
            swept_during_upload: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (of, upload) in state.uploads.iter().enumerate() {
            if upload.phase != Phase::Done {
                actions.push(Action::Upload(of));
            }
            if !matches!(
                upload.phase,
                Phase::Idle | Phase::Proposed | Phase::Applied | Phase::Stray | Phase::Done
            ) {
                actions.push(Action::GiveUp(of));
            }
        }
        for (nar, live) in state.live.iter().enumerate() {
            if *live {
                actions.push(Action::Delete(nar));
            }
        }
        if state.reader != Reader::Done {
            actions.push(Action::Read);
        }
        if state.collections_left > 0 {
            actions.push(Action::Collect);
        }
        if state.crashes_left > 0 {
            actions.extend([Action::Crash(false), Action::Crash(true)]);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        if action != Action::Collect {
            state.is_quiet = false;
        }
        match action {
            Action::Upload(of) => state.upload(of, *self),
            Action::GiveUp(of) => {
                state.uploads[of].told = 0;
                state.uploads[of].phase = Phase::Done;
                state.unpin(of, *self);
            }
            Action::Delete(nar) => state.live[nar] = false,
            Action::Read => state.read(*self),
            Action::Collect => state.collect(*self),
            Action::Crash(keeps) => state.crash(keeps),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is live is here", |_, state: &State| {
                state.named() & !state.present == 0
            }),
            Property::always("what its owner relies on is here", |_, state: &State| {
                state
                    .uploads
                    .iter()
                    .all(|upload| upload.told & !state.present == 0)
            }),
            Property::always(
                "what a reader was told of is here",
                |_, state: &State| !matches!(state.reader, Reader::Seen(seen) if seen & !state.present != 0),
            ),
            Property::always("a quiet collection leaves no orphan", |_, state: &State| {
                !state.orphan_left
            }),
            Property::sometimes("a sweep takes something during an upload", |_, state: &State| {
                state.swept_during_upload
            }),
        ]
    }
}

/// Whether breaking the rules breaks a promise.
fn is_caught(rules: Rules) -> bool {
    let checker = rules
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = checker.discoveries();
    rules.properties().iter().any(|property| {
        property.expectation == stateright::Expectation::Always && found.contains_key(property.name)
    })
}

#[test]
fn no_order_of_steps_loses_what_is_live_or_relied_on_or_leaves_an_orphan() {
    let checker = RULES.checker().spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.is_done());
    assert!(
        checker.unique_state_count() > 50_000,
        "{} states are too few to prove anything",
        checker.unique_state_count()
    );
}

#[test]
fn every_rule_of_the_argument_is_needed() {
    let broken = [
        (
            "pin before answer",
            Rules {
                pin_before_answer: false,
                ..RULES
            },
        ),
        (
            "mark after beginning",
            Rules {
                mark_after_beginning: false,
                ..RULES
            },
        ),
        (
            "releases linger",
            Rules {
                releases_linger: false,
                ..RULES
            },
        ),
        (
            "release after applied",
            Rules {
                release_after_applied: false,
                ..RULES
            },
        ),
        (
            "sweep at once",
            Rules {
                sweep_at_once: false,
                ..RULES
            },
        ),
        (
            "pins durable",
            Rules {
                pins_durable: false,
                ..RULES
            },
        ),
        (
            "reads hold",
            Rules {
                reads_hold: false,
                ..RULES
            },
        ),
    ];
    for (rule, rules) in broken {
        assert!(is_caught(rules), "nothing shows that the rule is broken: {rule}");
    }
}
