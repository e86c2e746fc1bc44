//! Live views on a terminal: the terminal's guard, the loop, the key table, widgets, one theme.
//!
//! A tool implements [`App`] and calls [`run`]; its other threads send data through a [`Feed`].
//! Every picture is a function of the tool's state alone; it is drawn after data, keys and resizes,
//! when [`App::wake_at`] asks for it, at no other time, and under no lock.
//!
//! ```no_run
//! use memtools::tui::keys::{COMMON, Common, KeyTable, Pressed};
//! use memtools::tui::table::{Cell, Column, Rows, Sort, Table, TableState};
//! use memtools::tui::theme::Theme;
//! use memtools::tui::{App, Flow, Options, TuiError, feed, run};
//!
//! const KEYS: KeyTable<()> = KeyTable { own: &[], common: COMMON };
//! const COLUMNS: &[Column] = &[Column::number("BYTES", 12), Column::text("NAME", 10).fill()];
//!
//! /// The tool's figures, and in which order they are shown.
//! #[derive(Default)]
//! struct Stacks {
//!     all: Vec<(u64, String)>,
//!     order: Vec<usize>,
//! }
//!
//! impl Rows for Stacks {
//!     type Id = usize;
//!     fn len(&self) -> usize {
//!         self.order.len()
//!     }
//!     fn id(&self, position: usize) -> usize {
//!         self.order[position]
//!     }
//!     fn cell(&self, position: usize, column: usize) -> Cell<'_> {
//!         let (bytes, name) = &self.all[self.order[position]];
//!         match column {
//!             0 => Cell::text(bytes.to_string()),
//!             _ => Cell::text(name.as_str()),
//!         }
//!     }
//! }
//!
//! struct View {
//!     stacks: Stacks,
//!     table: TableState<usize>,
//!     theme: Theme,
//! }
//!
//! impl View {
//!     /// After new data, another filter or another order.
//!     fn arrange(&mut self) {
//!         let Stacks { all, order } = &mut self.stacks;
//!         order.clear();
//!         order.extend(0..all.len());
//!         match self.table.sort.column {
//!             0 => self.table.sort.apply(order, |&index| all[index].0),
//!             _ => self.table.sort.apply(order, |&index| &all[index].1),
//!         }
//!         self.table.follow(&self.stacks);
//!     }
//! }
//!
//! impl App for View {
//!     type Data = (u64, String);
//!
//!     fn on_data(&mut self, stack: Self::Data) -> Flow {
//!         self.stacks.all.push(stack);
//!         self.arrange();
//!         Flow::Continue
//!     }
//!
//!     fn on_key(&mut self, key: memtools::tui::KeyEvent) -> Flow {
//!         match KEYS.find(key) {
//!             Some(Pressed::Common(Common::Quit)) => return Flow::Quit,
//!             Some(Pressed::Common(common)) => {
//!                 if self.table.on_common(common, COLUMNS, &self.stacks).is_sorted() {
//!                     self.arrange();
//!                 }
//!             }
//!             _ => {}
//!         }
//!         Flow::Continue
//!     }
//!
//!     fn draw(&mut self, frame: &mut ratatui::Frame<'_>) {
//!         let table = Table::new(COLUMNS, &self.theme);
//!         table.draw(frame, frame.area(), &self.stacks, &mut self.table);
//!     }
//! }
//!
//! fn main() -> Result<(), TuiError> {
//!     let (feed, inbox) = feed(16);
//!     std::thread::spawn(move || feed.send((4096, "main".to_owned())));
//!     let mut view = View {
//!         stacks: Stacks::default(),
//!         table: TableState::new(Sort::descending(0)),
//!         theme: Theme::from_env(),
//!     };
//!     let _ending = run(&mut view, inbox, Options::default())?;
//!     Ok(())
//! }
//! ```
//!
//! Text of other processes may be handed to every widget as it is: they clean it, and cut it by the
//! columns that it takes. What a tool draws by itself goes through [`text::fit`].

mod app;
pub mod bars;
mod decode;
pub mod details;
mod feed;
pub mod filter;
pub mod heat;
pub mod hint;
mod input;
pub mod keys;
mod live;
pub mod overlay;
pub mod own_cost;
pub mod popup;
pub mod prompt;
mod signals;
pub mod sparkline;
pub mod status;
pub mod table;
mod terminal;
pub mod text;
pub mod theme;
pub mod timeline;

use std::io;

use crate::cli::{EXIT_FAILURE, EXIT_USAGE};

#[cfg(test)]
mod pictures;

pub use app::{App, Ending, Flow, Options, run};
pub use crossterm::event::{
    KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
pub use feed::{Feed, Inbox, Refused, feed};
pub use live::show;
pub use terminal::{check, restore};

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// Nothing to draw on: no controlling terminal, and standard input and output are none.
    #[error("a live view needs a terminal")]
    NoTerminal(#[source] io::Error),
    /// One that cannot place the cursor.
    #[error("a live view needs a terminal that can place its cursor, and TERM is {0:?}")]
    DumbTerminal(String),
    /// The shell has the terminal: the process was started with `&`.
    #[error("a live view needs to be in the foreground of its terminal")]
    Background,
    /// Another thread panicked, or called [`restore`].
    #[error("the live view was interrupted")]
    Interrupted,
    /// The system refused something.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl TuiError {
    /// The exit code of the process: whoever started it has to change something, or the system.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoTerminal(_) | Self::DumbTerminal(_) | Self::Background => EXIT_USAGE,
            Self::Interrupted | Self::System { .. } => EXIT_FAILURE,
        }
    }
}
