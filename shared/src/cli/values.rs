//! Values as they are written on a command line.

use std::time::Duration;

/// A PID.
pub fn parse_pid(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(pid) if pid > 0 && i32::try_from(pid).is_ok() => Ok(pid),
        _ => Err("a PID is a whole number above 0".to_owned()),
    }
}

/// Seconds, with or without a fraction: from a millisecond to 31 years.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    const LONGEST: f64 = 1e9;
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=LONGEST).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds above 0".to_owned()),
    }
}

/// The same; as bcc has it, 0 stands for none.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(0.0) => Ok(Duration::ZERO),
        _ => parse_seconds(text),
    }
}

/// A time in nanoseconds, or with a unit: `1500`, `50us`, `1.5ms`, `2s`.
pub fn parse_duration_ns(text: &str) -> Result<u64, String> {
    let refused = || "a time in nanoseconds, or with a unit: 1500, 50us, 1.5ms, 2s".to_owned();
    let at = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let unit = match unit {
        "" | "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return Err(refused()),
    };
    let number: f64 = number.trim_end().parse().map_err(|_| refused())?;
    let ns = number * unit;
    if !(1.0..=1e18).contains(&ns) {
        return Err(refused());
    }
    Ok(ns.round() as u64)
}

/// A time after the start of a recording.
pub fn parse_moment(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(0.0) => Ok(Duration::ZERO),
        _ => parse_seconds(text).map_err(|_| "a number of seconds from 0 on".to_owned()),
    }
}

/// A percentage above 0, with or without its sign.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("a percentage above 0, up to 100".to_owned()),
    }
}

/// A size, with or without a binary unit: `64K`, `2MiB`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let shift = match unit
        .to_ascii_lowercase()
        .trim_end_matches('b')
        .trim_end_matches('i')
    {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err("a number of bytes, such as 4096, 64K or 2M".to_owned()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or_else(|| "a number of bytes, such as 4096, 64K or 2M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_may_be_the_start() {
        assert_eq!(parse_moment("0"), Ok(Duration::ZERO));
        assert_eq!(parse_moment("1.5"), Ok(Duration::from_millis(1500)));
        assert!(parse_moment("-1").is_err() && parse_moment("nan").is_err());
    }

    #[test]
    fn times_take_units() {
        assert_eq!(parse_duration_ns("1500"), Ok(1500));
        assert_eq!(parse_duration_ns("1.5ms"), Ok(1_500_000));
        assert_eq!(parse_duration_ns("2s"), Ok(2_000_000_000));
        for wrong in ["", "0", "-1", "ms", "5 parsecs", "nan", "inf"] {
            assert!(parse_duration_ns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_take_units() {
        assert_eq!(parse_bytes("64K"), Ok(65536));
        assert_eq!(parse_bytes("2MiB"), Ok(2 << 20));
        assert_eq!(parse_bytes("0"), Ok(0));
        assert!(parse_bytes("99999999999T").is_err());
        assert!(parse_bytes("K").is_err());
    }
}
