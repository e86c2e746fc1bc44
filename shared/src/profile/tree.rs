//! The calls of one profile, or of two, as one tree: who called whom, with how much.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Profile, names};
use crate::stacks::{Frame, FrameId};

/// What frames must have in common to be one node under one parent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// As [`names::of_frame`] or [`names::of_class`] has it.
    pub name: String,
    /// The file that holds it, on one line; empty: none.
    pub module: String,
    /// Whether it was inlined into its parent.
    pub inlined: bool,
    /// Whether the name is that of a function, and not of a module or class.
    pub is_function: bool,
}

impl Label {
    fn of_frame(frame: &Frame) -> Self {
        Self {
            name: names::of_frame(frame),
            module: names::one_line(&frame.module),
            inlined: frame.inlined,
            is_function: frame.symbol.is_some(),
        }
    }

    fn bare(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            module: String::new(),
            inlined: false,
            is_function: false,
        }
    }
}

/// Which of the tree's profiles a figure is of. A tree of one profile has only [`Side::After`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The earlier one.
    Before,
    /// The later one.
    After,
}

/// A call in the tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// The caller's number, which is smaller than the node's own. The root is its own parent.
    pub parent: usize,
    /// How many calls away from the root.
    pub depth: usize,
    label: u32,
    own: [i128; 2],
    total: [u128; 2],
}

impl Node {
    /// The figure of the call and all that it called.
    pub fn total(&self, side: Side) -> u128 {
        self.total[side as usize]
    }

    /// The figure of the call itself.
    pub fn own(&self, side: Side) -> u128 {
        u128::try_from(self.own[side as usize]).unwrap_or_default()
    }
}

/// The calls as a tree. Node 0 is the root, which stands for everything.
pub struct Tree {
    /// Callers stand before those they called.
    pub nodes: Vec<Node>,
    /// How many calls have a negative figure of their own, which counts as zero.
    pub negative: u64,
    labels: Vec<Label>,
}

impl Tree {
    /// The tree of a profile, or of two that are compared, for one kind of figure.
    pub fn new(before: Option<&Profile>, after: &Profile, kind: usize) -> Self {
        let mut builder = Builder::default();
        let root = builder.label(Label::bare("all"));
        builder.nodes.push(Node::new(0, 0, root));
        if let Some(before) = before {
            builder.add(before, kind, Side::Before);
        }
        builder.add(after, kind, Side::After);
        builder.finish()
    }

    /// What a node is called.
    pub fn label(&self, node: usize) -> &Label {
        &self.labels[self.nodes[node].label as usize]
    }
}

impl Node {
    fn new(parent: usize, depth: usize, label: u32) -> Self {
        Self {
            parent,
            depth,
            label,
            own: [0; 2],
            total: [0; 2],
        }
    }
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    children: HashMap<(usize, u32), usize>,
    labels: Vec<Label>,
    label_ids: HashMap<Label, u32>,
}

impl Builder {
    fn label(&mut self, label: Label) -> u32 {
        match self.label_ids.entry(label) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let id = self.labels.len() as u32;
                self.labels.push(new.key().clone());
                *new.insert(id)
            }
        }
    }

    fn add(&mut self, profile: &Profile, kind: usize, side: Side) {
        let labels: Vec<u32> = (0..profile.stacks.frame_count())
            .map(|id| self.label(Label::of_frame(profile.stacks.frame(FrameId(id)))))
            .collect();
        let no_frames = self.label(Label::bare(names::NO_FRAMES));
        for sample in profile.samples.iter().filter(|s| s.value(kind) != 0) {
            let mut node = 0;
            if let Some(class) = names::of_class(sample.class) {
                let label = self.label(Label::bare(&class));
                node = self.child(node, label);
            }
            let frames = profile.stacks.frame_ids(sample.stack);
            for frame in frames.iter().rev() {
                node = self.child(node, labels[frame.0 as usize]);
            }
            if frames.is_empty() {
                node = self.child(node, no_frames);
            }
            self.nodes[node].own[side as usize] += i128::from(sample.value(kind));
        }
    }

    fn child(&mut self, parent: usize, label: u32) -> usize {
        let depth = self.nodes[parent].depth + 1;
        *self.children.entry((parent, label)).or_insert_with(|| {
            self.nodes.push(Node::new(parent, depth, label));
            self.nodes.len() - 1
        })
    }

    fn finish(mut self) -> Tree {
        let mut negative = 0;
        for i in (0..self.nodes.len()).rev() {
            for side in [Side::Before, Side::After] {
                let own = self.nodes[i].own(side);
                self.nodes[i].total[side as usize] += own;
                negative += u64::from(self.nodes[i].own[side as usize] < 0);
                if i > 0 {
                    let total = self.nodes[i].total(side);
                    let parent = self.nodes[i].parent;
                    self.nodes[parent].total[side as usize] += total;
                }
            }
        }
        Tree {
            nodes: self.nodes,
            negative,
            labels: self.labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::fixture::Fixture;

    #[test]
    fn callers_have_the_figures_of_what_they_called() {
        let mut fixture = Fixture::default();
        let main = Fixture::frame(1, Some("main"), "app");
        let (f, g) = (
            Fixture::frame(2, Some("f"), "app"),
            Fixture::frame(3, Some("g"), "app"),
        );
        fixture.add(std::slice::from_ref(&main), "heap", &[1]);
        fixture.add(&[f, main.clone()], "heap", &[10]);
        fixture.add(&[g, main], "heap", &[-5]);
        let tree = Tree::new(None, &fixture.profile(), 0);
        let figures: Vec<_> = (0..tree.nodes.len())
            .map(|i| {
                let node = &tree.nodes[i];
                let name = tree.label(i).name.as_str();
                (
                    name,
                    node.depth,
                    node.own(Side::After),
                    node.total(Side::After),
                )
            })
            .collect();
        assert_eq!(
            figures,
            [
                ("all", 0, 0, 11),
                ("main", 1, 1, 11),
                ("f", 2, 10, 10),
                ("g", 2, 0, 0)
            ]
        );
        assert_eq!(tree.negative, 1);
    }
}
