//! Sizes, terminals that can little, names that are hostile; recordings; and where there is no view.

use super::*;

#[test]
fn any_size_will_do() {
    let Some((view, truth)) = View::of_phases("any_size_will_do", "") else {
        return;
    };
    view.screen.resize(50, 10);
    view.expect(&["60x15 needed, this is 50x10"]);
    view.screen.resize(60, 15);
    view.screen.wait_until("the smallest size", |text| {
        let rows = rows(text);
        let mut large = rows.iter().filter(|row| row.contains("leak_l"));
        !text.contains("needed")
            && large.any(|row| row.contains(&live(3 * 20000)))
            && text.lines().all(|line| line.chars().count() <= 60)
    });
    view.screen.resize(110, 30);
    view.screen
        .wait_until("the old size", |text| agrees(text, &truth));
    view.quit();
}

#[test]
fn plain_terminals_get_ascii_without_colours() {
    let test = "plain_terminals_get_ascii_without_colours";
    let Some(screen) = terminal(test) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let sent = directory.path().join("sent");
    screen.record(&sent);
    let workload = Workload::start("phases", NO_ARGS);
    let mut view = View::on(screen, workload, "NO_COLOR=1 LC_ALL=C", "");
    let truth = view.workload.run();
    view.screen
        .wait_until("its figures", |text| agrees(text, &truth));
    view.keys(&["Enter"]).expect(&["Enter closes"]);
    view.keys(&["2"]).expect(&["SELF"]);
    view.keys(&["4"]).expect(&["live bytes since"]);
    view.keys(&["?"]).expect(&["one row up"]);
    view.keys(&["Escape"]);
    view.screen
        .wait_until("no help", |text| !text.contains("one row up"));
    view.quit();
    let sent = all_sent(&sent);
    let sent = String::from_utf8(sent).expect("ASCII is UTF-8");
    let other = sent.chars().find(|c| !c.is_ascii());
    assert_eq!(other, None);
    assert_eq!(colours(&sent), Vec::<&str>::new());
}

/// What was sent up to the word that `expect_restored` ends with.
fn all_sent(path: &PathBuf) -> Vec<u8> {
    let mut sent = Vec::new();
    wait_until("all is recorded", || {
        sent = fs::read(path).unwrap_or_default();
        sent.windows(3).any(|bytes| bytes == b"42x")
    });
    sent
}

/// Sequences that set a colour other than the terminal's own.
fn colours(sent: &str) -> Vec<&str> {
    let sequences = sent.split("\x1b[").skip(1);
    let styles = sequences.filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
        rest[end..].starts_with('m').then_some(&rest[..end])
    });
    let is_colour = |style: &&str| {
        let mut numbers = style.split(';').filter_map(|n| n.parse::<u32>().ok());
        numbers.any(|n| matches!(n, 30..=38 | 40..=48 | 90..=97 | 100..=107))
    };
    styles.filter(is_colour).collect()
}

#[test]
fn colours_are_recognized() {
    assert_eq!(
        colours("\x1b[31ma\x1b[0m\x1b[1;38;5;2mb\x1b[39;49m\x1b[2J"),
        ["31", "1;38;5;2"]
    );
}

/// Names of other processes cannot write on the terminal.
#[test]
fn escape_sequences_in_names_are_not_obeyed() {
    let test = "escape_sequences_in_names_are_not_obeyed";
    let Some(screen) = terminal(test) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let sent = directory.path().join("sent");
    let path = directory.path().join("ev\u{1b}[31mil\u{7}\nname");
    let workload = path_of("escape").expect("build.rs has built it");
    fs::copy(&workload, &path).expect("a workload can be copied");
    screen.record(&sent);
    let workload = Workload::start_at(&path, NO_ARGS);
    let mut view = View::on(screen, workload, "", "");
    let bytes = view.workload.run().fact("escaped_bytes");
    view.expect(&["leak_\\u{1b}[31mevil", &live(bytes)]);
    view.expect(&["\\u{1b}[31mevil\\u{a}\\u{7} (PID"]);
    view.keys(&["Enter"]).expect(&["ev\\u{1b}[31mil"]);
    view.keys(&["2"]).expect(&["SELF", "leak_\\u{1b}[31mevil"]);
    view.keys(&["3"])
        .expect(&["leak_\\u{1b}[31mevil", "ev\\u{1b}[31mil"]);
    view.quit();
    let sent = String::from_utf8_lossy(&all_sent(&sent)).into_owned();
    for raw in ["\x1b[31mevil", "\x1b[31mil", "\x07"] {
        assert!(!sent.contains(raw), "{raw:?} was sent");
    }
}

#[test]
fn too_much_overhead_is_said_in_the_view() {
    let test = "too_much_overhead_is_said_in_the_view";
    let Some(mut view) = View::open(test, "busy", "--max-overhead 1") else {
        return;
    };
    view.workload.run();
    view.expect(&["detached", "leak_before_kill"]);
    wait_until("the probes are taken out", || {
        altered_code(view.workload.pid()).is_empty()
    });
    assert!(view.screen.state().is_alternate);
    view.quit();
}

#[test]
fn a_recording_is_looked_at_moment_by_moment() {
    let Some(screen) = terminal("a_recording_is_looked_at_moment_by_moment") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("phases.leak").display().to_string();
    let mut workload = Workload::start("phases", NO_ARGS);
    let pid = workload.pid().to_string();
    let arguments = ["record", "-o", &file, "--older", "0", "-p", &pid, "0.2"];
    let mut memleak = Memleak::spawn(Memleak::command(&arguments));
    memleak.wait_tracing();
    let first = workload.run();
    wait_until("the first phase is recorded", || {
        let report = moments(&file).pop();
        report.is_some_and(|report| report.total_bytes() == first.total_bytes())
    });
    let second = workload.run();
    memleak.interrupt().expect_code(0);
    workload.quit();

    let moments = moments(&file);
    let is_first = |report: &Report| report.total_bytes() == first.total_bytes();
    let between = moments.iter().rposition(is_first).expect("it was recorded");
    let back = moments.len() - 1 - between;
    screen.line(&format!("{} show {file}; echo code=$?", binary().display()));
    let all = human_bytes(first.total_bytes() + second.total_bytes());
    let at_end = |text: &str| text.contains(", recorded)") && text.contains("leak_late");
    screen.wait_until(&all, |text| at_end(text) && text.contains(&all));
    screen.keys(&vec!["["; back]);
    screen.wait_until("the first phase", |text| {
        agrees(text, &first) && !text.contains("leak_late")
    });
    screen.keys(&vec!["]"; back]);
    screen.wait_until(&all, |text| at_end(text) && text.contains(&all));
    screen.keys(&["q"]);
    screen.wait_for("code=0");
}

/// A report for each moment of a recording.
fn moments(file: &str) -> Vec<Report> {
    Outcome::of(&["show", "--all", "--json", file]).reports()
}

#[test]
fn a_view_without_a_terminal_is_refused() {
    let workload = Workload::start("basic", NO_ARGS);
    let pid = workload.pid().to_string();
    let mut command = Memleak::command(&["--tui", "-p", &pid]);
    // SAFETY: setsid is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    expect_refusal(&Memleak::spawn(command).outcome());
    assert_no_probe_left(workload.pid());
    workload.quit();
}

#[test]
fn a_view_that_prints_json_is_refused() {
    expect_refusal(&Outcome::of(&["--tui", "--json", "-p", "1"]));
}

/// One clear line.
#[track_caller]
fn expect_refusal(outcome: &Outcome) {
    assert!([1, 2].contains(&outcome.code()), "{outcome:?}");
    assert_eq!(outcome.stdout, Vec::<String>::new());
    let [line] = &outcome.stderr[..] else {
        panic!("more than a line: {outcome:#?}");
    };
    assert!(line.starts_with("memleak: "), "{line}");
}

#[test]
fn a_terminal_that_cannot_draw_gets_reports() {
    let Some(screen) = terminal("a_terminal_that_cannot_draw_gets_reports") else {
        return;
    };
    let workload = Workload::start("basic", NO_ARGS);
    let memleak = format!("{} -p {}", binary().display(), workload.pid());
    screen.line(&format!("TERM=dumb {memleak}; echo code=$?"));
    screen.wait_for("tracing basic");
    screen.keys(&["C-c"]);
    screen.wait_until("a report", |text| {
        text.contains("stacks with outstanding allocations") && text.contains("code=0")
    });
    screen.line(&format!("clear; TERM=dumb {memleak} --tui; echo code=$?"));
    screen.wait_until("a refusal", |text| {
        text.contains("TERM is \"dumb\"") && (text.contains("code=1") || text.contains("code=2"))
    });
    assert_no_probe_left(workload.pid());
    workload.quit();
}
