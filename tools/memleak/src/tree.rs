//! A call tree of weighted stacks. Pure.
//!
//! The stacks are sorted once by their functions, so a node is a run of stacks that begin alike, and
//! its children are the shorter runs in it. Nothing is built for nodes that nobody looks at: showing
//! costs as much as the open nodes hold stacks.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use memtools::stacks::{Frame, FrameId};

use crate::snapshot::Amount;

/// Where the tree has its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// At the outermost caller.
    TopDown,
    /// At the function that allocated.
    BottomUp,
}

/// A node by the functions that lead to it: the same in every tree of the same direction, as long as
/// the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathKey(u64);

impl PathKey {
    fn root(direction: Direction) -> Self {
        Self(hash_of(&direction))
    }

    fn child(self, function: &Function) -> Self {
        Self(hash_of(&(self.0, function.identity)))
    }
}

/// Which nodes are open. It outlives the tree: nodes of a later tree are found by their path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folding {
    open: HashSet<PathKey>,
}

impl Folding {
    /// Whether the children of a node are shown.
    pub fn is_open(&self, node: PathKey) -> bool {
        self.open.contains(&node)
    }

    /// Shows the children of a node.
    pub fn open(&mut self, node: PathKey) {
        self.open.insert(node);
    }

    /// Hides them.
    pub fn close(&mut self, node: PathKey) {
        self.open.remove(&node);
    }

    /// Does the one or the other.
    pub fn toggle(&mut self, node: PathKey) {
        if !self.open.remove(&node) {
            self.open.insert(node);
        }
    }
}

impl FromIterator<PathKey> for Folding {
    fn from_iter<I: IntoIterator<Item = PathKey>>(nodes: I) -> Self {
        Self {
            open: nodes.into_iter().collect(),
        }
    }
}

/// A node as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The node, for [`Folding`].
    pub key: PathKey,
    /// How many nodes are above it.
    pub depth: usize,
    /// A frame that has its function, to be named by; the line and the address in it are those of one
    /// of many. `None`: what was allocated where no stack could be kept.
    pub frame: Option<FrameId>,
    /// All stacks that lead through it.
    pub total: Amount,
    /// The stacks that end in it: top-down what it allocated itself, bottom-up what has no known
    /// caller.
    pub own: Amount,
    /// `total` as a share of its parent's bytes, or of the whole at depth 0; 0 to 1.
    pub share_of_parent: f64,
    /// `total` as a share of all bytes of the tree; 0 to 1.
    pub share_of_all: f64,
    /// Whether its children follow.
    pub is_open: bool,
    /// Whether it has any.
    pub has_children: bool,
}

/// Weighted stacks, ready to be shown as a tree.
#[derive(Clone, Debug)]
pub struct Tree {
    direction: Direction,
    functions: Vec<Function>,
    /// The functions of all stacks, as indices, one stack after the other.
    paths: Vec<u32>,
    /// In the order of their functions.
    stacks: Vec<WeightedStack>,
    all: Amount,
}

/// What nodes are told apart by.
#[derive(Clone, Debug)]
struct Function {
    /// The same for the same function in every tree.
    identity: u64,
    /// The frame it was first seen in.
    frame: Option<FrameId>,
}

#[derive(Clone, Debug)]
struct WeightedStack {
    /// Its part of `Tree::paths`.
    path: Range<usize>,
    amount: Amount,
}

/// A run of stacks that begin alike.
#[derive(Clone, Debug)]
struct Node {
    stacks: Range<usize>,
    depth: usize,
    key: PathKey,
    total: Amount,
    parent_bytes: u64,
}

impl Tree {
    /// A tree of stacks whose frames go from the allocating function outward. `frame` looks a frame up.
    /// Frames of one function and module are one node, whatever their addresses.
    pub fn new<'s, 'f>(
        direction: Direction,
        stacks: impl IntoIterator<Item = (&'s [FrameId], Amount)>,
        frame: impl Fn(FrameId) -> &'f Frame,
    ) -> Self {
        let mut functions = Functions::new(frame);
        let mut paths = Vec::new();
        let mut weighted = Vec::new();
        let mut all = Amount::default();
        for (frames, amount) in stacks {
            let start = paths.len();
            match direction {
                _ if frames.is_empty() => paths.push(NO_STACK),
                Direction::TopDown => {
                    paths.extend(frames.iter().rev().map(|id| functions.index_of(*id)));
                }
                Direction::BottomUp => {
                    paths.extend(frames.iter().map(|id| functions.index_of(*id)));
                }
            }
            let path = start..paths.len();
            weighted.push(WeightedStack { path, amount });
            all.add(amount);
        }
        weighted.sort_unstable_by(|a, b| paths[a.path.clone()].cmp(&paths[b.path.clone()]));
        Self {
            direction,
            functions: functions.list,
            paths,
            stacks: weighted,
            all,
        }
    }

    /// The sum of all stacks.
    pub fn all(&self) -> Amount {
        self.all
    }

    /// The nodes to open at first: the heaviest ones down to where the memory forks, that is, where no
    /// child holds four fifths of its parent.
    pub fn heaviest_path(&self) -> Vec<PathKey> {
        let mut path = Vec::new();
        let mut heaviest = self.roots().into_iter().next();
        while let Some(node) = heaviest {
            if !self.has_children(&node) {
                break;
            }
            path.push(node.key);
            heaviest = self.children(&node).into_iter().next().filter(|child| {
                u128::from(child.total.bytes) * 5 >= u128::from(node.total.bytes) * 4
            });
        }
        path
    }

    /// The nodes whose ancestors are all open, each after its parent, the heaviest of siblings first.
    pub fn visible(&self, folding: &Folding) -> Vec<Line> {
        let mut lines = Vec::new();
        // Its own stack: recursive programs make deep trees.
        let mut pending = self.roots();
        pending.reverse();
        while let Some(node) = pending.pop() {
            let line = self.line(&node, folding);
            if line.is_open {
                pending.extend(self.children(&node).into_iter().rev());
            }
            lines.push(line);
        }
        lines
    }

    fn line(&self, node: &Node, folding: &Folding) -> Line {
        let has_children = self.has_children(node);
        Line {
            key: node.key,
            depth: node.depth,
            frame: self.functions[self.path(node.stacks.start)[node.depth] as usize].frame,
            total: node.total,
            own: self.own(node),
            share_of_parent: share(node.total.bytes, node.parent_bytes),
            share_of_all: share(node.total.bytes, self.all.bytes),
            is_open: has_children && folding.is_open(node.key),
            has_children,
        }
    }

    fn roots(&self) -> Vec<Node> {
        let key = PathKey::root(self.direction);
        self.split(0..self.stacks.len(), 0, key, self.all.bytes)
    }

    fn children(&self, node: &Node) -> Vec<Node> {
        let start = node.stacks.start + self.ending(node);
        let stacks = start..node.stacks.end;
        self.split(stacks, node.depth + 1, node.key, node.total.bytes)
    }

    /// Splits stacks that are alike above `depth`, and longer than that, by what they have there.
    fn split(
        &self,
        stacks: Range<usize>,
        depth: usize,
        parent: PathKey,
        parent_bytes: u64,
    ) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut start = stacks.start;
        while start < stacks.end {
            let function = self.path(start)[depth];
            let rest = &self.stacks[start..stacks.end];
            let alike = rest.partition_point(|s| self.paths[s.path.start + depth] == function);
            nodes.push(Node {
                stacks: start..start + alike,
                depth,
                key: parent.child(&self.functions[function as usize]),
                total: sum(&rest[..alike]),
                parent_bytes,
            });
            start += alike;
        }
        nodes.sort_unstable_by_key(|node| {
            let Amount { bytes, count } = node.total;
            (std::cmp::Reverse((bytes, count)), node.key)
        });
        nodes
    }

    fn path(&self, stack: usize) -> &[u32] {
        &self.paths[self.stacks[stack].path.clone()]
    }

    /// How many stacks end in a node; they come first in it.
    fn ending(&self, node: &Node) -> usize {
        self.stacks[node.stacks.clone()].partition_point(|s| s.path.len() == node.depth + 1)
    }

    fn own(&self, node: &Node) -> Amount {
        let start = node.stacks.start;
        sum(&self.stacks[start..start + self.ending(node)])
    }

    fn has_children(&self, node: &Node) -> bool {
        self.ending(node) < node.stacks.len()
    }
}

/// The index of what stands for the functions of a stack that could not be kept.
const NO_STACK: u32 = 0;

/// Functions, each once.
struct Functions<F> {
    frame: F,
    list: Vec<Function>,
    by_identity: HashMap<u64, u32>,
    /// By frame; `NO_STACK` is not yet known.
    by_frame: Vec<u32>,
}

impl<'f, F: Fn(FrameId) -> &'f Frame> Functions<F> {
    fn new(frame: F) -> Self {
        let no_stack = Function {
            identity: 0,
            frame: None,
        };
        Self {
            frame,
            list: vec![no_stack],
            by_identity: HashMap::new(),
            by_frame: Vec::new(),
        }
    }

    fn index_of(&mut self, id: FrameId) -> u32 {
        let at = id.0 as usize;
        if self.by_frame.len() <= at {
            self.by_frame.resize(at + 1, NO_STACK);
        }
        if self.by_frame[at] == NO_STACK {
            self.by_frame[at] = self.add(id);
        }
        self.by_frame[at]
    }

    fn add(&mut self, id: FrameId) -> u32 {
        let identity = identity_of((self.frame)(id));
        *self.by_identity.entry(identity).or_insert_with(|| {
            self.list.push(Function {
                identity,
                frame: Some(id),
            });
            self.list.len() as u32 - 1
        })
    }
}

/// Without a name, an address is all there is to tell functions apart by.
fn identity_of(frame: &Frame) -> u64 {
    let address = frame.symbol.is_none().then_some(frame.addr);
    hash_of(&(&frame.module, &frame.symbol, address))
}

/// The same for the same value as long as the program runs.
fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn sum(stacks: &[WeightedStack]) -> Amount {
    let mut sum = Amount::default();
    for stack in stacks {
        sum.add(stack.amount);
    }
    sum
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests;
