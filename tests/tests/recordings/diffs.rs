//! Two recordings of one program, compared.

use memtools_tests::Outcome;
use serde_json::Value;

use super::{NO_ARGS, diff_json, directory, record, text};

/// Two processes of one program have it at different addresses.
#[test]
fn diff_knows_the_stacks_of_another_process() {
    let directory = directory();
    let [old, new, other] = ["old", "new", "other"].map(|name| directory.path().join(name));
    record(&old, "basic", &["many", "100"]);
    record(&new, "basic", &["many", "150"]);
    record(&other, "basic", NO_ARGS);

    let diff = diff_json(text(&old), text(&new));
    let stacks = diff["stacks"].as_array().expect("an array");
    assert_eq!(stacks.len(), 1, "{diff}");
    assert_eq!(stacks[0]["kind"], "grew");
    assert_eq!(stacks[0]["growth"]["bytes"], 50 * 48);
    assert_eq!(stacks[0]["growth"]["count"], 50);
    assert_eq!(diff["growth"], stacks[0]["growth"]);
    assert_eq!(stacks[0]["frames"][0]["symbol"], "leak_many");
    assert_eq!(diff["before"]["source"], text(&old));

    let diff = diff_json(text(&new), text(&other));
    let stacks = diff["stacks"].as_array().expect("an array");
    let changes = stacks.iter().map(|stack| {
        let symbol = stack["frames"][0]["symbol"].as_str().expect("a name");
        let bytes = stack["growth"]["bytes"].as_i64().expect("a number");
        (symbol, stack["kind"].as_str().expect("a name"), bytes)
    });
    let expected = [
        ("leak_4096", "new", 8192),
        ("leak_256", "new", 6400),
        ("leak_64", "new", 3200),
        ("leak_16", "new", 1600),
        ("leak_many", "gone", -150 * 48),
    ];
    assert_eq!(changes.collect::<Vec<_>>(), expected);

    let outcome = Outcome::of(&["diff", text(&old), text(&new)]).expect_code(0);
    let said = outcome.stdout.join("\n");
    assert!(said.contains("leak_many"), "{said}");
    let outcome = Outcome::of(&["diff", text(&old), text(&old), "--json"]).expect_code(0);
    let same: Value = serde_json::from_str(&outcome.stdout[0]).expect("JSON");
    assert_eq!(same["growth"]["bytes"], 0);
    assert_eq!(same["stacks"][0]["kind"], "same");
}
