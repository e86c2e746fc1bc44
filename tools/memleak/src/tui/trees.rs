//! The panes of call trees.

use memtools::output::{grouped, human_bytes};
use memtools::tui::MouseEvent;
use memtools::tui::keys::Common;
use memtools::tui::table::{Cell, Change, Column, Rows, Sort, Table, TableState};
use memtools::tui::theme::{Glyphs, Tone};

use ratatui::Frame;
use ratatui::layout::Rect;

use super::stacks::{Arrangement, Selection};
use crate::model::Ledger;
use crate::tree::{Direction, Folding, Line, PathKey, Tree};

/// What is shown of a node. A tree has an order of its own.
pub const COLUMNS: &[Column] = &[
    Column::number("LIVE", 10).unsorted(),
    Column::number("SHARE", 6).unsorted(),
    Column::number("COUNT", 9).unsorted().rank(1),
    Column::number("SELF", 10).unsorted().rank(2),
    Column::text("FUNCTION", 20).fill().unsorted(),
];

/// A tree, which nodes are open, and which one is selected.
#[derive(Debug)]
pub struct TreePane {
    direction: Direction,
    tree: Option<Tree>,
    folding: Option<Folding>,
    lines: Vec<Line>,
    table: TableState<PathKey>,
}

impl TreePane {
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            tree: None,
            folding: None,
            lines: Vec::new(),
            table: TableState::new(Sort::descending(0)),
        }
    }

    /// After an update, or with another selection.
    pub fn rebuild(&mut self, ledger: &Ledger, arrangement: &Arrangement, selection: &Selection) {
        let rows = arrangement.order().iter().map(|id| ledger.row(*id));
        let weighted = rows.map(|row| {
            let frames = ledger.stacks().frame_ids(row.stack);
            (frames, selection.amount(row))
        });
        let tree = Tree::new(self.direction, weighted, |id| ledger.stacks().frame(id));
        // The heaviest path is open to begin with.
        if self.folding.is_none() && tree.all().count > 0 {
            self.folding = Some(tree.heaviest_path().into_iter().collect());
        }
        self.tree = Some(tree);
        self.list();
    }

    fn list(&mut self) {
        let folding = self.folding.clone().unwrap_or_default();
        self.lines = self
            .tree
            .as_ref()
            .map(|tree| tree.visible(&folding))
            .unwrap_or_default();
    }

    /// Opens or closes the selected node; `None`: whichever it is not.
    pub fn fold(&mut self, is_open: Option<bool>) {
        let Some(line) = self.table.selected().and_then(|at| self.lines.get(at)) else {
            return;
        };
        let folding = self.folding.get_or_insert_default();
        match is_open {
            Some(true) => folding.open(line.key),
            Some(false) => folding.close(line.key),
            None => folding.toggle(line.key),
        }
        self.list();
    }

    /// After nodes came or went.
    pub fn follow(&mut self, ledger: &Ledger, glyphs: Glyphs) {
        let rows = TreeRows {
            lines: &self.lines,
            ledger,
            glyphs,
        };
        self.table.follow(&rows);
    }

    /// What a key does.
    pub fn on_common(&mut self, common: Common, ledger: &Ledger, glyphs: Glyphs) {
        let rows = TreeRows {
            lines: &self.lines,
            ledger,
            glyphs,
        };
        if let Common::Move(step) = common {
            self.table.step(step, &rows);
        }
    }

    /// What the mouse does.
    pub fn on_mouse(&mut self, mouse: MouseEvent, ledger: &Ledger, glyphs: Glyphs) {
        let rows = TreeRows {
            lines: &self.lines,
            ledger,
            glyphs,
        };
        if self.table.on_mouse(mouse, COLUMNS, &rows) == Change::Opened {
            self.fold(None);
        }
    }

    /// Draws it.
    pub fn draw(
        &mut self,
        table: &Table<'_>,
        frame: &mut Frame<'_>,
        area: Rect,
        ledger: &Ledger,
        glyphs: Glyphs,
    ) {
        let rows = TreeRows {
            lines: &self.lines,
            ledger,
            glyphs,
        };
        table.draw(frame, area, &rows, &mut self.table);
    }
}

/// Nodes as rows.
pub struct TreeRows<'a> {
    lines: &'a [Line],
    ledger: &'a Ledger,
    glyphs: Glyphs,
}

impl Rows for TreeRows<'_> {
    type Id = PathKey;

    fn len(&self) -> usize {
        self.lines.len()
    }

    fn id(&self, position: usize) -> PathKey {
        self.lines[position].key
    }

    fn cell(&self, position: usize, column: usize) -> Cell<'_> {
        let line = &self.lines[position];
        match column {
            0 => Cell::text(human_bytes(line.total.bytes)).tone(Tone::Strong),
            1 => Cell::text(format!("{:.0}%", line.share_of_all * 100.0)),
            2 => Cell::text(grouped(line.total.count)),
            3 if line.own.bytes == 0 => Cell::text("-").tone(Tone::Dim),
            3 => Cell::text(human_bytes(line.own.bytes)),
            _ => Cell::text(self.name(line)),
        }
    }
}

impl TreeRows<'_> {
    fn name(&self, line: &Line) -> String {
        /// Deeper nodes are not moved further to the right.
        const DEEPEST: usize = 60;
        let sign = match (line.has_children, line.is_open, self.glyphs) {
            (false, ..) => " ",
            (true, true, Glyphs::Unicode) => "▾",
            (true, false, Glyphs::Unicode) => "▸",
            (true, true, Glyphs::Ascii) => "-",
            (true, false, Glyphs::Ascii) => "+",
        };
        let frame = line.frame.map(|id| self.ledger.stacks().frame(id));
        let name = match frame {
            Some(frame) => match &frame.symbol {
                Some(symbol) => format!("{symbol} [{}]", frame.module),
                None => format!("[{}]", frame.module),
            },
            None => "[no stack]".to_owned(),
        };
        format!("{}{sign} {name}", "  ".repeat(line.depth.min(DEEPEST)))
    }
}
