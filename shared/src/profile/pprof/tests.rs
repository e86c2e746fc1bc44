use std::io::Read;

use flate2::read::GzDecoder;
use proptest::prelude::*;

use super::*;
use crate::profile::fixture::{Fixture, any_fixture};

fn written(fixture: &Fixture) -> message::Profile {
    let mut file = Vec::new();
    write(&fixture.profile(), &mut file).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(file.as_slice())
        .read_to_end(&mut bytes)
        .unwrap();
    message::Profile::decode(bytes.as_slice()).unwrap()
}

fn text(message: &message::Profile, id: i64) -> &str {
    &message.string_table[id as usize]
}

/// `name file:line` of each line of each location, the innermost first.
fn stack(message: &message::Profile, sample: &message::Sample) -> Vec<Vec<String>> {
    let location = |id: &u64| {
        let location = &message.location[*id as usize - 1];
        assert_eq!(location.id, *id);
        let line = |line: &message::Line| {
            let function = &message.function[line.function_id as usize - 1];
            assert_eq!(function.id, line.function_id);
            let (name, file) = (
                text(message, function.name),
                text(message, function.filename),
            );
            format!("{name} {file}:{}", line.line)
        };
        location.line.iter().map(line).collect()
    };
    sample.location_id.iter().map(location).collect()
}

#[test]
fn inlined_frames_are_lines_of_one_location() {
    let message = written(&Fixture::small());
    let stacks: Vec<_> = message.sample.iter().map(|s| stack(&message, s)).collect();
    let main = "main /src/app.cpp:10";
    assert_eq!(stacks[0], [vec!["load_file /src/app.cpp:20"], vec![main]]);
    assert_eq!(stacks[1], [vec![], vec!["a;b /src/app.cpp:30", main]]);
    assert_eq!(stacks[2], Vec::<Vec<String>>::new());
    assert_eq!(stacks.len(), 3, "zeros are left out");
}

#[test]
fn figures_have_types_and_classes_are_labels() {
    let message = written(&Fixture::small());
    let type_of = |t: &message::ValueType| (text(&message, t.r#type), text(&message, t.unit));
    let types: Vec<_> = message.sample_type.iter().map(type_of).collect();
    assert_eq!(
        types,
        [("inuse_space", "bytes"), ("inuse_objects", "count")]
    );
    assert_eq!(text(&message, message.default_sample_type), "inuse_space");
    let period_type = message.period_type.as_ref().map(type_of);
    assert_eq!((period_type, message.period), (Some(("space", "bytes")), 1));
    let sample = &message.sample[0];
    assert_eq!(sample.value, [4096, 1]);
    let label = sample.label[0];
    assert_eq!(
        (text(&message, label.key), text(&message, label.str)),
        ("class", "mmap")
    );
    assert_eq!(
        (message.time_nanos, message.duration_nanos),
        (0, 1_500_000_000)
    );
    assert_eq!(text(&message, message.comment[0]), "memleak <app> & co");
}

#[test]
fn the_program_is_the_first_mapping() {
    let mut fixture = Fixture::default();
    let frame = |module| Fixture::frame(1, None, module);
    let modules = ["[vdso]", "libc.so.6", "app", "libfoo.so"];
    fixture.add(&modules.map(frame), "", &[1]);
    let message = written(&fixture);
    let name = |mapping: &message::Mapping| text(&message, mapping.filename).to_owned();
    let mappings: Vec<_> = message.mapping.iter().map(name).collect();
    assert_eq!(mappings, ["app", "[vdso]", "libc.so.6", "libfoo.so"]);
}

#[test]
fn mappings_say_what_is_known() {
    let message = written(&Fixture::small());
    let flags = |m: &message::Mapping| {
        let flags = (m.has_functions, m.has_filenames, m.has_line_numbers);
        (text(&message, m.filename), flags, m.has_inline_frames)
    };
    let mappings: Vec<_> = message.mapping.iter().map(flags).collect();
    assert_eq!(
        mappings,
        [
            ("app", (true, true, true), true),
            ("libfoo.so", (true, false, false), false)
        ]
    );
}

proptest! {
    #[test]
    fn any_profile_keeps_its_figures_and_every_number_leads_somewhere(fixture in any_fixture()) {
        let message = written(&fixture);
        let (mut read, mut truth) = (0, 0);
        for sample in &message.sample {
            stack(&message, sample);
            prop_assert_eq!(sample.value.len(), message.sample_type.len());
            prop_assert!(sample.value.iter().any(|value| *value != 0));
            read += i128::from(sample.value[0]);
        }
        for sample in fixture.samples() {
            truth += i128::from(sample.value(0));
        }
        prop_assert_eq!(read, truth);
        for location in &message.location {
            prop_assert!(location.mapping_id as usize <= message.mapping.len());
        }
        prop_assert_eq!(text(&message, 0), "");
    }
}
