//! Which functions a user means: one name, a glob, or a regular expression.

use std::fmt;

use regex::Regex;

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("an empty pattern matches no function")]
    Empty,
    /// In one line, without a picture of the place.
    #[error("'{text}': {why}")]
    Syntax { text: String, why: String },
}

/// What names are compared with.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    /// `None` for an exact name.
    regex: Option<Regex>,
}

impl Pattern {
    /// A regular expression if asked for; else a glob, if it holds `*`, `?` or `[`; else an exact
    /// name.
    ///
    /// # Errors
    /// [`PatternError`], see there.
    pub fn new(text: &str, is_regex: bool) -> Result<Self, PatternError> {
        if is_regex {
            Self::regex(text)
        } else if text.contains(['*', '?', '[']) {
            Self::glob(text)
        } else {
            Self::exact(text)
        }
    }

    /// One name.
    ///
    /// # Errors
    /// [`PatternError::Empty`].
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        Ok(Self {
            text: not_empty(text)?.to_owned(),
            regex: None,
        })
    }

    /// A whole name, in which `*` stands for any text, `?` for any character, and `[a-c]`, `[!a-c]`
    /// and `[^a-c]` for one of some or of all others. A `[` that nothing closes is one, as in
    /// `operator[]`.
    ///
    /// # Errors
    /// [`PatternError::Empty`], and [`PatternError::Syntax`] for a range such as `[z-a]`.
    pub fn glob(text: &str) -> Result<Self, PatternError> {
        compile(not_empty(text)?, &glob_to_regex(text))
    }

    /// A regular expression. A name matches if its beginning does: the end is not anchored, as with
    /// Python's `re.match`, by which bcc's tools match.
    ///
    /// # Errors
    /// [`PatternError::Empty`] and [`PatternError::Syntax`].
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        compile(not_empty(text)?, text)
    }

    /// Whether a function of this name is meant.
    pub fn matches(&self, name: &str) -> bool {
        match &self.regex {
            // The leftmost match is at the beginning if any is.
            Some(regex) => regex.find(name).is_some_and(|found| found.start() == 0),
            None => self.text == name,
        }
    }

    /// The one name that matches, where it takes no search to know it.
    pub fn exact_name(&self) -> Option<&str> {
        self.regex.is_none().then_some(self.text.as_str())
    }
}

/// As it was given.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

fn not_empty(text: &str) -> Result<&str, PatternError> {
    if text.is_empty() {
        Err(PatternError::Empty)
    } else {
        Ok(text)
    }
}

fn compile(text: &str, regex: &str) -> Result<Pattern, PatternError> {
    let regex = Regex::new(regex).map_err(|error| PatternError::Syntax {
        text: text.to_owned(),
        why: last_line(&error.to_string()),
    })?;
    Ok(Pattern {
        text: text.to_owned(),
        regex: Some(regex),
    })
}

/// The regex crate draws the place of an error first and names it in the end.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn glob_to_regex(glob: &str) -> String {
    let mut regex = String::from(r"(?s)\A");
    let mut rest = glob;
    while let Some(character) = rest.chars().next() {
        let behind = &rest[character.len_utf8()..];
        rest = behind;
        match (character, class(behind)) {
            ('*', _) => regex.push_str(".*"),
            ('?', _) => regex.push('.'),
            ('[', Some((class, behind))) => {
                regex.push_str(&class);
                rest = behind;
            }
            _ => regex.push_str(&regex::escape(character.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(r"\z");
    regex
}

/// The class that `text`, which stands behind a `[`, begins with, and what stands behind it.
fn class(text: &str) -> Option<(String, &str)> {
    let members = text.strip_prefix(['!', '^']).unwrap_or(text);
    // A `]` in the first place is a member.
    let first = members.chars().next()?.len_utf8();
    let end = first + members[first..].find(']')?;
    let mut class = String::from("[");
    if members.len() < text.len() {
        class.push('^');
    }
    for member in members[..end].chars() {
        // The hyphen keeps its meaning, which is the same.
        if matches!(member, '[' | ']' | '\\' | '^' | '&' | '~') {
            class.push('\\');
        }
        class.push(member);
    }
    class.push(']');
    Some((class, &members[end + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn assert_matches(text: &str, is_regex: bool, matching: &[&str], others: &[&str]) {
        let pattern = Pattern::new(text, is_regex).unwrap();
        for name in matching {
            assert!(pattern.matches(name), "{text} should match {name}");
        }
        for name in others {
            assert!(!pattern.matches(name), "{text} should not match {name}");
        }
    }

    #[test]
    fn plain_text_is_one_name() {
        assert_matches(
            "vfs_read",
            false,
            &["vfs_read"],
            &["vfs_readv", "xvfs_read", ""],
        );
        assert_matches("f.isra.0", false, &["f.isra.0"], &["f_isra_0"]);
        let pattern = Pattern::new("a.b", false).unwrap();
        assert_eq!(pattern.exact_name(), Some("a.b"));
        assert_eq!(pattern.to_string(), "a.b");
    }

    #[test]
    fn globs_match_whole_names() {
        assert_matches("vfs_*", false, &["vfs_", "vfs_read"], &["xvfs_read", "vfs"]);
        assert_matches("*read", false, &["read", "vfs_read"], &["reads"]);
        assert_matches("f?.0", false, &["fa.0", "fä.0"], &["f.0", "fax0"]);
        assert_matches("f[ab-d]", false, &["fa", "fc"], &["fe", "f-", "f"]);
        assert_matches("f[!a]", false, &["fb", "f!"], &["fa"]);
        assert_matches("f[^a]", false, &["fb", "f^"], &["fa"]);
        assert_matches("f[]]", false, &["f]"], &["f"]);
        assert_matches(r"f[\d&&x~~[]", false, &["f\\", "fd", "f&", "f["], &["f1"]);
        assert_matches("f[_<>]", false, &["f_", "f<", "f>"], &["f"]);
        assert_matches("operator[]", false, &["operator[]"], &["operator"]);
        assert_matches("a|b*", false, &["a|bc"], &["a", "b"]);
        assert_eq!(Pattern::new("f*", false).unwrap().exact_name(), None);
    }

    #[test]
    fn regular_expressions_match_from_the_beginning() {
        assert_matches(
            "vfs_r",
            true,
            &["vfs_r", "vfs_read"],
            &["xvfs_read", "vfs_write"],
        );
        assert_matches("a|b", true, &["ax", "bx"], &["xa", "xb"]);
        assert_matches(
            "^tcp_.*msg$",
            true,
            &["tcp_sendmsg"],
            &["tcp_sendmsg_locked"],
        );
        assert_matches("ab|b", true, &["ab", "b"], &["cb"]);
        assert_eq!(Pattern::new("f", true).unwrap().exact_name(), None);
    }

    #[test]
    fn what_is_wrong_stands_in_one_line() {
        let why = |text, is_regex| Pattern::new(text, is_regex).unwrap_err().to_string();
        assert_eq!(why("f(", true), "'f(': unclosed group");
        assert!(why("f[z-a]", false).starts_with("'f[z-a]': "));
        assert_eq!(Pattern::new("", true).unwrap_err(), PatternError::Empty);
        assert_eq!(Pattern::new("", false).unwrap_err(), PatternError::Empty);
        assert!(!why("a{9999999}", true).contains('\n'));
    }

    proptest! {
        #[test]
        fn names_match_themselves(name in "\\PC{1,20}", text in "\\PC{0,20}") {
            prop_assert!(Pattern::exact(&name).unwrap().matches(&name));
            prop_assert!(Pattern::regex(&regex::escape(&name)).unwrap().matches(&name));
            if !name.contains('[') {
                prop_assert!(Pattern::glob(&name).unwrap().matches(&name));
            }
            // Any other text is answered.
            let _ = Pattern::new(&text, true).map(|pattern| pattern.matches(&name));
            let _ = Pattern::new(&text, false).map(|pattern| pattern.matches(&name));
        }
    }
}
