//! Whether memleak's report names the leaks that the program has.

/// The functions named by the source's line `// leaks: A B C`, biggest leak first.
pub fn leaks_marked(source: &str) -> Option<Vec<String>> {
    let names = source
        .lines()
        .find_map(|line| line.trim().strip_prefix("// leaks:"))?;
    let names: Vec<_> = names.split_whitespace().map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

/// Compares the report's first stacks with the leaks, in order. The error says what differs.
pub fn check(report: &str, leaks: &[String]) -> Result<(), String> {
    let stacks = stacks(report);
    for (index, leak) in leaks.iter().enumerate() {
        let place = index + 1;
        let Some(stack) = stacks.get(index) else {
            return Err(format!(
                "it has {} stacks, and {leak} should be number {place}",
                stacks.len()
            ));
        };
        let Some(frame) = stack.iter().find(|frame| names(frame, leak)) else {
            return Err(format!("stack {place} does not name {leak}"));
        };
        if let Some(other) = leaks
            .iter()
            .find(|other| *other != leak && stack.iter().any(|frame| names(frame, other)))
        {
            return Err(format!("stack {place} names {other} beside {leak}"));
        }
        if !frame.contains("demo.c:") {
            return Err(format!("stack {place} names {leak} without file and line"));
        }
    }
    Ok(())
}

/// The lines under each heading `N bytes in N allocations from stack`.
fn stacks(report: &str) -> Vec<Vec<&str>> {
    let mut stacks: Vec<Vec<&str>> = Vec::new();
    for line in report.lines() {
        if line.contains("allocations from stack") || line.contains("allocation from stack") {
            stacks.push(Vec::new());
        } else if let Some(stack) = stacks.last_mut() {
            stack.push(line);
        }
    }
    stacks
}

/// Whether the line has the function as a whole word.
fn names(line: &str, function: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == function)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
[12:00:00] Top 3 stacks with outstanding allocations:
\t9000 bytes in 9 allocations from stack
\t\t0 [<0000aaaa>] leak_sessions+0x14 [demo] tests/workloads/demo.c:40
\t\t1 [<0000aaab>] main+0x20 [demo] tests/workloads/demo.c:90
\t100 bytes in 1 allocation from stack
\t\t0 [<0000aaac>] leak_requests+0x14 [demo] tests/workloads/demo.c:50
";

    fn leaks(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_marker_line_is_read() {
        let source = "#include <x.h>\n// leaks: leak_a leak_b\nint main;\n";
        assert_eq!(leaks_marked(source), Some(leaks(&["leak_a", "leak_b"])));
        assert_eq!(leaks_marked("// leaks:\n"), None);
        assert_eq!(leaks_marked("int main;\n"), None);
    }

    #[test]
    fn the_right_order_passes() {
        assert_eq!(
            check(REPORT, &leaks(&["leak_sessions", "leak_requests"])),
            Ok(())
        );
    }

    #[test]
    fn every_difference_is_named() {
        let difference = |names: &[&str]| check(REPORT, &leaks(names)).unwrap_err();
        assert_eq!(
            difference(&["leak_requests", "leak_sessions"]),
            "stack 1 does not name leak_requests"
        );
        assert_eq!(
            difference(&["leak_sessions", "leak_requests", "leak_log_lines"]),
            "it has 2 stacks, and leak_log_lines should be number 3"
        );
        assert_eq!(
            difference(&["leak_session"]),
            "stack 1 does not name leak_session"
        );
        assert_eq!(
            difference(&["leak_sessions", "main"]),
            "stack 1 names main beside leak_sessions"
        );
    }

    #[test]
    fn a_frame_without_its_line_is_not_enough() {
        let report = REPORT.replace("tests/workloads/demo.c:40", "");
        assert_eq!(
            check(&report, &leaks(&["leak_sessions"])),
            Err("stack 1 names leak_sessions without file and line".to_owned())
        );
    }
}
