//! "Did you mean …?"

/// A name is compared by edits only if it may differ in one of this many of its characters.
const CHARACTERS_PER_EDIT: usize = 4;
const MAX_EDITS: usize = 3;
/// A shorter one stands in too many others by chance.
const MIN_CONTAINED: usize = 3;
/// As much as this many more characters, an edit makes a name another one.
const EDIT_WEIGHT: usize = 6;
/// The same for what stands in the midst of another word.
const INSIDE_WEIGHT: usize = 4;

/// Up to `count` of the candidates that are most like `name`, the best one first; none that are not
/// like it. What the compiler or a library makes of a name (`foo.isra.0` or `__foo` of `foo`) comes
/// first, then what contains it, and what is a typing error away from it.
pub fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
    count: usize,
) -> Vec<String> {
    let asked = Asked::new(name);
    let mut found: Vec<(usize, &str)> = candidates
        .filter_map(|candidate| Some((asked.distance(candidate)?, candidate)))
        .collect();
    found.sort_unstable_by_key(|(distance, candidate)| (*distance, candidate.len(), *candidate));
    found.dedup();
    found
        .into_iter()
        .take(count)
        .map(|(_, candidate)| candidate.to_owned())
        .collect()
}

struct Asked<'a> {
    name: &'a str,
    /// Without underscores at the ends.
    core: &'a str,
    max_edits: usize,
    letters: Letters,
}

impl<'a> Asked<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            core: name.trim_matches('_'),
            max_edits: (name.len() / CHARACTERS_PER_EDIT).clamp(1, MAX_EDITS),
            letters: Letters::of(name),
        }
    }

    /// Smaller is nearer; `None` for a name that is not like it.
    fn distance(&self, candidate: &str) -> Option<usize> {
        self.containing(candidate)
            .into_iter()
            .chain(self.edits(candidate).map(|edits| edits * EDIT_WEIGHT))
            .min()
    }

    /// By how much more the candidate contains.
    fn containing(&self, candidate: &str) -> Option<usize> {
        if self.core.is_empty() {
            return None;
        }
        let more = candidate.len().abs_diff(self.name.len());
        let bare = candidate.trim_start_matches('_');
        let is_derived = bare
            .strip_prefix(self.core)
            .is_some_and(|rest| rest.starts_with('.') || rest.trim_matches('_').is_empty());
        if is_derived {
            return Some(more.min(INSIDE_WEIGHT));
        }
        let is_inside = self.core.len() >= MIN_CONTAINED && candidate.contains(self.core);
        is_inside.then_some(INSIDE_WEIGHT + more)
    }

    /// The number of typing errors between the two. What is cheap to see is looked at first: most
    /// candidates are nothing like the name.
    fn edits(&self, candidate: &str) -> Option<usize> {
        // Two short names are few edits apart whatever they are.
        let is_long = self.name.len() >= MIN_CONTAINED;
        let possible = is_long
            && candidate.len().abs_diff(self.name.len()) <= self.max_edits
            && self.letters.differ(&Letters::of(candidate)) <= 2 * self.max_edits;
        let edits = possible.then(|| strsim::osa_distance(self.name, candidate))?;
        (edits <= self.max_edits).then_some(edits)
    }
}

/// How often each letter stands in a name, those that share their lower five bits together: an edit
/// changes no more than two of the numbers, by one each.
struct Letters([u8; 32]);

impl Letters {
    fn of(name: &str) -> Self {
        let mut letters = [0u8; 32];
        for byte in name.bytes() {
            let letter = &mut letters[usize::from(byte & 31)];
            *letter = letter.saturating_add(1);
        }
        Self(letters)
    }

    fn differ(&self, other: &Self) -> usize {
        let pairs = self.0.iter().zip(other.0);
        pairs.map(|(a, b)| usize::from(a.abs_diff(b))).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn near(name: &str, candidates: &[&str]) -> Vec<String> {
        nearest(name, candidates.iter().copied(), 3)
    }

    #[test]
    fn forms_of_the_name_come_first() {
        let all = [
            "food",
            "for",
            "foo.constprop.0.isra.0",
            "__foo",
            "my_foo_bar",
            "bar",
        ];
        let found = near("foo", &all);
        assert_eq!(found, ["__foo", "foo.constprop.0.isra.0", "food"]);
        assert_eq!(near("__foo", &["bar", "foo"]), ["foo"]);
        assert_eq!(
            near("serve", &["_ZN3app5serveEv", "main"]),
            ["_ZN3app5serveEv"]
        );
    }

    #[test]
    fn typing_errors_are_seen_through() {
        let names = ["malloc", "calloc", "vfs_read", "vfs_write", "free"];
        assert_eq!(near("maloc", &names), ["malloc"]);
        assert_eq!(near("mallco", &names), ["malloc"]);
        assert_eq!(near("vfs_raed", &names), ["vfs_read"]);
        assert_eq!(near("vfs-wirte", &names), ["vfs_write"]);
    }

    #[test]
    fn nothing_is_far_fetched() {
        let names = ["main", "exit", "tcp_v4_connect", "a", "x_of_y"];
        for name in ["kmalloc", "", "_", "f", "of", "tcp", "zzzzzzzzzzzzzzz"] {
            let found = near(name, &names);
            let expected: &[&str] = if name == "tcp" {
                &["tcp_v4_connect"]
            } else {
                &[]
            };
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(near("f", &["f.cold", "__f", "off"]), ["__f", "f.cold"]);
    }

    #[test]
    fn each_name_is_there_once_and_no_more_than_asked_for() {
        assert_eq!(near("read", &["pread", "pread", "read"]), ["read", "pread"]);
        assert_eq!(near("read", &["read1", "read2", "read3", "read4"]).len(), 3);
        assert!(nearest("read", ["read"].into_iter(), 0).is_empty());
    }

    #[test]
    fn a_kernel_full_of_names_is_searched_at_once() {
        let names: Vec<String> = (0..200_000)
            .map(|n| format!("subsystem_{}_function_{n}", n % 97))
            .collect();
        let start = Instant::now();
        let found = nearest(
            "subsystem_5_fnuction_102",
            names.iter().map(String::as_str),
            3,
        );
        assert!(
            found.contains(&"subsystem_5_function_102".to_owned()),
            "{found:?}"
        );
        // Without optimization it takes twenty times as long.
        let limit = if cfg!(debug_assertions) { 20 } else { 1 };
        assert!(start.elapsed() < Duration::from_secs(limit));
    }

    proptest! {
        #[test]
        fn the_quick_look_loses_nothing(name in "[a-e_]{3,12}", other in "[a-e_]{0,12}") {
            let asked = Asked::new(&name);
            let edits = strsim::osa_distance(&name, &other);
            prop_assert_eq!(asked.edits(&other).is_some(), edits <= asked.max_edits);
        }
    }
}
