//! Which calls of a tree are drawn, and where.

use crate::profile::tree::{Side, Tree};

/// A frame of the picture.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// The call's number in the tree.
    pub node: usize,
    /// Where it begins, in units of the figure, counted from the left.
    pub offset: u128,
}

/// The frames of a picture.
#[derive(Debug)]
pub struct Layout {
    /// Each caller before those it called, these from left to right: by name, so that two pictures
    /// of one program look alike.
    pub placed: Vec<Placed>,
    /// The greatest depth of a frame.
    pub depth: usize,
    /// How many frames are too narrow to be drawn.
    pub narrow: u64,
    /// What these hold together.
    pub narrow_total: u128,
    /// Frames are drawn if they are at least as wide as this part of the whole.
    pub narrowest: f64,
}

/// The narrowest frame that is drawn, as a part of the whole: 1/`PARTS`.
const PARTS: u128 = 12_000;

/// Places the frames, `limit` at the most: the widest ones.
pub fn place(tree: &Tree, limit: usize) -> Layout {
    let total = |node: usize| tree.nodes[node].total(Side::After);
    let least = least_drawn(tree, limit);
    let mut layout = Layout {
        placed: Vec::new(),
        depth: 0,
        narrow: 0,
        narrow_total: 0,
        narrowest: least as f64 / total(0).max(1) as f64,
    };
    let mut called: Vec<Vec<usize>> = vec![Vec::new(); tree.nodes.len()];
    for (i, node) in tree.nodes.iter().enumerate().skip(1) {
        if total(i) >= least {
            called[node.parent].push(i);
        } else if total(i) > 0 {
            layout.narrow += 1;
            // What a narrow frame called is part of it.
            if total(node.parent) >= least {
                layout.narrow_total += total(i);
            }
        }
    }
    // A stack of our own: no depth of calls can exhaust it.
    let mut waiting = vec![Placed { node: 0, offset: 0 }];
    while let Some(placed) = waiting.pop() {
        layout.depth = layout.depth.max(tree.nodes[placed.node].depth);
        layout.placed.push(placed);
        let children = &mut called[placed.node];
        children.sort_by(|a, b| tree.label(*a).cmp(tree.label(*b)));
        let mut offset = placed.offset;
        let first = waiting.len();
        for child in children.iter() {
            waiting.push(Placed {
                node: *child,
                offset,
            });
            offset += total(*child);
        }
        waiting[first..].reverse();
    }
    layout
}

/// The smallest figure that is drawn. A caller has at least the figure of what it called, so
/// whatever is drawn stands on something that is drawn.
fn least_drawn(tree: &Tree, limit: usize) -> u128 {
    let total = |node: usize| tree.nodes[node].total(Side::After);
    let least = total(0).div_ceil(PARTS).max(1);
    let mut totals: Vec<u128> = (1..tree.nodes.len())
        .map(total)
        .filter(|total| *total >= least)
        .collect();
    if totals.len() <= limit {
        return least;
    }
    let (_, first_left_out, _) = totals.select_nth_unstable_by(limit, |a, b| b.cmp(a));
    *first_left_out + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::fixture::Fixture;

    fn tree(values: &[i64]) -> Tree {
        let mut fixture = Fixture::default();
        let main = Fixture::frame(0, Some("main"), "app");
        for (i, value) in (1..).zip(values) {
            let leaf = Fixture::frame(i, Some(&format!("f{i}")), "app");
            fixture.add(&[leaf, main.clone()], "heap", &[*value]);
        }
        Tree::new(None, &fixture.profile(), 0)
    }

    fn names(tree: &Tree, layout: &Layout) -> Vec<(String, u128)> {
        let name = |placed: &Placed| (tree.label(placed.node).name.clone(), placed.offset);
        layout.placed.iter().map(name).collect()
    }

    #[test]
    fn frames_stand_side_by_side_on_their_caller() {
        let tree = tree(&[10, 20, 30]);
        let layout = place(&tree, 100);
        let expected = [("all", 0), ("main", 0), ("f1", 0), ("f2", 10), ("f3", 30)];
        let expected = expected.map(|(name, offset)| (name.to_owned(), offset));
        assert_eq!(names(&tree, &layout), expected);
        assert_eq!((layout.depth, layout.narrow), (2, 0));
    }

    #[test]
    fn what_is_too_narrow_is_counted() {
        let layout = place(&tree(&[1, 2, 120_000]), 100);
        assert_eq!(layout.placed.len(), 3);
        assert_eq!((layout.narrow, layout.narrow_total), (2, 3));
    }

    #[test]
    fn a_limit_keeps_the_widest() {
        let layout = place(&tree(&[10, 20, 30]), 2);
        assert_eq!(layout.placed.len(), 3);
        assert_eq!((layout.narrow, layout.narrow_total), (2, 30));
    }

    #[test]
    fn equal_frames_beyond_the_limit_all_go() {
        let layout = place(&tree(&[10, 10, 10]), 2);
        assert_eq!(layout.placed.len(), 2);
        assert_eq!((layout.narrow, layout.narrow_total), (3, 30));
    }
}
