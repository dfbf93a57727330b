//! Editing `nix.conf` without disturbing it.
//!
//! The format is that of Nix's `parseConfigFiles`: a line is `NAME = VALUE…`, `include FILE` or `!include FILE`;
//! everything from `#` on is a comment; there is no quoting and no continuation. A list setting is reset by
//! `NAME = …` and extended by `extra-NAME = …`, in the order of the file; a later line wins.
//!
//! # Invariants
//! - Lines that are not edited keep every byte, comments and order included.
//! - Adding a value that is there already changes nothing.

/// A list setting with the older names that Nix still reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListSetting {
    name: &'static str,
    alias: &'static str,
}

/// Where Nix looks for paths.
pub(crate) const SUBSTITUTERS: ListSetting = ListSetting {
    name: "substituters",
    alias: "binary-caches",
};
/// Whose signatures Nix believes.
pub(crate) const TRUSTED_PUBLIC_KEYS: ListSetting = ListSetting {
    name: "trusted-public-keys",
    alias: "binary-cache-public-keys",
};

impl ListSetting {
    fn is(self, name: &str) -> bool {
        name == self.name || name == self.alias
    }

    fn is_extra(self, name: &str) -> bool {
        name.strip_prefix("extra-").is_some_and(|rest| self.is(rest))
    }
}

/// A configuration file as text, ready to be edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NixConf {
    lines: Vec<String>,
}

/// What an edit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    /// The value was there.
    Unchanged,
    /// The value was added, or took the place of an older form of it.
    Changed,
}

/// One `NAME = VALUE…` line: byte offsets into it.
struct Assignment<'a> {
    name: &'a str,
    /// Where the value starts, after `=` and blanks.
    value_at: usize,
    value: &'a str,
}

fn assignment(line: &str) -> Option<Assignment<'_>> {
    let body = line.split('#').next().unwrap_or_default();
    let equals = body.find('=')?;
    let name = body[..equals].trim();
    // Nix splits by blanks and wants the second word to be `=`; `a=b` is a syntax error there.
    if name.is_empty() || name.contains(char::is_whitespace) {
        return None;
    }
    let rest = &body[equals + 1..];
    let value_at = equals + 1 + (rest.len() - rest.trim_start().len());
    Some(Assignment {
        name,
        value_at,
        value: rest.trim(),
    })
}

/// The URL without the user in front of the host, so that `http://me@host/x` and `http://host/x` are one place.
pub(crate) fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{}", path.trim_end_matches('/'))
}

impl NixConf {
    /// Takes the text of a file apart.
    pub(crate) fn parse(text: &str) -> Self {
        Self {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// The text of the edited file, with a newline at its end.
    pub(crate) fn to_text(&self) -> String {
        let mut text = self.lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }

    /// The value of the last line that sets `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.lines
            .iter()
            .rev()
            .filter_map(|line| assignment(line))
            .find(|a| a.name == name)
            .map(|a| a.value)
    }

    /// The files it includes, as written, with whether a missing one is an error.
    pub(crate) fn includes(&self) -> impl Iterator<Item = (&str, bool)> {
        self.lines.iter().filter_map(|line| {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("include"), Some(file), None) => Some((file, true)),
                (Some("!include"), Some(file), None) => Some((file, false)),
                _ => None,
            }
        })
    }

    /// The values that a list setting ends up with from this file alone.
    pub(crate) fn list(&self, setting: ListSetting) -> Vec<String> {
        let mut values = Vec::new();
        for assignment in self.lines.iter().filter_map(|line| assignment(line)) {
            if setting.is(assignment.name) {
                values.clear();
            } else if !setting.is_extra(assignment.name) {
                continue;
            }
            values.extend(assignment.value.split_whitespace().map(str::to_owned));
        }
        values
    }

    /// Sets a single-valued setting: in place if a line sets it, else on a new line.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Edit {
        if self.get(name) == Some(value) {
            return Edit::Unchanged;
        }
        let found = self
            .lines
            .iter()
            .rposition(|line| assignment(line).is_some_and(|a| a.name == name));
        match found {
            Some(index) => {
                let line = &self.lines[index];
                let a = assignment(line).expect("the line was found because it is an assignment");
                let after = a.value_at + a.value.len();
                self.lines[index] = format!("{}{value}{}", &line[..a.value_at], &line[after..]);
            }
            None => self.lines.push(format!("{name} = {value}")),
        }
        Edit::Changed
    }

    /// Puts `value` in front of a list setting, so that it takes effect in the file as it stands.
    ///
    /// A value for which `same` holds is replaced where it is. Otherwise the line that decides the setting gets the
    /// value; if there is none, an `extra-` line is added, which keeps what the system's configuration says.
    pub(crate) fn add(&mut self, setting: ListSetting, value: &str, same: impl Fn(&str) -> bool) -> Edit {
        let effective = self.list(setting);
        if effective.iter().any(|v| v == value) && effective.iter().filter(|v| same(v)).count() <= 1 {
            return Edit::Unchanged;
        }
        for line in &mut self.lines {
            *line = remove_values(line, setting, &same);
        }
        // The last plain assignment resets the list, so lines before it have no effect.
        let plain = self
            .lines
            .iter()
            .rposition(|line| assignment(line).is_some_and(|a| setting.is(a.name)));
        let extra = self
            .lines
            .iter()
            .rposition(|line| assignment(line).is_some_and(|a| setting.is_extra(a.name)));
        match plain.or(extra) {
            Some(index) => {
                let line = &self.lines[index];
                let a = assignment(line).expect("the line was found because it is an assignment");
                let (head, tail) = line.split_at(a.value_at);
                let gap = if head.ends_with('=') { " " } else { "" };
                let space = if a.value.is_empty() && tail.is_empty() {
                    ""
                } else {
                    " "
                };
                self.lines[index] = format!("{head}{gap}{value}{space}{tail}");
            }
            None => self.lines.push(format!("extra-{} = {value}", setting.name)),
        }
        Edit::Changed
    }
}

/// The line without the values of a list setting for which `drop` holds.
fn remove_values(line: &str, setting: ListSetting, drop: impl Fn(&str) -> bool) -> String {
    let Some(a) = assignment(line) else {
        return line.to_owned();
    };
    if !(setting.is(a.name) || setting.is_extra(a.name)) || !a.value.split_whitespace().any(&drop) {
        return line.to_owned();
    }
    let kept: Vec<&str> = a.value.split_whitespace().filter(|value| !drop(value)).collect();
    let after = a.value_at + a.value.len();
    format!("{}{}{}", &line[..a.value_at], kept.join(" "), &line[after..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://localhost:8080/mission-alpha";
    const KEY: &str = "mission-alpha:vlsd7ZHIXNnKXEQShVnd7erE8zcuSKrBWRpV6zTibnA=";

    fn add_url(text: &str, url: &str) -> String {
        let mut conf = NixConf::parse(text);
        conf.add(SUBSTITUTERS, url, |v| without_user(v) == without_user(url));
        conf.to_text()
    }

    #[test]
    fn an_empty_file_gets_extra_lines_so_that_the_systems_list_stays() {
        assert_eq!(add_url("", URL), format!("extra-substituters = {URL}\n"));
        let mut conf = NixConf::parse("");
        conf.add(TRUSTED_PUBLIC_KEYS, KEY, |v| v == KEY);
        assert_eq!(conf.to_text(), format!("extra-trusted-public-keys = {KEY}\n"));
    }

    #[test]
    fn comments_order_and_other_lines_are_kept() {
        let text = "# mine\n\ncores = 2 # all\n  substituters =  https://a   https://b # two\n!include secret.conf\n";
        let expected = format!(
            "# mine\n\ncores = 2 # all\n  substituters =  {URL} https://a   https://b # two\n!include secret.conf\n"
        );
        assert_eq!(add_url(text, URL), expected);
    }

    #[test]
    fn adding_the_same_cache_twice_changes_nothing() {
        let once = add_url("substituters = https://a\n", URL);
        assert_eq!(add_url(&once, URL), once);
    }

    #[test]
    fn a_value_with_another_user_is_replaced_not_doubled() {
        let text = "extra-substituters = http://x@localhost:8080/mission-alpha/ https://b\n";
        assert_eq!(
            add_url(text, URL),
            format!("extra-substituters = {URL} https://b\n")
        );
        let user = "http://two@localhost:8080/mission-alpha";
        assert_eq!(
            add_url(&add_url(text, URL), user),
            format!("extra-substituters = {user} https://b\n")
        );
    }

    #[test]
    fn a_value_that_a_later_line_resets_counts_as_absent() {
        let text = format!("extra-substituters = {URL}\nsubstituters = https://a\n");
        let edited = add_url(&text, URL);
        assert_eq!(NixConf::parse(&edited).list(SUBSTITUTERS), [URL, "https://a"]);
    }

    #[test]
    fn the_last_plain_line_is_the_one_edited() {
        let text = "substituters = https://old\nsubstituters = https://a\n";
        let edited = add_url(text, URL);
        assert_eq!(
            edited,
            format!("substituters = https://old\nsubstituters = {URL} https://a\n")
        );
    }

    #[test]
    fn older_names_of_settings_are_understood() {
        let edited = add_url("binary-caches = https://a\n", URL);
        assert_eq!(edited, format!("binary-caches = {URL} https://a\n"));
    }

    #[test]
    fn an_empty_list_is_filled() {
        assert_eq!(
            add_url("substituters =\n", URL),
            format!("substituters = {URL}\n")
        );
        assert_eq!(
            add_url("substituters = # none\n", URL),
            format!("substituters = {URL} # none\n")
        );
    }

    #[test]
    fn a_single_value_is_set_in_place_or_appended() {
        let mut conf = NixConf::parse("netrc-file = /old # here\ncores = 1\n");
        assert_eq!(conf.set("netrc-file", "/new"), Edit::Changed);
        assert_eq!(conf.set("netrc-file", "/new"), Edit::Unchanged);
        conf.set("max-jobs", "2");
        assert_eq!(
            conf.to_text(),
            "netrc-file = /new # here\ncores = 1\nmax-jobs = 2\n"
        );
    }

    #[test]
    fn includes_are_listed_as_written() {
        let conf = NixConf::parse("include a.conf\n!include /b.conf # maybe\n# include c\n");
        assert_eq!(
            conf.includes().collect::<Vec<_>>(),
            [("a.conf", true), ("/b.conf", false)]
        );
    }

    #[test]
    fn a_url_is_compared_without_its_user() {
        assert_eq!(without_user("https://u@h:1/c/"), "https://h:1/c");
        assert_eq!(without_user("https://h"), "https://h");
        assert_eq!(without_user("/local/store"), "/local/store");
    }
}
