//! Which rows are shown.

/// Part of a text. Small letters match both; a capital letter makes the case count, as in less -i.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    text: String,
    is_exact: bool,
}

impl Filter {
    /// A filter for texts that contain `text`; an empty one lets everything pass.
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            is_exact: text.chars().any(char::is_uppercase),
        }
    }

    /// What was asked for.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether a text passes.
    pub fn matches(&self, text: &str) -> bool {
        if self.is_exact {
            return text.contains(&self.text);
        }
        if text.is_ascii() && self.text.is_ascii() {
            // The usual case, without a copy of each name.
            let wanted = self.text.as_bytes();
            return wanted.is_empty()
                || text
                    .as_bytes()
                    .windows(wanted.len())
                    .any(|window| window.eq_ignore_ascii_case(wanted));
        }
        text.to_lowercase().contains(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_letters_match_both() {
        assert!(Filter::new("alloc").matches("xMalloc"));
        assert!(Filter::new("größe").matches("GRÖSSE GRÖßE"));
        assert!(!Filter::new("Alloc").matches("malloc"));
        assert!(Filter::new("").matches(""));
        assert!(!Filter::new("longer").matches("long"));
    }
}
