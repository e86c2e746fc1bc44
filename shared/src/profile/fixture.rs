//! Profiles for the tests.

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Profile, Sample, ValueKind, names};
use crate::stacks::{Frame, StackTable};

/// A profile with its stacks.
#[derive(Debug, Default)]
pub struct Fixture {
    stacks: StackTable,
    samples: Vec<Sample>,
    title: String,
}

impl Fixture {
    pub fn frame(addr: u64, symbol: Option<&str>, module: &str) -> Frame {
        Frame {
            addr,
            symbol: symbol.map(str::to_owned),
            module: module.to_owned(),
            ..Frame::default()
        }
    }

    /// `frames`: from the innermost outward.
    pub fn add(&mut self, frames: &[Frame], class: &'static str, values: &[i64]) {
        let ids: Vec<_> = frames
            .iter()
            .map(|frame| self.stacks.add_frame(frame.clone()))
            .collect();
        self.samples.push(Sample {
            stack: self.stacks.add_stack(ids),
            class,
            values: values.to_vec(),
        });
    }

    /// One of each peculiarity: a class, an inlined frame, unknown names, no frames, zeros.
    pub fn small() -> Self {
        let mut fixture = Self {
            title: "memleak <app> & co".to_owned(),
            ..Self::default()
        };
        let source = |frame: Frame, line| Frame {
            file: Some("/src/app.cpp".to_owned()),
            line: Some(line),
            ..frame
        };
        let main = source(Self::frame(0x1000, Some("main"), "app"), 10);
        let load = source(Self::frame(0x2000, Some("load_file"), "app"), 20);
        let inlined = Frame {
            inlined: true,
            ..source(Self::frame(0x1000, Some("a;b"), "app"), 30)
        };
        let unknown = Self::frame(0x7000, None, "libfoo.so");
        fixture.add(&[load, main.clone()], "mmap", &[4096, 1]);
        fixture.add(&[unknown, inlined, main.clone()], "heap", &[100, 2]);
        fixture.add(&[], "heap", &[7, 1]);
        fixture.add(&[main], "heap", &[0, 0]);
        fixture
    }

    pub fn profile(&self) -> Profile<'_> {
        let kind = |name, unit| ValueKind { name, unit };
        Profile {
            stacks: &self.stacks,
            kinds: vec![kind("inuse_space", "bytes"), kind("inuse_objects", "count")],
            default_kind: 0,
            samples: self.samples.clone(),
            title: self.title.clone(),
            time: Timestamp::UNIX_EPOCH,
            duration_ns: 1_500_000_000,
        }
    }

    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Each sample, and how many names its folded line has.
    pub fn depths(&self) -> impl Iterator<Item = (&Sample, usize)> {
        self.samples.iter().map(|sample| {
            let frames = self.stacks.frame_ids(sample.stack).len().max(1);
            let class = usize::from(names::of_class(sample.class).is_some());
            (sample, frames + class)
        })
    }
}

/// Names with everything that has a meaning somewhere, few enough that stacks share them.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ab;<&\"'>\\]\n\t\u{0}\u{1b}\u{85}\u{2028}\u{fffe}\u{ffff} ]{0,3}",
        Just("]]>".to_owned()),
    ]
}

fn any_frame() -> impl Strategy<Value = Frame> {
    (
        0..4_u64,
        prop::option::of(any_name()),
        any_name(),
        prop::option::of(any_name()),
        prop::option::of(any::<u32>()),
        any::<bool>(),
    )
        .prop_map(|(addr, symbol, module, file, line, inlined)| Frame {
            addr,
            symbol,
            offset: None,
            module,
            file,
            line,
            inlined,
        })
}

/// Any names, any figures.
pub fn any_fixture() -> impl Strategy<Value = Fixture> {
    let frames = prop::collection::vec(any_frame(), 1..6);
    let class = prop::sample::select(vec!["", "heap", "mmap", "a;<b>\n"]);
    let value = prop_oneof![any::<i64>(), -3..9_i64, Just(i64::MAX)];
    let stack = prop::collection::vec(any::<prop::sample::Index>(), 0..6);
    let sample = (stack, class, prop::collection::vec(value, 0..3));
    (any_name(), frames, prop::collection::vec(sample, 0..6)).prop_map(
        |(title, frames, samples)| {
            let mut fixture = Fixture {
                title,
                ..Fixture::default()
            };
            for (stack, class, values) in samples {
                let stack: Vec<Frame> = stack.iter().map(|i| i.get(&frames).clone()).collect();
                fixture.add(&stack, class, &values);
            }
            fixture
        },
    )
}
