//! Whether what clients saw of one small thing could have come from one thing, changed one step at a time.
//!
//! A history is checked while it grows. It keeps every state the thing may be in, each with the operations that have
//! taken effect in it and are not answered yet. When an operation is answered, each state goes on through whatever is
//! open until that operation has taken effect; the states in which it answered something else are dropped. When none
//! is left, no order of single steps explains the answers.
//!
//! An operation whose answer never came stays open for ever: it may take effect at any later time, or never.
//!
//! # Invariants
//! - Order is that of the calls: what was answered before another began is before it.
//! - Every answer takes a bounded number of steps ([`STEPS_MAX`]); a history that would need more is left undecided,
//!   and says so.
//!
//! # Non-goals
//! - Long histories of one thing under many clients. There are many things with few operations each instead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;

/// States looked at for one answer, at most.
const STEPS_MAX: usize = 20_000;
/// Events told when a history has no explanation.
const EVENTS_TOLD: usize = 24;

/// What a thing does when it is changed one step at a time.
pub(crate) trait Model {
    type State: Clone + Ord + Debug + Default;
    type Input: Clone + Ord + Debug;
    type Output: Clone + Ord + Debug;

    /// The next state, and what the operation answers.
    fn step(state: &Self::State, input: &Self::Input) -> (Self::State, Self::Output);

    /// Whether a client that was told `said` may have been told it by a step that answered `stepped`.
    fn agrees(said: &Self::Output, stepped: &Self::Output) -> bool {
        said == stepped
    }
}

/// An operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpId(u64);

/// How the thing may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration<S, O> {
    state: S,
    /// What took effect and is not answered; of operations in doubt it does not matter what they would have answered.
    effective: BTreeMap<OpId, Option<O>>,
}

#[derive(Clone, Debug)]
struct Open<I> {
    input: I,
    /// Nobody waits for its answer any more.
    in_doubt: bool,
}

type ConfigurationOf<M> = Configuration<<M as Model>::State, <M as Model>::Output>;

/// What happened to one thing.
pub(crate) struct History<M: Model> {
    open: BTreeMap<OpId, Open<M::Input>>,
    configurations: BTreeSet<ConfigurationOf<M>>,
    events: VecDeque<String>,
    operations: u64,
    undecided: bool,
}

impl<M: Model> Debug for History<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("operations", &self.operations)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl<M: Model> Default for History<M> {
    fn default() -> Self {
        let beginning = Configuration {
            state: M::State::default(),
            effective: BTreeMap::new(),
        };
        Self {
            open: BTreeMap::new(),
            configurations: BTreeSet::from([beginning]),
            events: VecDeque::new(),
            operations: 0,
            undecided: false,
        }
    }
}

impl<M: Model> History<M> {
    /// An operation begins.
    pub(crate) fn begin(&mut self, input: M::Input) -> OpId {
        let id = OpId(self.operations);
        self.operations += 1;
        self.note(format!("#{} begins: {input:?}", id.0));
        let open = Open {
            input,
            in_doubt: false,
        };
        self.open.insert(id, open);
        id
    }

    /// The operation was answered.
    ///
    /// # Errors
    /// In words, when no order of single steps explains all answers so far.
    pub(crate) fn answered(&mut self, id: OpId, said: &M::Output) -> Result<(), String> {
        if !self.open.contains_key(&id) {
            return Ok(());
        }
        self.note(format!("#{} answered: {said:?}", id.0));
        self.out_of_doubt(id);
        if !self.undecided {
            let before = self.states();
            self.go_on_until(id);
            let agrees = |configuration: &ConfigurationOf<M>| match configuration.effective.get(&id) {
                Some(Some(stepped)) => M::agrees(said, stepped),
                Some(None) => true,
                None => false,
            };
            self.configurations.retain(agrees);
            if self.configurations.is_empty() && !self.undecided {
                return Err(format!(
                    "{said:?} has no explanation: before that it could only be {before}; the last events: {}",
                    self.told()
                ));
            }
        }
        self.forget(id);
        Ok(())
    }

    /// The operation is known to have had no effect, and its answer says nothing about the state.
    pub(crate) fn without_effect(&mut self, id: OpId) {
        if self.open.contains_key(&id) {
            self.note(format!("#{} had no effect", id.0));
            self.out_of_doubt(id);
            // Whatever it could have been part of is there without it as well.
            self.configurations
                .retain(|configuration| !configuration.effective.contains_key(&id));
            self.forget(id);
        }
    }

    /// The operation is over; whether it took effect is not known.
    pub(crate) fn perhaps(&mut self, id: OpId) {
        if !self.open.contains_key(&id) {
            return;
        }
        self.note(format!("#{} ended, perhaps without effect", id.0));
        self.out_of_doubt(id);
        let without = self.configurations.clone();
        self.go_on_until(id);
        self.configurations.extend(without);
        self.forget(id);
    }

    /// The answer will not be waited for: it may take effect at any time from now on, or have done so, or never.
    pub(crate) fn in_doubt(&mut self, id: OpId) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        open.in_doubt = true;
        self.note(format!("#{} is in doubt", id.0));
        let configurations = std::mem::take(&mut self.configurations);
        self.configurations = configurations
            .into_iter()
            .map(|mut configuration| {
                if let Some(answer) = configuration.effective.get_mut(&id) {
                    *answer = None;
                }
                self.made_alike(configuration)
            })
            .collect();
    }

    /// Whether somebody waits for an answer.
    pub(crate) fn is_busy(&self) -> bool {
        self.open.values().any(|open| !open.in_doubt)
    }

    /// How many operations may yet take effect though nobody waits.
    pub(crate) fn doubts(&self) -> usize {
        self.open.values().filter(|open| open.in_doubt).count()
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// Whether there was too much to look at.
    pub(crate) fn is_undecided(&self) -> bool {
        self.undecided
    }

    fn forget(&mut self, id: OpId) {
        self.open.remove(&id);
        let configurations = std::mem::take(&mut self.configurations);
        self.configurations = configurations
            .into_iter()
            .map(|mut configuration| {
                configuration.effective.remove(&id);
                configuration
            })
            .collect();
    }

    /// Takes every configuration on, through what is open, until the operation has taken effect.
    fn go_on_until(&mut self, id: OpId) {
        let mut found = BTreeSet::new();
        let mut seen = self.configurations.clone();
        let mut ahead: Vec<_> = std::mem::take(&mut self.configurations).into_iter().collect();
        while let Some(configuration) = ahead.pop() {
            if configuration.effective.contains_key(&id) {
                found.insert(configuration);
                continue;
            }
            if seen.len() > STEPS_MAX {
                self.undecided = true;
                break;
            }
            for next in self.steps(&configuration) {
                if seen.insert(next.clone()) {
                    ahead.push(next);
                }
            }
        }
        self.configurations = found;
    }

    fn steps(&self, configuration: &ConfigurationOf<M>) -> Vec<ConfigurationOf<M>> {
        let mut doubts_taken = BTreeSet::new();
        let mut next = Vec::new();
        for (id, open) in &self.open {
            if configuration.effective.contains_key(id) {
                continue;
            }
            // Of several in doubt that do the same, it does not matter which one does it.
            if open.in_doubt && !doubts_taken.insert(&open.input) {
                continue;
            }
            let (state, output) = M::step(&configuration.state, &open.input);
            if open.in_doubt && state == configuration.state {
                continue;
            }
            let mut effective = configuration.effective.clone();
            effective.insert(*id, (!open.in_doubt).then_some(output));
            next.push(Configuration { state, effective });
        }
        next
    }

    /// An operation in doubt is answered after all: where one that does the same took effect, it may have been this.
    fn out_of_doubt(&mut self, id: OpId) {
        let Some(Open {
            input,
            in_doubt: true,
        }) = self.open.get(&id).cloned()
        else {
            return;
        };
        let alike: Vec<OpId> = self
            .open
            .iter()
            .filter(|(other, open)| **other != id && open.in_doubt && open.input == input)
            .map(|(other, _)| *other)
            .collect();
        let mut others = Vec::new();
        for configuration in &self.configurations {
            let took_effect = configuration.effective.contains_key(&id);
            let other = alike
                .iter()
                .find(|other| configuration.effective.contains_key(other) != took_effect);
            if let Some(other) = other {
                let (from, to) = if took_effect { (&id, other) } else { (other, &id) };
                let mut swapped = configuration.clone();
                swapped.effective.remove(from);
                swapped.effective.insert(*to, None);
                others.push(swapped);
            }
        }
        self.configurations.extend(others);
        if let Some(open) = self.open.get_mut(&id) {
            open.in_doubt = false;
        }
    }

    /// Of operations in doubt that do the same, says the first ones took effect.
    fn made_alike(&self, mut configuration: ConfigurationOf<M>) -> ConfigurationOf<M> {
        let mut alike: BTreeMap<&M::Input, Vec<OpId>> = BTreeMap::new();
        for (id, open) in self.open.iter().filter(|(_, open)| open.in_doubt) {
            alike.entry(&open.input).or_default().push(*id);
        }
        for ids in alike.into_values() {
            let took = ids
                .iter()
                .filter(|id| configuration.effective.remove(id).is_some())
                .count();
            configuration
                .effective
                .extend(ids.into_iter().take(took).map(|id| (id, None)));
        }
        configuration
    }

    fn states(&self) -> String {
        let states: BTreeSet<&M::State> = self.configurations.iter().map(|one| &one.state).collect();
        let states: Vec<String> = states.into_iter().map(|state| format!("{state:?}")).collect();
        states.join(" or ")
    }

    fn note(&mut self, event: String) {
        if self.events.len() == EVENTS_TOLD {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn told(&self) -> String {
        let events: Vec<&str> = self.events.iter().map(String::as_str).collect();
        events.join("; ")
    }
}

#[cfg(test)]
#[path = "linear_tests.rs"]
mod tests;
