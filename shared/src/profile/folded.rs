//! Folded stacks: a line for each stack, `outermost;…;innermost VALUE`, as flame graph programs
//! and many others read them.
//!
//! - Stacks with the same names make one line; lines are sorted by name.
//! - A class other than the heap is the outermost frame, in brackets: `[mmap];main;load 4096`.
//! - A function whose name is unknown is `[module]`, or `0xaddr` where there is no module either.
//! - `;` in a name becomes `:`; control characters become `\u{…}`; inlined frames look like others.
//! - A stack whose sum is zero or negative has no line: readers expect positive figures.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{Profile, Sample, names};
use crate::stacks::FrameId;

/// Writes one kind of figure, an index into [`Profile::kinds`], as folded stacks.
pub fn write(profile: &Profile, kind: usize, out: &mut impl Write) -> io::Result<()> {
    for (stack, sum) in sums(profile, kind) {
        if sum > 0 {
            writeln!(out, "{stack} {sum}")?;
        }
    }
    Ok(())
}

fn sums(profile: &Profile, kind: usize) -> BTreeMap<String, i128> {
    let names: Vec<String> = (0..profile.stacks.frame_count())
        .map(|id| names::of_frame(profile.stacks.frame(FrameId(id))).replace(';', ":"))
        .collect();
    let mut sums = BTreeMap::new();
    for sample in &profile.samples {
        let value = sample.value(kind);
        if value != 0 {
            *sums.entry(fold(profile, sample, &names)).or_default() += i128::from(value);
        }
    }
    sums
}

/// `names` are those of all frames.
fn fold(profile: &Profile, sample: &Sample, names: &[String]) -> String {
    let mut line = String::with_capacity(1024);
    let mut push = |name: &str| {
        if !line.is_empty() {
            line.push(';');
        }
        line.push_str(name);
    };
    if let Some(class) = names::of_class(sample.class) {
        push(&class.replace(';', ":"));
    }
    let frames = profile.stacks.frame_ids(sample.stack);
    for frame in frames.iter().rev() {
        push(&names[frame.0 as usize]);
    }
    if frames.is_empty() {
        push(names::NO_FRAMES);
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::fixture::{Fixture, any_fixture};

    fn folded(fixture: &Fixture, kind: usize) -> String {
        let mut out = Vec::new();
        write(&fixture.profile(), kind, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_for_each_stack() {
        insta::assert_snapshot!(folded(&Fixture::small(), 0), @r"
        [mmap];main;load_file 4096
        [unknown] 7
        main;a:b;[libfoo.so] 100
        ");
    }

    #[test]
    fn equal_names_make_one_line_and_nothing_is_left_of_a_negative_sum() {
        let mut fixture = Fixture::default();
        let frame = |addr| Fixture::frame(addr, Some("main"), "app");
        fixture.add(&[frame(1)], "", &[3]);
        fixture.add(&[frame(2)], "", &[4]);
        fixture.add(&[Fixture::frame(3, None, "app")], "", &[-4]);
        assert_eq!(folded(&fixture, 0), "main 7\n");
        assert_eq!(folded(&fixture, 9), "");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_to_the_same_sums(fixture in any_fixture()) {
            let text = folded(&fixture, 0);
            let mut read: BTreeMap<String, i128> = BTreeMap::new();
            for line in text.split_terminator('\n') {
                prop_assert!(!line.chars().any(char::is_control));
                let (stack, value) = line.rsplit_once(' ').unwrap();
                prop_assert!(stack.split(';').all(|name| !name.is_empty()));
                prop_assert_eq!(read.insert(stack.to_owned(), value.parse().unwrap()), None);
            }
            let mut truth = sums(&fixture.profile(), 0);
            truth.retain(|_, sum| *sum > 0);
            prop_assert_eq!(&read, &truth);
            for (sample, depth) in fixture.depths() {
                if fixture.samples().len() == 1 && sample.value(0) > 0 {
                    let stack = read.keys().next().unwrap();
                    prop_assert_eq!(stack.split(';').count(), depth);
                }
            }
        }
    }
}
