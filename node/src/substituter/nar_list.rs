//! Reads what is in a NAR and writes it as Nix's listing, version 1 (`listNar` in `nar-accessor.cc` of Nix).
//!
//! # Invariants
//! - File contents are skipped, never held.
//! - Depth costs one byte of memory a level; a token has at most [`TOKEN_BYTES_MAX`], a listing [`TEXT_BYTES_MAX`].

use std::fmt::Write;

/// Longest name, target or keyword that is read; the system's longest path has 4,096 bytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// Longest listing that is made.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// The bytes of a NAR in order.
pub(super) trait NarSource {
    type Error;

    /// Fills the slice; false if the bytes end before.
    fn read(&mut self, into: &mut [u8]) -> Result<bool, Self::Error>;

    /// Leaves out so many bytes; false if there are fewer.
    fn skip(&mut self, bytes: u64) -> Result<bool, Self::Error>;

    /// Whether every byte was read or skipped.
    fn at_end(&mut self) -> bool;
}

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError<E: std::error::Error + 'static> {
    #[error("the NAR cannot be read")]
    Source(#[source] E),
    #[error("this is no NAR: at byte {offset}, {expected} was expected")]
    Malformed { offset: u64, expected: &'static str },
    #[error("a name or target at byte {offset} is not UTF-8, so it has no place in JSON")]
    NotText { offset: u64 },
    #[error("the listing would be longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
}

/// The listing as JSON.
pub(super) fn list<S: NarSource<Error: std::error::Error + 'static>>(
    source: &mut S,
) -> Result<String, ListError<S::Error>> {
    let mut lister = Lister {
        source,
        offset: 0,
        text: String::from(r#"{"version":1,"root":"#),
    };
    lister.expect("nix-archive-1")?;
    lister.tree()?;
    if !lister.source.at_end() {
        return Err(lister.malformed("the end"));
    }
    lister.text.push('}');
    Ok(lister.text)
}

struct Lister<'a, S> {
    source: &'a mut S,
    offset: u64,
    text: String,
}

impl<S: NarSource<Error: std::error::Error + 'static>> Lister<'_, S> {
    /// A node and everything below it.
    fn tree(&mut self) -> Result<(), ListError<S::Error>> {
        // For each open directory, whether it has an entry already. Not recursive: a NAR may be as deep as it likes.
        let mut open: Vec<bool> = Vec::new();
        loop {
            if self.node()? {
                open.push(false);
            } else if !open.is_empty() {
                self.expect(")")?;
            }
            // Between nodes: the next entry of the innermost directory, or its end.
            loop {
                let Some(has_entry) = open.last_mut() else {
                    return Ok(());
                };
                let token = self.token()?;
                match token.as_slice() {
                    b"entry" => {
                        let comma = std::mem::replace(has_entry, true);
                        self.entry(comma)?;
                        break;
                    }
                    b")" => {
                        self.text.push_str("}}");
                        open.pop();
                        if open.is_empty() {
                            return Ok(());
                        }
                        self.expect(")")?;
                    }
                    _ => return Err(self.malformed("an entry or ')'")),
                }
            }
        }
    }

    fn entry(&mut self, comma: bool) -> Result<(), ListError<S::Error>> {
        self.expect("(")?;
        self.expect("name")?;
        if comma {
            self.text.push(',');
        }
        self.string()?;
        self.text.push(':');
        self.expect("node")
    }

    /// A node up to its end; true for a directory, whose entries follow.
    fn node(&mut self) -> Result<bool, ListError<S::Error>> {
        if self.text.len() > TEXT_BYTES_MAX {
            return Err(ListError::TooLong);
        }
        self.expect("(")?;
        self.expect("type")?;
        let token = self.token()?;
        match token.as_slice() {
            b"directory" => {
                self.text.push_str(r#"{"type":"directory","entries":{"#);
                return Ok(true);
            }
            b"symlink" => {
                self.expect("target")?;
                self.text.push_str(r#"{"type":"symlink","target":"#);
                self.string()?;
                self.text.push('}');
                self.expect(")")?;
            }
            b"regular" => self.regular()?,
            _ => return Err(self.malformed("a type")),
        }
        Ok(false)
    }

    fn regular(&mut self) -> Result<(), ListError<S::Error>> {
        self.text.push_str(r#"{"type":"regular""#);
        let mut token = self.token()?;
        if token == b"executable" {
            self.expect("")?;
            self.text.push_str(r#","executable":true"#);
            token = self.token()?;
        }
        if token == b"contents" {
            let size = self.number()?;
            write!(self.text, r#","size":{size},"narOffset":{}"#, self.offset).expect("writing to a string");
            self.skip(size)?;
            self.skip(padding(size))?;
            token = self.token()?;
        } else {
            self.text.push_str(r#","size":0"#);
        }
        self.text.push('}');
        if token == b")" {
            Ok(())
        } else {
            Err(self.malformed("')'"))
        }
    }

    /// Reads a string and writes it as JSON.
    fn string(&mut self) -> Result<(), ListError<S::Error>> {
        let offset = self.offset;
        let text = String::from_utf8(self.token()?).map_err(|_| ListError::NotText { offset })?;
        let json = serde_json::to_string(&text).expect("every string is JSON");
        self.text.push_str(&json);
        Ok(())
    }

    fn expect(&mut self, expected: &'static str) -> Result<(), ListError<S::Error>> {
        if self.token()? == expected.as_bytes() {
            Ok(())
        } else {
            Err(self.malformed(expected))
        }
    }

    fn token(&mut self) -> Result<Vec<u8>, ListError<S::Error>> {
        let len = self.number()?;
        if len > TOKEN_BYTES_MAX {
            return Err(self.malformed("a name"));
        }
        let mut token = vec![0; usize::try_from(len).expect("at most TOKEN_BYTES_MAX")];
        self.read(&mut token)?;
        self.skip(padding(len))?;
        Ok(token)
    }

    fn number(&mut self) -> Result<u64, ListError<S::Error>> {
        let mut bytes = [0; 8];
        self.read(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), ListError<S::Error>> {
        let whole = self.source.read(into).map_err(ListError::Source)?;
        self.offset += into.len() as u64;
        if whole {
            Ok(())
        } else {
            Err(self.malformed("more bytes"))
        }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ListError<S::Error>> {
        let whole = self.source.skip(bytes).map_err(ListError::Source)?;
        self.offset = self.offset.saturating_add(bytes);
        if whole {
            Ok(())
        } else {
            Err(self.malformed("more bytes"))
        }
    }

    fn malformed(&self, expected: &'static str) -> ListError<S::Error> {
        ListError::Malformed {
            offset: self.offset,
            expected,
        }
    }
}

/// Strings are filled up to a multiple of eight.
const fn padding(len: u64) -> u64 {
    (8 - len % 8) % 8
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    impl NarSource for &[u8] {
        type Error = Infallible;

        fn read(&mut self, into: &mut [u8]) -> Result<bool, Infallible> {
            let Some((head, tail)) = self.split_at_checked(into.len()) else {
                return Ok(false);
            };
            into.copy_from_slice(head);
            *self = tail;
            Ok(true)
        }

        fn skip(&mut self, bytes: u64) -> Result<bool, Infallible> {
            let rest = usize::try_from(bytes).ok().and_then(|bytes| self.get(bytes..));
            *self = rest.unwrap_or_default();
            Ok(rest.is_some())
        }

        fn at_end(&mut self) -> bool {
            self.is_empty()
        }
    }

    /// A NAR from its tokens.
    fn nar(tokens: &[&[u8]]) -> Vec<u8> {
        let mut nar = Vec::new();
        for token in tokens {
            nar.extend((token.len() as u64).to_le_bytes());
            nar.extend_from_slice(token);
            nar.resize(nar.len().next_multiple_of(8), 0);
        }
        nar
    }

    fn listed(tokens: &[&[u8]]) -> String {
        list(&mut nar(tokens).as_slice()).unwrap()
    }

    #[test]
    fn a_listing_says_what_nix_says() {
        let file: &[&[u8]] = &[
            b"nix-archive-1",
            b"(",
            b"type",
            b"regular",
            b"contents",
            b"hello",
            b")",
        ];
        assert_eq!(
            listed(file),
            r#"{"version":1,"root":{"type":"regular","size":5,"narOffset":96}}"#
        );
        let tree: &[&[u8]] = &[
            b"nix-archive-1",
            b"(",
            b"type",
            b"directory",
            b"entry",
            b"(",
            b"name",
            b"a",
            b"node",
            b"(",
            b"type",
            b"directory",
            b")",
            b")",
            b"entry",
            b"(",
            b"name",
            b"b\"",
            b"node",
            b"(",
            b"type",
            b"regular",
            b"executable",
            b"",
            b"contents",
            b"",
            b")",
            b")",
            b"entry",
            b"(",
            b"name",
            b"c",
            b"node",
            b"(",
            b"type",
            b"symlink",
            b"target",
            b"a/b",
            b")",
            b")",
            b")",
        ];
        let expected = concat!(
            r#"{"version":1,"root":{"type":"directory","entries":{"a":{"type":"directory","entries":{}},"#,
            r#""b\"":{"type":"regular","executable":true,"size":0,"narOffset":432},"#,
            r#""c":{"type":"symlink","target":"a/b"}}}}"#
        );
        assert_eq!(listed(tree), expected);
    }

    #[test]
    fn anything_else_is_refused_without_panic() {
        let file: &[&[u8]] = &[
            b"nix-archive-1",
            b"(",
            b"type",
            b"regular",
            b"contents",
            b"hello",
            b")",
        ];
        let whole = nar(file);
        for len in 0..whole.len() {
            assert!(list(&mut &whole[..len]).is_err(), "cut at {len}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(matches!(
            list(&mut longer.as_slice()),
            Err(ListError::Malformed { .. })
        ));
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 0x81;
            let _ = list(&mut changed.as_slice());
        }
    }

    #[test]
    fn depth_is_no_danger() {
        let mut tokens: Vec<&[u8]> = vec![b"nix-archive-1"];
        for _ in 0..50_000 {
            tokens.extend([
                b"(" as &[u8],
                b"type",
                b"directory",
                b"entry",
                b"(",
                b"name",
                b"d",
                b"node",
            ]);
        }
        tokens.extend([b"(" as &[u8], b"type", b"directory", b")"]);
        tokens.extend(std::iter::repeat_n(b")" as &[u8], 2 * 50_000));
        assert!(list(&mut nar(&tokens).as_slice()).is_ok());
    }
}
