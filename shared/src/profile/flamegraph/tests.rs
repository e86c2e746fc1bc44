use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::*;
use crate::profile::fixture::{Fixture, any_fixture};

fn picture(fixture: &Fixture) -> String {
    let mut out = Vec::new();
    write(&fixture.profile(), 0, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn difference(before: &Fixture, after: &Fixture) -> String {
    let mut out = Vec::new();
    write_difference(&before.profile(), &after.profile(), 0, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The file without its style and script, which have files of their own.
fn drawn(svg: &str) -> String {
    let mut text = svg.to_owned();
    for (start, end) in [("<style>", "</style>"), ("<script>", "</script>")] {
        let start = text.find(start).unwrap();
        let end = text.find(end).unwrap() + end.len();
        text.replace_range(start..end, "");
    }
    text
}

fn frames<'a>(document: &'a Document) -> impl Iterator<Item = Node<'a, 'a>> {
    document
        .root_element()
        .children()
        .filter(|node| node.tag_name().name() == "g")
}

fn titles(svg: &str) -> Vec<String> {
    let document = Document::parse(svg).unwrap();
    frames(&document)
        .map(|frame| {
            let title = frame.first_element_child().unwrap();
            title.text().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn a_small_picture() {
    insta::assert_snapshot!(drawn(&picture(&Fixture::small())));
}

#[test]
fn a_small_difference() {
    let mut before = Fixture::default();
    let mut after = Fixture::default();
    let main = |addr| Fixture::frame(addr, Some("main"), "app");
    let leaf = |name| Fixture::frame(9, Some(name), "app");
    before.add(&[leaf("grows"), main(1)], "heap", &[1024]);
    before.add(&[leaf("shrinks"), main(1)], "heap", &[4096]);
    before.add(&[leaf("vanishes"), main(1)], "heap", &[2048]);
    after.add(&[leaf("comes"), main(2)], "heap", &[512]);
    after.add(&[leaf("grows"), main(2)], "heap", &[3072]);
    after.add(&[leaf("shrinks"), main(2)], "heap", &[1024]);
    after.add(&[leaf("negative"), main(2)], "heap", &[-1]);
    insta::assert_snapshot!(drawn(&difference(&before, &after)));
}

#[test]
fn nothing_is_a_picture_too() {
    assert_eq!(titles(&picture(&Fixture::default())), ["all\n0 B, 0.00%"]);
}

#[test]
fn style_and_script_do_not_end_their_element() {
    for text in [include_str!("style.css"), include_str!("script.js")] {
        assert!(!text.contains("]]>"));
        assert!(!text.contains("</"));
    }
}

proptest! {
    #[test]
    fn any_names_and_figures_make_a_picture(a in any_fixture(), b in any_fixture()) {
        for svg in [picture(&a), difference(&a, &b)] {
            let document = Document::parse(&svg).unwrap();
            prop_assert!(frames(&document).count() > 0);
            for frame in frames(&document) {
                let rect = frame.children().find(|node| node.tag_name().name() == "rect");
                let number = |name| rect.unwrap().attribute(name).unwrap().parse::<f64>().unwrap();
                let (x, width) = (number("x"), number("width"));
                prop_assert!(x >= 9.99 && x + width <= 1210.02 && width > 0.0);
            }
        }
    }
}
