//! Text and JSON for people and programs: sizes, times, cleaned names.

mod file;

use std::fmt::{self, Write as _};
use std::sync::OnceLock;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

pub use file::{write_file, write_regular_file};

/// Text of another process, made fit for a terminal: control characters, and those that reorder,
/// hide or break text, become `\u{…}`.
pub fn clean(text: &str) -> String {
    Clean(text.as_bytes()).to_string()
}

/// Bytes of another process that are mostly UTF-8, shown as [`clean`] has it; what is none becomes
/// U+FFFD. Allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct Clean<'a>(pub &'a [u8]);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c != '\t' && (c.is_control() || is_deceptive(c)) {
                    write!(f, "\\u{{{:x}}}", c as u32)?;
                } else {
                    f.write_char(c)?;
                }
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

/// Bytes that are mostly UTF-8, as text; what is none becomes U+FFFD. Allocates nothing. For JSON,
/// which has its own way with control characters.
#[derive(Clone, Copy, Debug)]
pub struct Lossy<'a>(pub &'a [u8]);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Lossy<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Marks that reorder text, line ends that are no control characters, and characters without width.
fn is_deceptive(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

/// For serde: a number as `"0x…"`.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
pub fn as_hex<S: serde::Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:#x}"))
}

/// A size as a person reads it: `1.5 MiB`, with binary units.
pub fn human_bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A size, shown as [`human_bytes`] has it. Allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct HumanBytes(pub u64);

impl fmt::Display for HumanBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// A signed size: `+1.5 MiB`, `-3 B`.
pub fn human_bytes_signed(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    format!("{sign}{}", human_bytes(bytes.unsigned_abs()))
}

/// A number with its thousands apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and its noun: `1 block`, `1,234 blocks`.
pub fn counted(number: u64, noun: &str) -> String {
    let ending = match number {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {noun}{ending}", grouped(number))
}

/// A duration in its largest useful unit: `350 ms`, `12.3 s`, `4 min 5 s`.
pub fn human_duration(duration: Duration) -> String {
    HumanDuration(duration).to_string()
}

/// A duration, shown as [`human_duration`] has it. Allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds >= 60 {
            write!(f, "{} min {} s", seconds / 60, seconds % 60)
        } else if seconds >= 1 {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}

/// A duration in at most seven columns.
pub fn short_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => human_duration(duration),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// The wall clock of a time as `HH:MM:SS`, in the machine's time zone.
pub fn wall_clock(time: Timestamp) -> String {
    WallClock(time).to_string()
}

/// A time, shown as [`wall_clock`] has it. Allocates nothing once the time zone is known.
#[derive(Clone, Copy, Debug)]
pub struct WallClock(pub Timestamp);

/// A time's date there, as `2026-01-31`.
#[derive(Clone, Copy, Debug)]
pub struct Date(pub Timestamp);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zoned = here(self.0);
        write!(
            f,
            "{:04}-{:02}-{:02}",
            zoned.year(),
            zoned.month(),
            zoned.day()
        )
    }
}

/// jiff would ask the system for the time zone again every five minutes.
fn here(time: Timestamp) -> Zoned {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    time.to_zoned(ZONE.get_or_init(TimeZone::system).clone())
}

impl fmt::Display for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zoned = here(self.0);
        write!(
            f,
            "{:02}:{:02}:{:02}",
            zoned.hour(),
            zoned.minute(),
            zoned.second()
        )
    }
}

/// A time as RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(clean("\x1b[31mevil\n"), "\\u{1b}[31mevil\\u{a}");
        assert_eq!(clean("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(clean("größe\tx"), "größe\tx");
        for c in "\u{61c}\u{200b}\u{200d}\u{200f}\u{2028}\u{2029}\u{202a}\u{2060}\u{2069}\u{feff}"
            .chars()
        {
            let code = c as u32;
            assert_eq!(clean(&c.to_string()), format!("\\u{{{code:x}}}"));
        }
        assert_eq!(clean("\u{9b}31m"), "\\u{9b}31m");
    }

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        let bytes = b"a\xff\n\xc3\xa4";
        assert_eq!(Clean(bytes).to_string(), "a\u{fffd}\\u{a}\u{e4}");
        assert_eq!(Lossy(bytes).to_string(), "a\u{fffd}\n\u{e4}");
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(human_bytes(u64::MAX), "16.0 EiB");
        assert_eq!(human_bytes_signed(-1024), "-1.0 KiB");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1234), "1,234");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(counted(1, "block"), "1 block");
    }

    #[test]
    fn durations_take_their_unit() {
        assert_eq!(human_duration(Duration::from_millis(350)), "350 ms");
        assert_eq!(human_duration(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(human_duration(Duration::from_secs(245)), "4 min 5 s");
    }

    #[test]
    fn durations_fit_a_column() {
        let short = |millis| short_duration(Duration::from_millis(millis));
        assert_eq!(short(35), "35 ms");
        assert_eq!(short(59_000), "59.0 s");
        assert_eq!(short(61_000), "1m01s");
        assert_eq!(short(7_322_000), "2h02m");
        assert_eq!(short(90_000_000), "1d01h");
    }

    #[test]
    fn times_are_rfc3339_in_utc() {
        assert_eq!(rfc3339(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }
}
