//! What clients were promised about tokens.
//!
//! Whoever asks for a token chooses its subject, and no subject is used twice: so a token is known by it even when the
//! answer with its id was lost.

use std::collections::BTreeMap;

use tetryx_protocol::id::TokenId;

use super::linear::{History, OpId};
use super::registry::{Token, TokenInput, TokenOutput, TokenState};

/// A token and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) serial: u64,
    pub(crate) id: TokenId,
    /// As it is sent.
    pub(crate) text: String,
}

/// What must be answered to whoever shows a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody ever tried to revoke it.
    Live,
    /// It is refused by whoever has applied the log up to this index.
    Revoked { from: u64 },
    /// A revocation was begun.
    Either,
}

/// A request about a token under way.
#[derive(Debug)]
#[must_use]
pub(crate) struct TokenCall {
    serial: u64,
    op: OpId,
}

impl TokenCall {
    /// Which token it is about.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }
}

#[derive(Debug, Default)]
struct Promised {
    issued: Option<(TokenId, String)>,
    revocations_begun: u32,
    revoked: Option<u64>,
    history: History<Token>,
}

/// All tokens of a world.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    tokens: BTreeMap<u64, Promised>,
    by_id: BTreeMap<TokenId, u64>,
}

/// The subject of the token with this serial.
pub(crate) fn subject(serial: u64) -> String {
    format!("client-{serial}")
}

/// The serial behind a subject of ours.
pub(crate) fn serial_of(subject: &str) -> Option<u64> {
    subject.strip_prefix("client-")?.parse().ok()
}

impl Tokens {
    /// A new token is asked for.
    pub(crate) fn issue_begins(&mut self) -> TokenCall {
        let serial = self.tokens.last_key_value().map_or(0, |(last, _)| last + 1);
        let promised = self.tokens.entry(serial).or_default();
        let op = promised.history.begin(TokenInput::Issue);
        TokenCall { serial, op }
    }

    /// It was issued.
    ///
    /// # Errors
    /// In words, when that cannot be.
    pub(crate) fn issued(&mut self, call: TokenCall, id: TokenId, text: String) -> Result<(), String> {
        let TokenCall { serial, op } = call;
        if let Some(other) = self.by_id.insert(id, serial) {
            return Err(format!(
                "the tokens of {} and {} have one id",
                subject(other),
                subject(serial)
            ));
        }
        let promised = self.known(serial);
        promised.issued = Some((id, text));
        answered(promised, serial, op, TokenOutput::Done)
    }

    /// A revocation is sent.
    pub(crate) fn revocation_begins(&mut self, serial: u64) -> TokenCall {
        let promised = self.known(serial);
        promised.revocations_begun += 1;
        let op = promised.history.begin(TokenInput::Revoke);
        TokenCall { serial, op }
    }

    /// It was revoked at this log index.
    ///
    /// # Errors
    /// In words, when that cannot be.
    pub(crate) fn revoked(&mut self, call: TokenCall, index: u64) -> Result<(), String> {
        let promised = self.known(call.serial);
        // Revoked twice, the earlier one counts.
        promised.revoked = Some(promised.revoked.map_or(index, |earlier| earlier.min(index)));
        answered(promised, call.serial, call.op, TokenOutput::Done)
    }

    /// There is no such token, says the cluster.
    ///
    /// # Errors
    /// In words, when there must be.
    pub(crate) fn nothing_to_revoke(&mut self, call: TokenCall) -> Result<(), String> {
        let promised = self.known(call.serial);
        answered(promised, call.serial, call.op, TokenOutput::Missing)
    }

    /// Nobody knows what became of the request.
    pub(crate) fn in_doubt(&mut self, call: TokenCall) {
        self.known(call.serial).history.in_doubt(call.op);
    }

    /// It had no effect.
    pub(crate) fn without_effect(&mut self, call: TokenCall) {
        self.known(call.serial).history.without_effect(call.op);
    }

    /// Somebody asks for the registry, and wants the newest answer, about the last `count` tokens.
    pub(crate) fn read_begins(&mut self, count: usize) -> Vec<TokenCall> {
        let last = self.tokens.iter_mut().rev().take(count);
        let begin = |(serial, promised): (&u64, &mut Promised)| TokenCall {
            serial: *serial,
            op: promised.history.begin(TokenInput::Read),
        };
        last.map(begin).collect()
    }

    /// It was answered: these tokens are in it, with whether each is revoked.
    ///
    /// # Errors
    /// In words, when that cannot be.
    pub(crate) fn read(&mut self, calls: Vec<TokenCall>, seen: &BTreeMap<u64, bool>) -> Result<(), String> {
        calls.into_iter().try_for_each(|call| {
            let state = match seen.get(&call.serial) {
                None => TokenState::Absent,
                Some(false) => TokenState::Live,
                Some(true) => TokenState::Revoked,
            };
            let promised = self.known(call.serial);
            answered(promised, call.serial, call.op, TokenOutput::Seen(state))
        })
    }

    /// It was not.
    pub(crate) fn not_read(&mut self, calls: Vec<TokenCall>) {
        for call in calls {
            self.without_effect(call);
        }
    }

    /// What must be answered to whoever shows it.
    pub(crate) fn standing(&self, serial: u64) -> Standing {
        match self.tokens.get(&serial) {
            Some(Promised {
                revoked: Some(from), ..
            }) => Standing::Revoked { from: *from },
            Some(Promised {
                revocations_begun: 0, ..
            }) => Standing::Live,
            _ => Standing::Either,
        }
    }

    /// The tokens that somebody has, in the order they were asked for.
    pub(crate) fn all(&self) -> Vec<Issued> {
        let issued = self.tokens.iter().filter_map(|(serial, promised)| {
            let (id, text) = promised.issued.clone()?;
            Some(Issued {
                serial: *serial,
                id,
                text,
            })
        });
        issued.collect()
    }

    /// How many were too much to judge.
    pub(crate) fn undecided(&self) -> usize {
        let histories = self.tokens.values().map(|promised| &promised.history);
        histories.filter(|history| history.is_undecided()).count()
    }

    fn known(&mut self, serial: u64) -> &mut Promised {
        self.tokens.entry(serial).or_default()
    }
}

fn answered(promised: &mut Promised, serial: u64, op: OpId, said: TokenOutput) -> Result<(), String> {
    let answered = promised.history.answered(op, &said);
    answered.map_err(|error| format!("the token of {}: {error}", subject(serial)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(tokens: &mut Tokens) -> u64 {
        let call = tokens.issue_begins();
        let serial = call.serial;
        let id = TokenId::from_bytes([u8::try_from(serial).unwrap(); 16]);
        tokens.issued(call, id, "text".to_owned()).unwrap();
        serial
    }

    #[test]
    fn a_token_counts_until_somebody_begins_to_revoke_it() {
        let mut tokens = Tokens::default();
        let serial = issued(&mut tokens);
        assert_eq!(tokens.standing(serial), Standing::Live);
        let call = tokens.revocation_begins(serial);
        assert_eq!(tokens.standing(serial), Standing::Either);
        tokens.revoked(call, 8).unwrap();
        assert_eq!(tokens.standing(serial), Standing::Revoked { from: 8 });
    }

    #[test]
    fn a_revocation_that_nobody_heard_of_again_is_unknown() {
        let mut tokens = Tokens::default();
        let serial = issued(&mut tokens);
        let call = tokens.revocation_begins(serial);
        tokens.in_doubt(call);
        assert_eq!(tokens.standing(serial), Standing::Either);
    }

    #[test]
    fn a_registry_that_forgot_a_revocation_is_noticed() {
        let mut tokens = Tokens::default();
        let serial = issued(&mut tokens);
        let call = tokens.revocation_begins(serial);
        tokens.revoked(call, 8).unwrap();
        let calls = tokens.read_begins(10);
        let error = tokens
            .read(calls, &BTreeMap::from([(serial, false)]))
            .unwrap_err();
        assert!(error.contains(&subject(serial)), "{error}");
    }

    #[test]
    fn a_token_that_was_asked_for_in_vain_may_or_may_not_be_there() {
        let mut tokens = Tokens::default();
        let call = tokens.issue_begins();
        let serial = call.serial;
        tokens.in_doubt(call);
        for seen in [BTreeMap::new(), BTreeMap::from([(serial, false)])] {
            let calls = tokens.read_begins(10);
            tokens.read(calls, &seen).unwrap();
        }
        let calls = tokens.read_begins(10);
        assert!(tokens.read(calls, &BTreeMap::new()).is_err());
    }
}
