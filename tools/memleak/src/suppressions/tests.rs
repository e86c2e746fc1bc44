use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Suppressions, SuppressionError> {
    Suppressions::parse("known.supp", text)
}

fn matches(pattern: &str, name: &str) -> bool {
    Matcher::new(pattern).matches(name)
}

fn frame(symbol: &str, file: &str, module: &str) -> Frame {
    Frame {
        symbol: Some(symbol.to_owned()),
        file: Some(file.to_owned()),
        module: module.to_owned(),
        ..Frame::default()
    }
}

/// Each line was tried with the LeakSanitizer of GCC 12 and of Clang 14 on a program that leaks in a
/// function of this name; both agreed.
#[test]
fn patterns_match_as_in_leak_sanitizer() {
    const LEARNT: [(&str, &str, bool); 36] = [
        ("foofoo", "foofoo", true),
        ("foo$", "foofoo", false),
        ("^foo", "foofoo", true),
        ("^foofoo$", "foofoo", true),
        ("^oofoo", "foofoo", false),
        ("oo*oo", "foofoo", true),
        ("f*o$", "foofoo", false),
        ("fo*oo$", "foofoo", true),
        ("*$", "foofoo", true),
        ("$", "foofoo", false),
        ("^$", "foofoo", false),
        ("^", "foofoo", true),
        ("*", "foofoo", true),
        ("*^foo", "foofoo", false),
        ("^*ofoo", "foofoo", true),
        ("foofoo$garbage", "foofoo", true),
        ("fo^o", "foofoo", false),
        ("^*$", "foofoo", true),
        ("foof*$", "foofoo", true),
        ("foofoo*", "foofoo", true),
        ("foofoo**", "foofoo", true),
        ("^^foo", "foofoo", false),
        ("FOO", "foofoo", false),
        ("foo.oo", "foofoo", false),
        ("ma?e", "make", false),
        (" foofoo", "foofoo", false),
        ("foofoo#x", "foofoo", false),
        ("foofoo # x", "foofoo", false),
        ("foo:foo", "foofoo", false),
        ("foo*\\*", "foofoo", false),
        (
            "^ns::Pool",
            "ns::Pool<unsigned long>::grow(unsigned long)",
            true,
        ),
        (
            "grow(",
            "ns::Pool<unsigned long>::grow(unsigned long)",
            true,
        ),
        (
            "grow$",
            "ns::Pool<unsigned long>::grow(unsigned long)",
            false,
        ),
        (
            "grow*ned long)$",
            "ns::Pool<unsigned long>::grow(unsigned long)",
            true,
        ),
        (
            "^void",
            "ns::Pool<unsigned long>::grow(unsigned long)",
            false,
        ),
        ("^operator new", "operator new[](unsigned long)", true),
    ];
    for (pattern, name, expected) in LEARNT {
        assert_eq!(matches(pattern, name), expected, "{pattern} in {name}");
    }
}

#[test]
fn a_missing_name_is_never_matched() {
    assert!(!matches("*", ""));
    assert!(!matches("^$", ""));
}

#[test]
fn blanks_and_comments_are_skipped() {
    let text = "# known\r\n\n \t\n  leak:one  \r\n\tleak:two\t\n  # leak:three\nleak:fo ur";
    let rules = parse(text).unwrap();
    let found: Vec<(&str, usize)> = rules
        .rules()
        .iter()
        .map(|rule| (rule.pattern.as_str(), rule.line))
        .collect();
    assert_eq!(found, [("one", 4), ("two", 5), ("fo ur", 7)]);
    assert!(parse("").unwrap().rules().is_empty());
}

#[test]
fn a_bad_line_is_named() {
    let message = |text| parse(text).unwrap_err().to_string();
    assert_eq!(
        message("leak:a\n\nfoofoo\n"),
        "known.supp:3: no ':' in 'foofoo'; a line is leak:PATTERN"
    );
    assert_eq!(
        message("interceptor_via_lib:x"),
        "known.supp:1: unknown kind 'interceptor_via_lib'; only leak:PATTERN is known"
    );
    assert_eq!(
        message("#\nleak: \n"),
        "known.supp:2: the pattern is empty; leak:* matches everything"
    );
    for text in ["race:a", "LEAK:a", "leak :a", ":a"] {
        let fault = parse(text).unwrap_err().fault;
        assert!(matches!(fault, Fault::UnknownKind(_)), "{text}");
    }
}

/// Learnt from LeakSanitizer too: which rule it counts when several match.
#[test]
fn the_innermost_frame_decides() {
    let stack = [
        frame("malloc", "interceptors.cpp", "liblsan.so"),
        frame("make", "/src/leak.c", "leak-program"),
        frame("foofoo", "/src/leak.c", "leak-program"),
        frame("main", "/src/leak.c", "leak-program"),
        frame("__libc_start_call_main", "start.h", "libc.so.6"),
    ];
    let pattern = |text: &str| {
        let rules = parse(text).unwrap();
        let at = rules.matching(stack.iter());
        at.map(|at| rules.rules()[at].pattern.clone())
    };
    for (text, expected) in [
        ("leak:foofoo\nleak:make", "make"),
        ("leak:main\nleak:foofoo", "foofoo"),
        ("leak:leak.c\nleak:make\nleak:leak-", "leak-"),
        ("leak:leak.c\nleak:make", "make"),
        ("leak:foofo\nleak:makex\nleak:leak.c", "leak.c"),
        ("leak:libc.so\nleak:main", "main"),
        ("leak:libc.so", "libc.so"),
        ("leak:malloc$", "malloc$"),
        ("leak:src/leak.c$", "src/leak.c$"),
    ] {
        assert_eq!(pattern(text).as_deref(), Some(expected), "{text}");
    }
    assert_eq!(pattern("leak:leak.c:3"), None);
    assert_eq!(pattern(""), None);
}

#[test]
fn the_tally_is_what_leak_sanitizer_prints() {
    let rules = parse("leak:two\nleak:none\nleak:one\n").unwrap();
    let mut tally = Tally::default();
    assert_eq!(tally.used(&rules).to_string(), "");
    let block = |bytes| Amount { bytes, count: 1 };
    for (rule, bytes) in [(2, 100), (0, 1000), (2, 100), (2, 100)] {
        tally.add(rule, block(bytes));
    }
    let total = Amount {
        bytes: 1300,
        count: 4,
    };
    assert_eq!(tally.total(), total);
    let table = "Suppressions used:\n  count      bytes template\n      1       1000 two\n      \
                 3        300 one\n";
    assert_eq!(tally.used(&rules).to_string(), table);
}

proptest! {
    #[test]
    fn a_name_matches_itself(name in "[a-z:<>()]{1,20}") {
        prop_assert!(matches(&name, &name));
        let exact = format!("^{name}$");
        prop_assert!(matches(&exact, &name));
        let longer = format!("x{name}");
        prop_assert!(!matches(&exact, &longer));
        prop_assert!(matches(&name, &longer));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(leak|race)?[:#^$*a-z \n\r]{0,60}", name in "\\PC{0,20}") {
        if let Ok(rules) = parse(&text) {
            let frame = frame(&name, "", "");
            let _ = rules.matching(std::iter::once(&frame));
        }
    }
}
