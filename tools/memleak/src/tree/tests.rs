use memtools::stacks::StackTable;
use proptest::prelude::*;

use super::*;

/// Stacks written as functions from the allocating one outward, with their bytes.
struct Fixture {
    table: StackTable,
    stacks: Vec<(Vec<FrameId>, Amount)>,
}

impl Fixture {
    fn new(stacks: &[(&str, u64)]) -> Self {
        let mut table = StackTable::default();
        let mut addr = 0;
        let stacks = stacks
            .iter()
            .map(|(names, bytes)| {
                let frames = names.split_whitespace().map(|name| {
                    // Every call site has its own address.
                    addr += 1;
                    table.add_frame(named(name, addr))
                });
                let frames = frames.collect();
                let count = u64::from(*bytes > 0);
                (
                    frames,
                    Amount {
                        bytes: *bytes,
                        count,
                    },
                )
            })
            .collect();
        Self { table, stacks }
    }

    fn tree(&self, direction: Direction) -> Tree {
        let stacks = self.stacks.iter();
        Tree::new(
            direction,
            stacks.map(|(frames, amount)| (frames.as_slice(), *amount)),
            |id| self.table.frame(id),
        )
    }

    fn text(&self, lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| self.text_of(line)).collect()
    }

    fn text_of(&self, line: &Line) -> String {
        let name = line.frame.map_or("?", |id| {
            self.table.frame(id).symbol.as_deref().unwrap_or("-")
        });
        let mark = match (line.has_children, line.is_open) {
            (false, _) => ' ',
            (true, false) => '+',
            (true, true) => '-',
        };
        let indent = "  ".repeat(line.depth);
        format!(
            "{indent}{mark}{name} {} {}",
            line.total.bytes, line.own.bytes
        )
    }
}

fn named(name: &str, addr: u64) -> Frame {
    Frame {
        addr,
        symbol: Some(name.to_owned()),
        module: "program".to_owned(),
        ..Frame::default()
    }
}

fn everything_open(tree: &Tree) -> Folding {
    let mut folding = Folding::default();
    loop {
        let lines = tree.visible(&folding);
        let closed: Vec<PathKey> = lines
            .iter()
            .filter(|line| line.has_children && !line.is_open)
            .map(|line| line.key)
            .collect();
        if closed.is_empty() {
            return folding;
        }
        for key in closed {
            folding.open(key);
        }
    }
}

const STACKS: [(&str, u64); 5] = [
    ("malloc read main", 10),
    ("malloc parse read main", 70),
    ("malloc parse write main", 15),
    ("main", 1),
    ("", 4),
];

#[test]
fn top_down_begins_at_the_outermost_caller() {
    let fixture = Fixture::new(&STACKS);
    let tree = fixture.tree(Direction::TopDown);
    assert_eq!(
        fixture.text(&tree.visible(&everything_open(&tree))),
        [
            "-main 96 1",
            "  -read 80 0",
            "    -parse 70 0",
            "       malloc 70 70",
            "     malloc 10 10",
            "  -write 15 0",
            "    -parse 15 0",
            "       malloc 15 15",
            " ? 4 4",
        ]
    );
    assert_eq!(tree.all().bytes, 100);
}

#[test]
fn bottom_up_begins_at_the_allocating_function() {
    let fixture = Fixture::new(&STACKS);
    let tree = fixture.tree(Direction::BottomUp);
    assert_eq!(
        fixture.text(&tree.visible(&everything_open(&tree))),
        [
            "-malloc 95 0",
            "  -parse 85 0",
            "    -read 70 0",
            "       main 70 70",
            "    -write 15 0",
            "       main 15 15",
            "  -read 10 0",
            "     main 10 10",
            " ? 4 4",
            " main 1 1",
        ]
    );
}

#[test]
fn the_heaviest_path_is_open_down_to_the_fork() {
    let fixture = Fixture::new(&[
        ("malloc a fork step main", 60),
        ("malloc b fork step main", 40),
        ("malloc c main", 10),
        ("other", 100),
    ]);
    let tree = fixture.tree(Direction::TopDown);
    let folding: Folding = tree.heaviest_path().into_iter().collect();
    assert_eq!(
        fixture.text(&tree.visible(&folding)),
        [
            "-main 110 0",
            "  -step 100 0",
            "    -fork 100 0",
            "      +a 60 0",
            "      +b 40 0",
            "  +c 10 0",
            " other 100 100",
        ]
    );
}

#[test]
fn what_is_open_stays_open_when_figures_change() {
    let before = Fixture::new(&STACKS);
    let mut folding: Folding = before
        .tree(Direction::TopDown)
        .heaviest_path()
        .into_iter()
        .collect();
    let after = Fixture::new(&[("malloc new other", 500), STACKS[2], STACKS[1]]);
    let lines = after.tree(Direction::TopDown).visible(&folding);
    assert_eq!(
        after.text(&lines),
        [
            "+other 500 0",
            "-main 85 0",
            "  -read 70 0",
            "    -parse 70 0",
            "       malloc 70 70",
            "  +write 15 0",
        ]
    );
    folding.toggle(lines[1].key);
    folding.toggle(lines[0].key);
    let lines = after.tree(Direction::TopDown).visible(&folding);
    assert_eq!(
        after.text(&lines),
        ["-other 500 0", "  +new 500 0", "+main 85 0"]
    );
    folding.close(lines[0].key);
    assert!(!folding.is_open(lines[0].key));
}

#[test]
fn functions_are_told_apart_by_module_and_unnamed_ones_by_address() {
    let mut table = StackTable::default();
    let mut frame = |symbol: Option<&str>, module: &str, addr| {
        table.add_frame(Frame {
            addr,
            symbol: symbol.map(str::to_owned),
            module: module.to_owned(),
            ..Frame::default()
        })
    };
    let frames = [
        frame(Some("init"), "one.so", 1),
        frame(Some("init"), "one.so", 2),
        frame(Some("init"), "two.so", 3),
        frame(None, "two.so", 4),
        frame(None, "two.so", 5),
    ];
    let block = Amount { bytes: 8, count: 1 };
    let stacks = frames.chunks(1).map(|stack| (stack, block));
    let tree = Tree::new(Direction::TopDown, stacks, |id| table.frame(id));
    let lines = tree.visible(&Folding::default());
    let counts: Vec<u64> = lines.iter().map(|line| line.total.count).collect();
    assert_eq!(counts, [2, 1, 1, 1]);
}

#[test]
fn deep_recursion_and_no_bytes_are_shown() {
    let deep = "call ".repeat(5000);
    let fixture = Fixture::new(&[(&deep, 0)]);
    let tree = fixture.tree(Direction::TopDown);
    let path = tree.heaviest_path();
    assert_eq!(path.len(), 4999);
    let lines = tree.visible(&path.into_iter().collect());
    assert_eq!(lines.len(), 5000);
    assert!(lines.iter().all(|line| line.share_of_parent == 0.0));
    let empty = Fixture::new(&[]).tree(Direction::BottomUp);
    assert!(empty.visible(&Folding::default()).is_empty());
    assert!(empty.heaviest_path().is_empty());
}

proptest! {
    #[test]
    fn nothing_is_lost_or_counted_twice(
        stacks in prop::collection::vec(("([a-d] ){0,6}", 0_u64..1000), 0..40),
        is_top_down: bool,
    ) {
        let stacks: Vec<(&str, u64)> = stacks.iter().map(|(s, b)| (s.as_str(), *b)).collect();
        let fixture = Fixture::new(&stacks);
        let direction = if is_top_down { Direction::TopDown } else { Direction::BottomUp };
        let tree = fixture.tree(direction);
        let lines = tree.visible(&everything_open(&tree));
        let sum: u64 = stacks.iter().map(|(_, bytes)| bytes).sum();
        prop_assert_eq!(tree.all().bytes, sum);
        prop_assert_eq!(lines.iter().map(|line| line.own.bytes).sum::<u64>(), sum);
        let keys: HashSet<PathKey> = lines.iter().map(|line| line.key).collect();
        prop_assert_eq!(keys.len(), lines.len());
        for (at, line) in lines.iter().enumerate() {
            let below = lines[at + 1..].iter().take_while(|other| other.depth > line.depth);
            let children: Vec<&Line> = below.filter(|other| other.depth == line.depth + 1).collect();
            let held: u64 = children.iter().map(|child| child.total.bytes).sum();
            prop_assert_eq!(line.total.bytes, line.own.bytes + held);
            prop_assert_eq!(line.has_children, !children.is_empty());
            prop_assert!(children.is_sorted_by_key(|child| std::cmp::Reverse(child.total.bytes)));
            prop_assert!((0.0..=1.0).contains(&line.share_of_parent));
        }
    }
}
