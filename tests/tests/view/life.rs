//! How a view ends, and what it leaves behind.

use super::*;

#[test]
fn the_view_outlives_its_target() {
    let Some((view, truth)) = View::of_phases("the_view_outlives_its_target", "") else {
        return;
    };
    let View {
        screen, workload, ..
    } = view;
    workload.quit();
    screen.wait_until("the end", |text| {
        text.contains(", ended)") && agrees(text, &truth)
    });
    screen.keys(&["Enter"]);
    screen.wait_for(&place("malloc(20000)"));
    screen.keys(&["q"]);
    screen.wait_for("code=0");
    assert_eq!(screen.state(), view.before);
}

#[test]
fn the_view_outlives_a_killed_target() {
    let Some((mut view, truth)) = View::of_phases("the_view_outlives_a_killed_target", "") else {
        return;
    };
    view.workload.kill();
    view.screen.wait_until("the end", |text| {
        text.contains(", ended)") && agrees(text, &truth)
    });
    view.keys(&["q"]);
    view.expect_restored(&["code=0"]);
}

#[test]
fn ctrl_c_quits() {
    let Some((view, truth)) = View::of_phases("ctrl_c_quits", "") else {
        return;
    };
    view.keys(&["C-c"]);
    let bytes = human_bytes(truth.total_bytes());
    view.expect_ended(&["outstanding after", &bytes, "code=0"]);
}

#[test]
fn end_signals_leave_terminal_and_target_as_they_were() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let test = "end_signals_leave_terminal_and_target_as_they_were";
        let Some(view) = View::open(test, "busy", "") else {
            return;
        };
        view.signal(signal);
        view.expect_ended(&["code=0"]);
    }
}

#[test]
fn a_killed_view_leaves_terminal_and_target_as_they_were() {
    let test = "a_killed_view_leaves_terminal_and_target_as_they_were";
    let Some(mut view) = View::open(test, "busy", "") else {
        return;
    };
    view.workload.run();
    assert!(!altered_code(view.workload.pid()).is_empty());
    view.signal(libc::SIGKILL);
    view.expect_ended(&[]);
}

#[test]
fn a_closed_terminal_ends_the_view() {
    let Some(view) = View::open("a_closed_terminal_ends_the_view", "busy", "") else {
        return;
    };
    view.screen.hang_up();
    assert_no_probe_left(view.workload.pid());
    view.workload.quit();
}

#[test]
fn ctrl_z_and_fg() {
    let Some((mut view, truth)) = View::of_phases("ctrl_z_and_fg", "") else {
        return;
    };
    let screen = &view.screen;
    view.keys(&["C-z"]);
    screen.wait_until("the shell", |text| {
        text.contains("Stopped") || text.contains("Suspended")
    });
    wait_until("the terminal is as it was", || {
        screen.state() == view.before
    });
    // What is allocated meanwhile is not missed.
    let more = view.workload.run();
    view.screen.line("fg; echo code=$?");
    let all = human_bytes(truth.total_bytes() + more.total_bytes());
    view.expect(&["leak_late", &all]);
    let during = view.screen.state();
    assert!(!during.shows_cursor && during.is_alternate && during.has_mouse);
    view.quit();
}
