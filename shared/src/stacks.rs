//! Stacks with names; each frame and each stack is kept once, under a number.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use crate::output::as_hex;
use crate::symbols::{Location, Symbols};

/// A frame with its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Frame {
    /// The return address.
    #[serde(serialize_with = "as_hex")]
    pub addr: u64,
    /// The function, demangled; not yet cleaned for a terminal.
    pub symbol: Option<String>,
    /// How far into it, in bytes; `None` for an inlined one.
    pub offset: Option<u64>,
    /// The file that holds it.
    pub module: String,
    /// The source file.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
    /// Whether it was inlined into the next frame outward; both have one `addr`.
    pub inlined: bool,
}

impl Frame {
    /// `symbol+0xoffset [module] file:line`, not yet cleaned; `unnamed` stands for a symbol that is
    /// not known.
    pub fn describe(&self, unnamed: &str) -> String {
        let mut text = self.symbol.as_deref().unwrap_or(unnamed).to_owned();
        // Writing to a String cannot fail.
        if let (Some(_), Some(offset)) = (&self.symbol, self.offset) {
            let _ = write!(text, "+{offset:#x}");
        }
        let _ = write!(text, " [{}]", self.module);
        if let Some(file) = &self.file {
            let _ = write!(text, " {file}");
            if let Some(line) = self.line {
                let _ = write!(text, ":{line}");
            }
        }
        if self.inlined {
            text.push_str(" (inlined)");
        }
        text
    }
}

/// The frames of an address, the innermost inlined one first.
pub fn frames_of(location: &Location, symbols: &Symbols) -> Vec<Frame> {
    let frame = |symbol, offset, file, line, inlined| Frame {
        addr: location.address,
        symbol,
        offset,
        module: location.module(),
        file,
        line,
        inlined,
    };
    if symbols.is_empty() {
        return vec![frame(None, None, None, None, false)];
    }
    symbols
        .iter()
        .map(|s| {
            let is_code = !s.inlined && location.address != 0;
            let offset = is_code.then_some(s.offset);
            let file = s.file.as_ref();
            frame(
                Some(s.name.clone()),
                offset,
                file.map(|path| path.to_string_lossy().into_owned()),
                s.line,
                s.inlined,
            )
        })
        .collect()
}

/// A frame of a [`StackTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(pub u32);

/// A stack of a [`StackTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackId(pub u32);

/// Frames and stacks, each once, numbered in the order in which they came. Nothing is taken out.
#[derive(Debug, Default)]
pub struct StackTable {
    frames: Vec<Arc<Frame>>,
    frame_ids: HashMap<Arc<Frame>, FrameId>,
    stacks: Vec<Arc<[FrameId]>>,
    stack_ids: HashMap<Arc<[FrameId]>, StackId>,
}

impl StackTable {
    /// The number of a frame, which is new or known.
    pub fn add_frame(&mut self, frame: impl Into<Arc<Frame>>) -> FrameId {
        let frame = frame.into();
        if let Some(id) = self.frame_ids.get(&frame) {
            return *id;
        }
        let id = FrameId(self.frames.len() as u32);
        self.frames.push(frame.clone());
        self.frame_ids.insert(frame, id);
        id
    }

    /// The number of a stack, from the innermost call outward; its frames are of this table.
    pub fn add_stack(&mut self, frames: impl Into<Arc<[FrameId]>>) -> StackId {
        let frames = frames.into();
        if let Some(id) = self.stack_ids.get(&frames) {
            return *id;
        }
        let id = StackId(self.stacks.len() as u32);
        self.stacks.push(frames.clone());
        self.stack_ids.insert(frames, id);
        id
    }

    /// A frame of this table.
    pub fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id.0 as usize]
    }

    /// A frame of this table, for another table.
    pub fn shared_frame(&self, id: FrameId) -> Arc<Frame> {
        self.frames[id.0 as usize].clone()
    }

    /// The frames of a stack of this table, for another table with the same frames.
    pub fn shared_stack(&self, id: StackId) -> Arc<[FrameId]> {
        self.stacks[id.0 as usize].clone()
    }

    /// The frames of a stack of this table, from the innermost call outward.
    pub fn frame_ids(&self, id: StackId) -> &[FrameId] {
        &self.stacks[id.0 as usize]
    }

    /// Likewise.
    pub fn frames(
        &self,
        id: StackId,
    ) -> impl DoubleEndedIterator<Item = &Frame> + ExactSizeIterator {
        self.frame_ids(id).iter().map(|id| self.frame(*id))
    }

    /// How many frames there are; their numbers are below this.
    pub fn frame_count(&self) -> u32 {
        self.frames.len() as u32
    }

    /// How many stacks there are; their numbers are below this.
    pub fn stack_count(&self) -> u32 {
        self.stacks.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_keeps_its_number() {
        let mut table = StackTable::default();
        let frame = |addr| Frame {
            addr,
            ..Frame::default()
        };
        let (a, b) = (table.add_frame(frame(1)), table.add_frame(frame(2)));
        assert_eq!(table.add_frame(frame(1)), a);
        let stack = table.add_stack([a, b]);
        assert_ne!(table.add_stack([b, a]), stack);
        assert_eq!(table.add_stack([a, b]), stack);
        let addresses: Vec<u64> = table.frames(stack).map(|frame| frame.addr).collect();
        assert_eq!(addresses, [1, 2]);
        assert_eq!((table.frame_count(), table.stack_count()), (2, 2));
    }
}
