//! Histories that are explained, and histories that are not.

use super::*;

/// A number that is written, read, and raised by one.
struct Register;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Input {
    Write(u8),
    Raise,
    Read,
}

impl Model for Register {
    type State = u8;
    type Input = Input;
    type Output = u8;

    fn step(state: &u8, input: &Input) -> (u8, u8) {
        match input {
            Input::Write(value) => (*value, *value),
            Input::Raise => (state + 1, state + 1),
            Input::Read => (*state, *state),
        }
    }
}

type Numbers = History<Register>;

impl Numbers {
    fn does(&mut self, input: Input, said: u8) -> Result<(), String> {
        let id = self.begin(input);
        self.answered(id, &said)
    }
}

#[test]
fn one_after_the_other_is_explained() {
    let mut history = Numbers::default();
    history.does(Input::Read, 0).unwrap();
    history.does(Input::Write(4), 4).unwrap();
    history.does(Input::Raise, 5).unwrap();
    history.does(Input::Read, 5).unwrap();
}

#[test]
fn a_stale_read_is_noticed() {
    let mut history = Numbers::default();
    history.does(Input::Write(1), 1).unwrap();
    history.does(Input::Write(2), 2).unwrap();
    let error = history.does(Input::Read, 1).unwrap_err();
    assert!(error.contains("could only be 2"), "{error}");
}

#[test]
fn a_lost_update_is_noticed() {
    let mut history = Numbers::default();
    let (one, other) = (history.begin(Input::Raise), history.begin(Input::Raise));
    history.answered(one, &1).unwrap();
    assert!(history.answered(other, &1).is_err());
}

#[test]
fn what_goes_on_at_once_may_take_effect_in_either_order() {
    for order in [1, 2] {
        let mut history = Numbers::default();
        let (one, two) = (history.begin(Input::Write(1)), history.begin(Input::Write(2)));
        history.answered(one, &1).unwrap();
        history.answered(two, &2).unwrap();
        history.does(Input::Read, order).unwrap();
        assert!(history.does(Input::Read, 3 - order).is_err(), "and stays so");
    }
}

#[test]
fn a_read_during_a_write_sees_either_and_does_not_go_back() {
    let mut history = Numbers::default();
    let _unanswered = history.begin(Input::Write(1));
    history.does(Input::Read, 0).unwrap();
    history.does(Input::Read, 1).unwrap();
    assert!(history.does(Input::Read, 0).is_err());
}

#[test]
fn what_is_in_doubt_takes_effect_later_or_never_but_once() {
    let mut history = Numbers::default();
    let raise = history.begin(Input::Raise);
    history.in_doubt(raise);
    history.does(Input::Read, 0).unwrap();
    history.does(Input::Write(7), 7).unwrap();
    history.does(Input::Read, 7).unwrap();
    history.does(Input::Read, 8).unwrap();
    assert!(history.does(Input::Read, 9).is_err());
}

#[test]
fn what_had_no_effect_is_seen_by_nobody() {
    let mut history = Numbers::default();
    let write = history.begin(Input::Write(9));
    history.without_effect(write);
    history.does(Input::Read, 0).unwrap();
    let write = history.begin(Input::Write(9));
    history.does(Input::Read, 0).unwrap();
    history.without_effect(write);
    assert!(history.does(Input::Read, 9).is_err());
}

#[test]
fn what_ended_perhaps_took_effect_before_that_or_never() {
    let mut history = Numbers::default();
    let write = history.begin(Input::Write(9));
    history.perhaps(write);
    history.does(Input::Read, 0).unwrap();
    assert!(history.does(Input::Read, 9).is_err());
    let mut history = Numbers::default();
    let write = history.begin(Input::Write(9));
    history.perhaps(write);
    history.does(Input::Read, 9).unwrap();
}

#[test]
fn many_in_doubt_that_do_the_same_are_counted_only() {
    let mut history = Numbers::default();
    for _ in 0..100 {
        let raise = history.begin(Input::Raise);
        history.in_doubt(raise);
    }
    history.does(Input::Read, 60).unwrap();
    history.does(Input::Read, 99).unwrap();
    assert!(!history.is_undecided());
    assert!(history.does(Input::Read, 98).is_err());
}

#[test]
fn what_was_in_doubt_may_be_answered_after_all() {
    for (refused, answered) in [(0, 1), (1, 0)] {
        let mut history = Numbers::default();
        let raises = [history.begin(Input::Raise), history.begin(Input::Raise)];
        raises.iter().for_each(|raise| history.in_doubt(*raise));
        history.does(Input::Read, 1).unwrap();
        history.does(Input::Write(5), 5).unwrap();
        history.without_effect(raises[refused]);
        history.answered(raises[answered], &1).unwrap();
        history.does(Input::Read, 5).unwrap();
        assert!(history.does(Input::Read, 6).is_err());
    }
}

#[test]
fn too_much_at_once_is_left_undecided_and_says_so() {
    let mut history = Numbers::default();
    let open: Vec<OpId> = (1..=20).map(|value| history.begin(Input::Write(value))).collect();
    for id in open.iter().rev() {
        let _ = history.answered(*id, &u8::try_from(id.0 + 1).unwrap());
    }
    assert!(history.is_undecided());
}
