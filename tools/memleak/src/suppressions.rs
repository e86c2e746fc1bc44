//! Suppression files in LeakSanitizer's format: memory that is known and not to be reported.
//!
//! A line is `leak:PATTERN`, a `#` comment, or empty. White space around a line does not count; a `#`
//! after a pattern belongs to it. A pattern is looked for in the function, the source file and the
//! module of every frame. There is no escape character, and case counts.
//!
//! | in a pattern | stands for |
//! |---|---|
//! | `^` at the start | the start of the name |
//! | `*` | any run of characters, also none; next to `^` or `$` it lifts them |
//! | `$` | the end of the name; what follows it is ignored |
//! | anything else | itself |
//!
//! As in LeakSanitizer, each part is taken where it is first found and nowhere else: `foo$` does not match
//! `foofoo`.
//!
//! Two things differ. A module is a file name here and a path there, so a directory in a pattern can
//! match a source file but no module. An empty pattern matches everything there and is an error here:
//! `leak:*` says the same on purpose.

use std::fmt;

use memtools::stacks::Frame;
use thiserror::Error;

use crate::snapshot::Amount;

/// What is wrong with a line of a suppression file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It has no colon.
    #[error("no ':' in '{0}'; a line is leak:PATTERN")]
    MissingColon(String),
    /// The word before the colon is not `leak`.
    #[error("unknown kind '{0}'; only leak:PATTERN is known")]
    UnknownKind(String),
    /// Nothing stands after the colon.
    #[error("the pattern is empty; leak:* matches everything")]
    EmptyPattern,
}

/// A suppression file that cannot be read as one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}:{line}: {fault}")]
pub struct SuppressionError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// One line of a suppression file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The pattern as it is written.
    pub pattern: String,
    /// The line that holds it, from 1 on.
    pub line: usize,
    matcher: Matcher,
}

/// The rules of a suppression file, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressions {
    rules: Vec<Rule>,
}

impl Suppressions {
    /// Reads the text of a file; its name is for errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, SuppressionError> {
        let mut rules = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_matches([' ', '\t', '\r']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let pattern = pattern_of(line).map_err(|fault| SuppressionError {
                file: file.to_owned(),
                line: number,
                fault,
            })?;
            rules.push(Rule {
                pattern: pattern.to_owned(),
                line: number,
                matcher: Matcher::new(pattern),
            });
        }
        Ok(Self { rules })
    }

    /// The rule that suppresses a stack, as an index into [`rules`](Self::rules). Frames are given from
    /// the innermost call outward, and the first one that any rule matches decides, as in
    /// LeakSanitizer: of its module, function and source file the first that is matched, and of the
    /// rules that match it the first.
    pub fn matching<'a>(&self, mut frames: impl Iterator<Item = &'a Frame>) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        frames.find_map(|frame| {
            let names = [
                Some(frame.module.as_str()),
                frame.symbol.as_deref(),
                frame.file.as_deref(),
            ];
            names
                .into_iter()
                .flatten()
                .find_map(|name| self.rule_for(name))
        })
    }

    /// All rules, in the order of the file.
    #[cfg(test)]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn rule_for(&self, name: &str) -> Option<usize> {
        self.rules
            .iter()
            .position(|rule| rule.matcher.matches(name))
    }
}

fn pattern_of(line: &str) -> Result<&str, Fault> {
    match line.split_once(':') {
        None => Err(Fault::MissingColon(line.to_owned())),
        Some(("leak", "")) => Err(Fault::EmptyPattern),
        Some(("leak", pattern)) => Ok(pattern),
        Some((kind, _)) => Err(Fault::UnknownKind(kind.to_owned())),
    }
}

/// A pattern, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Matcher {
    /// What has to be found one after the other; none is empty.
    parts: Vec<String>,
    from_start: bool,
    to_end: bool,
}

impl Matcher {
    fn new(pattern: &str) -> Self {
        let (body, to_end) = match pattern.split_once('$') {
            Some((body, _)) => (body, !body.ends_with('*')),
            None => (pattern, false),
        };
        let (body, from_start) = match body.strip_prefix('^') {
            Some(body) => (body, !body.starts_with('*')),
            None => (body, false),
        };
        let parts = body.split('*').filter(|part| !part.is_empty());
        Self {
            parts: parts.map(str::to_owned).collect(),
            from_start,
            to_end,
        }
    }

    fn matches(&self, name: &str) -> bool {
        if name.is_empty() {
            return false;
        }
        let mut rest = name;
        for (index, part) in self.parts.iter().enumerate() {
            let Some(at) = rest.find(part) else {
                return false;
            };
            if index == 0 && self.from_start && at != 0 {
                return false;
            }
            rest = &rest[at + part.len()..];
        }
        !self.to_end || rest.is_empty()
    }
}

/// What each rule has suppressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By index of the rule; ends with the last one that was used.
    amounts: Vec<Amount>,
}

impl Tally {
    /// Counts what the rule with this index suppressed.
    pub fn add(&mut self, rule: usize, amount: Amount) {
        if self.amounts.len() <= rule {
            self.amounts.resize(rule + 1, Amount::default());
        }
        self.amounts[rule].add(amount);
    }

    /// The sum of all rules.
    pub fn total(&self) -> Amount {
        let mut total = Amount::default();
        for amount in &self.amounts {
            total.add(*amount);
        }
        total
    }

    /// The rules that suppressed anything, in the order of the file. Shown, they are the table that
    /// LeakSanitizer prints at exit, or nothing if there is none.
    pub fn used<'a>(&self, suppressions: &'a Suppressions) -> Used<'a> {
        let rules = suppressions.rules.iter().zip(&self.amounts);
        Used(
            rules
                .filter(|(_, amount)| amount.count > 0)
                .map(|(rule, amount)| (rule, *amount))
                .collect(),
        )
    }
}

/// Rules, and what each suppressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used<'a>(pub Vec<(&'a Rule, Amount)>);

impl fmt::Display for Used<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        writeln!(f, "Suppressions used:")?;
        writeln!(f, "{:>7} {:>10} template", "count", "bytes")?;
        for (rule, amount) in &self.0 {
            writeln!(
                f,
                "{:>7} {:>10} {}",
                amount.count, amount.bytes, rule.pattern
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
