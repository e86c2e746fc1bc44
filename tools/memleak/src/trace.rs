//! Events as they are printed for `-t`.

use std::fmt::Write as _;

use jiff::Timestamp;
use memtools::output::{as_hex, wall_clock};
use serde::Serialize;

use crate::collector::TraceEvent;

/// As people read them: one line for each event.
pub fn text(events: &[TraceEvent], now: Timestamp) -> String {
    let mut out = String::new();
    for event in events {
        let time = time_of(event, now);
        let what = if event.is_alloc { "alloc" } else { "free " };
        let _ = writeln!(
            out,
            "{}.{:06} ({}) {what} {:#x} {} bytes",
            wall_clock(time),
            time.subsec_nanosecond() / 1000,
            event.thread,
            event.address,
            event.bytes
        );
    }
    out
}

#[derive(Serialize)]
struct JsonEvent {
    v: u32,
    tool: &'static str,
    #[serde(rename = "type")]
    record: &'static str,
    time: String,
    #[serde(skip_serializing_if = "is_any")]
    pid: u32,
    tid: u32,
    kind: &'static str,
    #[serde(serialize_with = "as_hex")]
    addr: u64,
    bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
fn is_any(process: &u32) -> bool {
    *process == 0
}

/// For programs: one object on each line.
pub fn json(events: &[TraceEvent], now: Timestamp) -> serde_json::Result<String> {
    let mut out = String::new();
    for event in events {
        let line = serde_json::to_string(&JsonEvent {
            v: 1,
            tool: "memleak",
            record: "event",
            // RFC 3339 in UTC.
            time: format!("{:.6}", time_of(event, now)),
            pid: event.process,
            tid: event.thread,
            kind: if event.is_alloc { "alloc" } else { "free" },
            addr: event.address,
            bytes: event.bytes,
        })?;
        out.push_str(&line);
        out.push('\n');
    }
    Ok(out)
}

fn time_of(event: &TraceEvent, now: Timestamp) -> Timestamp {
    now.checked_sub(event.age).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn events() -> [TraceEvent; 2] {
        let event = |is_alloc, age| TraceEvent {
            age: Duration::from_micros(age),
            is_alloc,
            process: 41,
            thread: 7,
            address: 0x1000,
            bytes: 16,
        };
        [event(true, 1_500_000), event(false, 1)]
    }

    #[test]
    fn an_event_is_a_line_of_text() {
        let now = Timestamp::from_second(2).unwrap();
        let text = text(&events(), now);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with(":00.500000 (7) alloc 0x1000 16 bytes"));
        assert!(lines[1].ends_with(":01.999999 (7) free  0x1000 16 bytes"));
    }

    #[test]
    fn an_event_is_an_object_for_programs() {
        let now = Timestamp::from_second(2).unwrap();
        let expected = r#"{"v":1,"tool":"memleak","type":"event","time":"1970-01-01T00:00:00.500000Z","pid":41,"tid":7,"kind":"alloc","addr":"0x1000","bytes":16}
{"v":1,"tool":"memleak","type":"event","time":"1970-01-01T00:00:01.999999Z","pid":41,"tid":7,"kind":"free","addr":"0x1000","bytes":16}
"#;
        assert_eq!(json(&events(), now).unwrap(), expected);
    }
}
