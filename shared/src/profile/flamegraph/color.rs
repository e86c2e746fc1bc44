//! Colours that are light enough for black letters, on any background.

use crate::profile::tree::Label;

/// The colour of a frame: the hue by its module, the shade by its name, the same in every picture.
/// Frames that are no functions are grey.
pub fn of_label(label: &Label) -> String {
    let shade = f64::from(hash(&label.name) % 64) / 63.0;
    if !label.is_function {
        return hsl(0.0, 0.0, 0.74 + 0.08 * shade);
    }
    let hue = f64::from(hash(&label.module) % 360);
    hsl(hue, 0.50 + 0.20 * shade, 0.70 + 0.10 * shade)
}

/// The colour of a change: red where the figure grew, blue where it shrank, near white where it did
/// neither; deeper with the change's part of the larger figure.
pub fn of_change(before: u128, after: u128) -> String {
    const NEITHER: [f64; 3] = [236.0, 236.0, 236.0];
    const GREW: [f64; 3] = [238.0, 92.0, 80.0];
    const SHRANK: [f64; 3] = [96.0, 146.0, 240.0];
    let larger = before.max(after).max(1) as f64;
    let part = before.abs_diff(after) as f64 / larger;
    let end = if after >= before { GREW } else { SHRANK };
    let mix = |i: usize| NEITHER[i] + (end[i] - NEITHER[i]) * part;
    hex([mix(0), mix(1), mix(2)])
}

/// FNV-1a, folded once more: the standard library's hash may differ from release to release.
fn hash(text: &str) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in text.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash ^ (hash >> 15)
}

/// Hue in degrees, the others from 0 to 1. The formula is that of CSS Color 4, 7.1.
fn hsl(hue: f64, saturation: f64, lightness: f64) -> String {
    let channel = |n: f64| {
        let k = (n + hue / 30.0) % 12.0;
        let reach = saturation * lightness.min(1.0 - lightness);
        let value = lightness - reach * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        value * 255.0
    };
    hex([channel(0.0), channel(8.0), channel(4.0)])
}

fn hex(channels: [f64; 3]) -> String {
    let [red, green, blue] = channels.map(|c| c.round().clamp(0.0, 255.0) as u8);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_css() {
        assert_eq!(hsl(0.0, 1.0, 0.5), "#ff0000");
        assert_eq!(hsl(120.0, 1.0, 0.25), "#008000");
        assert_eq!(hsl(210.0, 0.5, 0.75), "#9fbfdf");
    }

    #[test]
    fn changes_go_from_blue_to_red() {
        assert_eq!(of_change(0, 5), "#ee5c50");
        assert_eq!(of_change(5, 5), "#ececec");
        assert_eq!(of_change(0, 0), "#ececec");
        assert_eq!(of_change(5, 0), "#6092f0");
    }
}
