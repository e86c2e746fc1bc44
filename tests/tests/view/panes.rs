//! What the panes show, and what keys do to it.

use super::*;

#[test]
fn a_view_opens_and_what_leaks_most_comes_first() {
    let Some((view, _)) = View::of_phases("a_view_opens_and_what_leaks_most_comes_first", "")
    else {
        return;
    };
    view.expect_first("leak_large").expect(&["phases (PID "]);
    assert!(!altered_code(view.workload.pid()).is_empty());
    view.quit();
}

#[test]
fn rust_functions_have_their_bytes() {
    let Some(mut view) = View::open("rust_functions_have_their_bytes", "leak", "") else {
        return;
    };
    // Room for all that stands between an allocator and its caller.
    view.screen.resize(1500, 45);
    let mut truth = view.workload.run();
    // It has two stacks.
    truth.functions.retain(|f| f.function != "leak_cycle");
    view.screen
        .wait_until("all functions", |text| agrees(text, &truth));
    view.quit();
}

#[test]
fn reports_are_printed_where_they_are_asked_for() {
    let Some(screen) = terminal("reports_are_printed_where_they_are_asked_for") else {
        return;
    };
    let workload = Workload::start("basic", NO_ARGS);
    let memleak = format!("{} -p {}", binary().display(), workload.pid());
    let report = "stacks with outstanding allocations";
    screen.line(&format!("{memleak} 0.1 1; echo code=$?"));
    screen.wait_until(report, |text| {
        text.contains(report) && text.contains("code=0")
    });
    for (flags, report) in [
        ("--text", report),
        ("--json", "\"tool\":\"memleak\""),
        ("| (trap '' INT; cat)", report),
    ] {
        screen.line("clear");
        screen.wait_until("nothing", |text| !text.contains("code=0"));
        screen.line(&format!("{memleak} {flags}; echo code=$?"));
        screen.wait_for("tracing basic");
        screen.keys(&["C-c"]);
        screen.wait_until(report, |text| {
            text.contains(report) && text.contains("code=0")
        });
    }
    assert_no_probe_left(workload.pid());
    workload.quit();
}

#[test]
fn details_are_the_whole_stack_with_files_and_lines() {
    let test = "details_are_the_whole_stack_with_files_and_lines";
    let Some((view, truth)) = View::of_phases(test, "") else {
        return;
    };
    let large = truth.functions[0].bytes.expect("the workload says it");
    let large = format!("{} in 3 blocks", human_bytes(large));
    let calls = [
        place("malloc(20000)"),
        place("leak_large(large);"),
        place("serve_phase(3, 500, 0)"),
    ];
    // Also where the lines are short.
    for columns in [110, 80, 60] {
        view.screen.resize(columns, 30);
        view.keys(&["Enter"]).expect(&["Enter closes", &large]);
        let functions = ["leak_large", "serve_phase", "main"];
        view.screen.wait_until("the stack", |text| {
            functions.iter().zip(&calls).all(|(function, place)| {
                let is_frame = |line: &str| line.contains(function) && line.contains(place);
                text.lines().any(is_frame)
            })
        });
        view.keys(&["Enter"]);
        view.screen
            .wait_until("no details", |text| !text.contains("Enter closes"));
    }
    view.quit();
}

#[test]
fn a_filter_acts_while_it_is_typed() {
    let Some((view, truth)) = View::of_phases("a_filter_acts_while_it_is_typed", "") else {
        return;
    };
    let only_small = |text: &str| text.contains("leak_small") && !text.contains("leak_large");
    view.keys(&["/"]).expect(&["filter:"]);
    view.screen.raw("k_smal");
    view.screen.wait_until("only leak_small", |text| {
        only_small(text) && text.contains("filter: k_smal")
    });
    view.keys(&["Enter"]);
    view.screen.wait_until("it is accepted", |text| {
        let bottom = text.trim_end().lines().last().unwrap_or_default();
        only_small(text) && text.contains("filter: k_smal") && bottom.contains("PID")
    });
    view.keys(&["Escape"]).expect(&["leak_large", "? help"]);
    view.keys(&["/"]).expect(&["filter:"]);
    view.screen.raw("nobody");
    view.expect(&["nothing matches the filter"]);
    view.keys(&["Escape"]);
    view.screen
        .wait_until("all again", |text| agrees(text, &truth));
    view.quit();
}

#[test]
fn stacks_are_sorted_by_the_column_that_is_chosen() {
    let test = "stacks_are_sorted_by_the_column_that_is_chosen";
    let Some((view, _)) = View::of_phases(test, "") else {
        return;
    };
    view.expect(&["SCORE▼"]).expect_first("leak_large");
    view.keys(&[">"]).expect(&["LIVE▼"]);
    view.expect_first("leak_large");
    view.keys(&[">"]).expect(&["COUNT▼"]);
    view.expect_first("leak_small");
    view.keys(&["R"]).expect(&["COUNT▲"]);
    view.expect_first("leak_large");
    view.keys(&["R"]).expect(&["COUNT▼"]);
    view.keys(&["<"]).expect(&["LIVE▼"]);
    view.expect_first("leak_large");
    view.quit();
}

#[test]
fn trees_unfold_to_the_function_that_allocates() {
    let test = "trees_unfold_to_the_function_that_allocates";
    let Some((view, truth)) = View::of_phases(test, "") else {
        return;
    };
    let has_row = |function: &str, bytes: u64| {
        view.screen.wait_until(function, |text| {
            let mut rows = rows(text).into_iter();
            rows.any(|row| row.contains(function) && row.contains(&live(bytes)))
        });
    };
    let gone = |function: &str| {
        view.screen
            .wait_until("it is closed", |text| !text.contains(function));
    };
    let bytes = |index: usize| truth.functions[index].bytes.expect("the workload says it");
    view.keys(&["2", "Home"]);
    has_row("serve_phase", truth.total_bytes());
    has_row("leak_large", bytes(0));
    has_row("leak_small", bytes(1));
    view.keys(&["Left"]);
    gone("leak_small");
    view.keys(&["Right"]);
    has_row("leak_small", bytes(1));
    view.keys(&["3", "End"]);
    has_row("leak_small", bytes(1));
    // The heaviest is open, the other closed.
    has_row("serve_phase", bytes(0));
    view.keys(&["+"]);
    has_row("serve_phase", bytes(1));
    view.keys(&["Enter"]);
    view.keys(&["Home", "-"]);
    gone("serve_phase");
    view.quit();
}

#[test]
fn the_timeline_shows_what_is_live() {
    let Some((view, truth)) = View::of_phases("the_timeline_shows_what_is_live", "") else {
        return;
    };
    let now = human_bytes(truth.total_bytes());
    let words = format!("live bytes since the attach: {now}, peak {now}");
    view.keys(&["4"]).expect(&[&words, "█"]);
    // Round again: the tab after the last is the first.
    view.keys(&["Tab"]).expect_first("leak_large");
    view.quit();
}

#[test]
fn a_paused_view_stands_still_and_goes_on() {
    let Some((mut view, truth)) = View::of_phases("a_paused_view_stands_still_and_goes_on", "")
    else {
        return;
    };
    view.keys(&["p"]).expect(&["paused"]);
    // The snapshot that was on its way has come.
    let_time_pass(&view.workload);
    let still = view.screen.text();
    let more = view.workload.run();
    let_time_pass(&view.workload);
    assert_eq!(view.screen.text(), still);
    assert!(agrees(&still, &truth));
    view.keys(&["p"]);
    let all = truth.total_bytes() + more.total_bytes();
    view.expect(&["leak_late", &human_bytes(all)]);
    view.screen
        .wait_until("not paused", |text| !text.contains("paused"));
    view.quit();
}

#[test]
fn a_base_line_hides_what_was_before() {
    let Some((mut view, truth)) = View::of_phases("a_base_line_hides_what_was_before", "") else {
        return;
    };
    view.keys(&["r"])
        .expect(&["nothing was allocated and kept since the base line"]);
    let more = view.workload.run();
    view.screen.wait_until("the second phase alone", |text| {
        agrees(text, &more) && !text.contains("leak_small")
    });
    // The process has all of it.
    let all = human_bytes(truth.total_bytes() + more.total_bytes());
    view.expect(&[&all]);
    view.keys(&["r"]);
    view.expect(&["leak_small", "leak_late"]);
    view.quit();
}

#[test]
fn files_for_other_programs_are_written() {
    let test = "files_for_other_programs_are_written";
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| directory.path().join(name);
    let flags = format!(
        "--folded {} --flamegraph {} --pprof {}",
        file("f").display(),
        file("s").display(),
        file("p").display()
    );
    let Some((view, truth)) = View::of_phases(test, &flags) else {
        return;
    };
    view.keys(&["w"]).expect(&["wrote "]);
    for name in ["f", "s", "p"] {
        assert!(file(name).exists(), "{name} is not written");
    }
    assert_eq!(folded_bytes(&file("f")), truth.total_bytes());
    let picture = fs::read_to_string(file("s")).expect("it is text");
    assert!(picture.contains("<svg") && picture.contains("leak_large"));
    view.keys(&["q"]);
    view.expect_ended(&["memleak: wrote", "code=0"]);
}

/// The sum of all stacks.
fn folded_bytes(path: &Path) -> u64 {
    let text = fs::read_to_string(path).expect("it is text");
    let figures = text.lines().filter_map(|line| line.rsplit(' ').next());
    figures
        .map(|figure| figure.parse::<u64>().expect("bytes"))
        .sum()
}

/// What the second line begins with.
#[track_caller]
fn expect_second(view: &View, words: &str) {
    view.screen.wait_until(words, |text| {
        let second = text.lines().nth(1);
        second.is_some_and(|line| line.starts_with(words))
    });
}

#[test]
fn several_processes_are_told_apart() {
    let Some(screen) = terminal("several_processes_are_told_apart") else {
        return;
    };
    let workload = Workload::start("tree", &["held", "4"]);
    let mut view = View::on(screen, workload, "", "--follow");
    let truth = view.workload.run();
    expect_second(&view, "6 processes");
    view.expect(&["PROCESS"]);
    view.workload.run();
    let pids = (0..4).map(|child| truth.fact(&format!("child_{child}")));
    let pids: Vec<String> = pids.map(|pid| format!("PID {pid})")).collect();
    view.screen.wait_until("each has its row", |text| {
        let rows = rows(text);
        let has_row = |pid: &String| rows.iter().any(|row| row.contains(pid));
        pids.iter().all(has_row)
    });
    view.workload.run();
    expect_second(&view, "6 processes, 5 ended");
    view.quit();
}
