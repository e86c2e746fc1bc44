//! The unwind tables of an object.

use std::ops::Range;

use gimli::{CfaRule, Register, RegisterRule, UnwindSection, X86_64};

type Bytes<'a> = gimli::EndianSlice<'a, gimli::NativeEndian>;
type Entry<'a> = gimli::FrameDescriptionEntry<Bytes<'a>>;

/// The unwind information: `.eh_frame` with its address and, where there is one, its search table.
#[derive(Debug)]
pub(super) struct UnwindTables {
    pub(super) header: Option<(u64, Vec<u8>)>,
    pub(super) frames: (u64, Vec<u8>),
}

/// What the unwind table says of the stack before an instruction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// A register and the bytes from where it points to the caller's end of the frame. `None` where
    /// they are computed in another way.
    pub(super) end: Option<(Register, i64)>,
    /// Where the caller's frame pointer is (x86-64).
    pub(super) base_pointer: FramePointer,
    /// Registers of the caller are on the stack.
    saves: bool,
}

/// Where a caller's frame pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramePointer {
    /// In its register.
    Kept,
    /// On the stack, so many bytes from the end of the frame.
    Saved(i32),
    /// Computed in another way.
    Lost,
}

impl Frame {
    /// Whether there is the return address and no more, as where a function is entered (x86-64).
    pub(super) fn is_at_entry(&self) -> bool {
        self.end == Some((X86_64::RSP, 8)) && !self.saves
    }
}

impl UnwindTables {
    pub(super) fn has_exception_table(&self, vaddr: u64) -> gimli::Result<bool> {
        Ok(self.entry(vaddr)?.lsda().is_some())
    }

    /// Whether any function has somebody who decides about exceptions that pass.
    pub(super) fn has_personalities(&self) -> gimli::Result<bool> {
        let (frames, bases) = (self.frames(), self.bases());
        let mut entries = frames.entries(&bases);
        while let Some(entry) = entries.next()? {
            if let gimli::CieOrFde::Cie(entry) = entry
                && entry.personality().is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The addresses of the code that the entry for `vaddr` covers.
    pub(super) fn extent(&self, vaddr: u64) -> gimli::Result<Range<u64>> {
        let entry = self.entry(vaddr)?;
        let start = entry.initial_address();
        Ok(start..start.saturating_add(entry.len()))
    }

    /// The stack before the instruction at `vaddr`.
    pub(super) fn frame(&self, vaddr: u64) -> gimli::Result<Frame> {
        let mut context = gimli::UnwindContext::new();
        let (frames, bases) = (self.frames(), self.bases());
        let row =
            self.entry(vaddr)?
                .unwind_info_for_address(&frames, &bases, &mut context, vaddr)?;
        let end = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => Some((*register, *offset)),
            CfaRule::Expression(_) => None,
        };
        let mut registers = row.registers();
        let base_pointer = match row.register(X86_64::RBP) {
            None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => FramePointer::Kept,
            Some(RegisterRule::Offset(offset)) => {
                i32::try_from(offset).map_or(FramePointer::Lost, FramePointer::Saved)
            }
            Some(_) => FramePointer::Lost,
        };
        Ok(Frame {
            end,
            base_pointer,
            saves: registers.any(|(register, _)| *register != X86_64::RA),
        })
    }

    fn entry(&self, vaddr: u64) -> gimli::Result<Entry<'_>> {
        let (frames, bases) = (self.frames(), self.bases());
        let cie = gimli::EhFrame::cie_from_offset;
        if let Some((_, bytes)) = &self.header {
            let header = gimli::EhFrameHdr::new(bytes, gimli::NativeEndian).parse(&bases, 8)?;
            if let Some(table) = header.table() {
                return table.fde_for_address(&frames, &bases, vaddr, cie);
            }
        }
        frames.fde_for_address(&bases, vaddr, cie)
    }

    fn frames(&self) -> gimli::EhFrame<Bytes<'_>> {
        gimli::EhFrame::new(&self.frames.1, gimli::NativeEndian)
    }

    fn bases(&self) -> gimli::BaseAddresses {
        let bases = gimli::BaseAddresses::default().set_eh_frame(self.frames.0);
        match &self.header {
            Some((address, _)) => bases.set_eh_frame_hdr(*address),
            None => bases,
        }
    }
}

/// Where `.eh_frame_hdr` says that `.eh_frame` begins.
pub(super) fn frames_address(address: u64, bytes: &[u8]) -> Option<u64> {
    let bases = gimli::BaseAddresses::default().set_eh_frame_hdr(address);
    let header = gimli::EhFrameHdr::new(bytes, gimli::NativeEndian)
        .parse(&bases, 8)
        .ok()?;
    header.eh_frame_ptr().direct().ok()
}
