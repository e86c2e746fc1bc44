//! Flame graphs: one SVG file that needs nothing else, and no script to be looked at.
//!
//! - The root is at the bottom; what a function called stands on it, from left to right by name. A frame
//!   is as wide as its figure. A class other than the heap is a frame on the root: `[mmap]`.
//! - A frame stands for a function and its module, whatever the lines and addresses. Inlined calls are
//!   frames of their own, with a dashed edge and slanted letters.
//! - The script, which stands in the file, adds zoom, search and the keyboard: arrows move, Enter zooms,
//!   Escape goes back, `/` or Ctrl-F searches.
//! - Frames narrower than 0.1 pixels are left out, and more than that in a picture of more than
//!   10,000 frames; how many and how much they hold stands below the picture.
//! - Figures below zero cannot be drawn; stacks that have one are counted below the picture.
//!
//! A picture of a difference has the *later* profile's widths. A frame's colour says what became of
//! its figure, with all that it called: red where it grew, blue where it shrank, deeper with the
//! change's part of the larger figure. This is how differential flame graphs are commonly drawn, but
//! for the colour, which often is that of the frame without its calls: memory is nearly always
//! allocated at the tip of a stack, and its growth is easier to follow down from the root. What
//! vanished has no width in the later profile: it is not drawn but counted below the picture, and
//! is seen when the two profiles change places.

mod color;
mod layout;
mod svg;
mod xml;

use std::io::{self, Write};

use super::tree::{Side, Tree};
use super::{Profile, ValueKind};

/// How many frames a picture has at the most, so that it stays below a few megabytes.
const MOST_FRAMES: usize = 10_000;

/// Writes the flame graph of one kind of figure, an index into [`Profile::kinds`].
pub fn write(profile: &Profile, kind: usize, out: &mut impl Write) -> io::Result<()> {
    let tree = Tree::new(None, profile, kind);
    write_tree(&tree, profile, None, kind, out)
}

/// Writes the flame graph of what became of one kind of figure, an index into both profiles'
/// [`Profile::kinds`]. The profiles need not share a stack table.
pub fn write_difference(
    before: &Profile,
    after: &Profile,
    kind: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let tree = Tree::new(Some(before), after, kind);
    write_tree(&tree, after, Some(before), kind, out)
}

fn write_tree(
    tree: &Tree,
    profile: &Profile,
    before: Option<&Profile>,
    kind: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let unnamed = ValueKind {
        name: "",
        unit: "count",
    };
    let picture = svg::Picture {
        tree,
        layout: layout::place(tree, MOST_FRAMES),
        kind: profile.kinds.get(kind).copied().unwrap_or(unnamed),
        title: &profile.title,
        time: profile.time,
        before: before.map(|before| before.time),
        vanished: vanished(tree),
    };
    out.write_all(picture.to_string().as_bytes())
}

/// How many calls the later profile has no more, and what they had.
fn vanished(tree: &Tree) -> (u64, u128) {
    let mut vanished = (0, 0);
    for node in &tree.nodes {
        let had = node.total(Side::Before);
        if had > 0 && node.total(Side::After) == 0 {
            vanished.0 += 1;
            vanished.1 += node.own(Side::Before);
        }
    }
    vanished
}

#[cfg(test)]
mod tests;
