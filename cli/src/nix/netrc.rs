//! Editing a netrc file the way libcurl, and so Nix, reads it.
//!
//! libcurl looks for `machine HOST` by host name alone, without port or path. If the URL carries no user it takes the
//! first entry of the host; if the URL carries a user (`http://USER@HOST/…`) it takes the entry with that `login`.
//! So two caches on one host with different tokens work when each entry has its own login and the URL of the second
//! names it. An entry without a login spoils that: libcurl up to 7.88 lets a later entry override it, and later
//! versions let it answer for every user. Such an entry is therefore given a login of its own; servers that take a
//! token as password do not look at the user, and a plain URL still gets its password as long as it stays first.
//! (Checked against libcurl 7.88 under Nix 2.8 and the source of libcurl 8.)
//!
//! # Invariants
//! - Text that does not belong to an edited entry keeps every byte.
//! - Putting the same credentials twice changes nothing.

use std::ops::Range;

use anyhow::{Context as _, Result};

/// The login given to a foreign entry that has none.
const KEPT_LOGIN: &str = "tetryx-kept";

/// A netrc file as text, ready to be edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Netrc {
    text: String,
}

/// What [`Netrc::put`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    /// The user that the URL must carry for libcurl to choose this entry; `None` if the plain URL chooses it.
    pub(crate) user: Option<String>,
    /// Whether the text is another than before.
    pub(crate) changed: bool,
    /// Whether an older entry without a login was given one.
    pub(crate) gave_login: bool,
}

#[derive(Debug, Clone)]
struct Token {
    span: Range<usize>,
    value: String,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    /// `None` for `default`.
    host: Option<String>,
    /// The end of the host word, where a login can be inserted.
    host_end: usize,
    login: Option<String>,
    password: Option<Token>,
}

impl Netrc {
    /// Takes the text of a file.
    pub(crate) fn parse(text: &str) -> Self {
        Self {
            text: text.to_owned(),
        }
    }

    /// The text of the edited file.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Makes `password` the one for `host`, under `login` where more than one token is known for the host.
    pub(crate) fn put(&mut self, host: &str, login: &str, password: &str) -> Put {
        let before = self.text.clone();
        // 0. The only entry of the host has no login and this very token: it answers for every URL of the host.
        let mut of_host = self.of_host(host);
        if let (Some(only), None) = (of_host.next(), of_host.next())
            && only.login.is_none()
            && only.password.is_some_and(|p| p.value == password)
        {
            return Put {
                user: None,
                changed: false,
                gave_login: false,
            };
        }
        // 1. Our own entry, from an earlier run: the token may have changed.
        if let Some(span) = self
            .of_host(host)
            .find(|e| e.login.as_deref() == Some(login))
            .and_then(|e| e.password)
        {
            if span.value != password {
                self.text.replace_range(span.span, &quoted(password));
            }
        } else if let Some(known) = self
            .of_host(host)
            .find(|e| e.login.is_some() && e.password.as_ref().is_some_and(|p| p.value == password))
        {
            // 2. Somebody wrote the same token under another login: use that.
            return Put {
                user: self.user_needed(host, known.login),
                changed: false,
                gave_login: false,
            };
        } else {
            // 3. A new entry, at the end.
            if !self.text.is_empty() && !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            self.text.push_str(&format!(
                "machine {host} login {login} password {}\n",
                quoted(password)
            ));
        }
        let gave_login = self.give_logins(host, password);
        let user = self.user_needed(host, Some(login.to_owned()));
        Put {
            user,
            changed: self.text != before,
            gave_login,
        }
    }

    /// `None` if a plain URL gets the entry with this login, because it is the first of the host.
    fn user_needed(&self, host: &str, login: Option<String>) -> Option<String> {
        let first = self.of_host(host).next().and_then(|entry| entry.login);
        if first == login { None } else { login }
    }

    /// Gives a login to entries of the host that have none, unless the file has only one token for the host.
    fn give_logins(&mut self, host: &str, password: &str) -> bool {
        let mut inserted = false;
        while let Some(entry) = self
            .of_host(host)
            .find(|e| e.login.is_none() && e.password.is_some())
        {
            let suffix = if self.of_host(host).any(|e| e.login.as_deref() == Some(KEPT_LOGIN)) {
                format!("{KEPT_LOGIN}-{}", self.of_host(host).count())
            } else {
                KEPT_LOGIN.to_owned()
            };
            self.text.insert_str(entry.host_end, &format!(" login {suffix}"));
            inserted |= entry.password.is_some_and(|p| p.value != password);
        }
        inserted
    }

    fn of_host(&self, host: &str) -> impl Iterator<Item = Entry> + use<> {
        // libcurl compares host names without regard to case.
        let host = host.to_owned();
        entries(&self.text).into_iter().filter(move |entry| {
            entry
                .host
                .as_deref()
                .is_some_and(|h| h.eq_ignore_ascii_case(&host))
        })
    }
}

/// The host that libcurl looks up for a URL: the name alone, without brackets around an IPv6 address.
///
/// # Errors
/// When the text is no URL with a host.
pub(crate) fn host_of(url: &str) -> Result<String> {
    let parsed = reqwest::Url::parse(url)
        .with_context(|| format!("the server's substituter endpoint '{url}' is no URL"))?;
    let host = parsed
        .host_str()
        .with_context(|| format!("the server's substituter endpoint '{url}' names no host"))?;
    Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

fn quoted(word: &str) -> String {
    if word.contains(|c: char| c.is_whitespace() || c == '"' || c == '\\') {
        format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        word.to_owned()
    }
}

/// The words of a netrc, without comment lines and macros.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut in_macro = false;
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let start = line_start;
        line_start += line.len();
        if in_macro {
            in_macro = !line.trim().is_empty();
            continue;
        }
        if line.trim_start().starts_with('#') {
            continue;
        }
        let words = words(line);
        if words.iter().any(|word| word.value.eq_ignore_ascii_case("macdef")) {
            in_macro = true;
            continue;
        }
        tokens.extend(words.into_iter().map(|mut word| {
            word.span = word.span.start + start..word.span.end + start;
            word
        }));
    }
    tokens
}

fn words(line: &str) -> Vec<Token> {
    let mut words = Vec::new();
    let mut chars = line.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if c.is_whitespace() {
            continue;
        }
        let mut value = String::new();
        let mut end = start + c.len_utf8();
        if c == '"' {
            while let Some((at, c)) = chars.next() {
                end = at + c.len_utf8();
                match c {
                    '"' => break,
                    '\\' => {
                        if let Some((at, escaped)) = chars.next() {
                            end = at + escaped.len_utf8();
                            value.push(match escaped {
                                'n' => '\n',
                                'r' => '\r',
                                't' => '\t',
                                other => other,
                            });
                        }
                    }
                    other => value.push(other),
                }
            }
        } else {
            value.push(c);
            while let Some((at, c)) = chars.next_if(|(_, c)| !c.is_whitespace()) {
                end = at + c.len_utf8();
                value.push(c);
            }
        }
        words.push(Token {
            span: start..end,
            value,
        });
    }
    words
}

fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut tokens = tokens(text).into_iter();
    while let Some(token) = tokens.next() {
        match token.value.to_ascii_lowercase().as_str() {
            "machine" => {
                if let Some(host) = tokens.next() {
                    entries.push(Entry {
                        host_end: host.span.end,
                        host: Some(host.value),
                        ..Entry::default()
                    });
                }
            }
            "default" => entries.push(Entry {
                host_end: token.span.end,
                ..Entry::default()
            }),
            "login" => {
                let value = tokens.next();
                if let (Some(entry), Some(value)) = (entries.last_mut(), value) {
                    entry.login = Some(value.value);
                }
            }
            "password" => {
                let value = tokens.next();
                if let (Some(entry), Some(value)) = (entries.last_mut(), value) {
                    entry.password = Some(value);
                }
            }
            "account" => drop(tokens.next()),
            _ => {}
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &str, host: &str, login: &str, password: &str) -> (String, Put) {
        let mut netrc = Netrc::parse(text);
        let put = netrc.put(host, login, password);
        (netrc.text().to_owned(), put)
    }

    #[test]
    fn the_first_token_of_a_host_needs_no_user_in_the_url() {
        let (text, put) = put("", "localhost", "local", "tok");
        assert_eq!(text, "machine localhost login local password tok\n");
        assert_eq!(
            put,
            Put {
                user: None,
                changed: true,
                gave_login: false
            }
        );
    }

    #[test]
    fn putting_the_same_token_twice_changes_nothing() {
        let (once, _) = put("", "localhost", "local", "tok");
        let (twice, put) = put(&once, "localhost", "local", "tok");
        assert_eq!(twice, once);
        assert!(!put.changed);
    }

    #[test]
    fn a_second_token_on_the_host_is_chosen_by_user() {
        let (one, _) = put("", "localhost", "local", "tok1");
        let (two, second) = put(&one, "localhost", "other", "tok2");
        assert_eq!(
            two,
            "machine localhost login local password tok1\nmachine localhost login other password tok2\n"
        );
        assert_eq!(second.user.as_deref(), Some("other"));
        assert_eq!(put(&two, "localhost", "local", "tok1").1.user, None);
    }

    #[test]
    fn a_renewed_token_takes_the_place_of_the_old_one() {
        let text = "# keep\nmachine a login x password y\nmachine localhost\n  login local\n  password old # not ours\n";
        let (text, put) = put(text, "localhost", "local", "new");
        assert!(
            text.starts_with("# keep\nmachine a login x password y\n"),
            "{text}"
        );
        assert!(text.contains("  password new # not ours\n"), "{text}");
        assert_eq!(put.user, None);
    }

    #[test]
    fn an_older_entry_without_login_is_given_one_so_that_both_work() {
        let (text, put) = put(
            "machine localhost password theirs\n",
            "localhost",
            "local",
            "ours",
        );
        assert_eq!(
            text,
            "machine localhost login tetryx-kept password theirs\nmachine localhost login local password ours\n"
        );
        assert_eq!(
            put,
            Put {
                user: Some("local".to_owned()),
                changed: true,
                gave_login: true
            }
        );
    }

    #[test]
    fn a_lone_entry_without_login_that_holds_the_token_is_left_alone() {
        let text = "machine localhost password tok\n";
        let (after, put) = put(text, "localhost", "local", "tok");
        assert_eq!(after, text);
        assert_eq!(
            put,
            Put {
                user: None,
                changed: false,
                gave_login: false
            }
        );
    }

    #[test]
    fn the_same_token_under_a_foreign_login_is_used_as_it_is() {
        let text = "machine h login a password t1\nmachine h login b password t2\n";
        let (after, put) = put(text, "h", "local", "t2");
        assert_eq!(after, text);
        assert_eq!(
            put,
            Put {
                user: Some("b".to_owned()),
                changed: false,
                gave_login: false
            }
        );
    }

    #[test]
    fn hosts_are_compared_without_case_and_without_port() {
        let (text, put) = put(
            "machine LocalHost login local password tok\n",
            "localhost",
            "local",
            "tok",
        );
        assert!(!put.changed, "{text}");
    }

    #[test]
    fn quotes_comments_and_macros_are_read_as_libcurl_does() {
        let text = "#machine h login c password no\nmacdef init\nmachine h login m password no\n\n\
                    machine h login \"a b\" password \"p \\\"q\"\n";
        let found: Vec<Entry> = entries(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].login.as_deref(), Some("a b"));
        assert_eq!(found[0].password.as_ref().unwrap().value, "p \"q");
    }

    #[test]
    fn a_file_without_final_newline_is_not_run_together() {
        let (text, _) = put("machine a login b password c", "h", "l", "p");
        assert_eq!(
            text,
            "machine a login b password c\nmachine h login l password p\n"
        );
    }
}
