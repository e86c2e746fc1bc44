//! The unwind tables of an object.

use gimli::UnwindSection;

/// The unwind information: `.eh_frame` with its address and, where there is one, its search table.
#[derive(Debug)]
pub(super) struct UnwindTables {
    pub(super) header: Option<(u64, Vec<u8>)>,
    pub(super) frames: (u64, Vec<u8>),
}

impl UnwindTables {
    pub(super) fn has_exception_table(&self, vaddr: u64) -> gimli::Result<bool> {
        let (address, bytes) = &self.frames;
        let frames = gimli::EhFrame::new(bytes, gimli::NativeEndian);
        let mut bases = gimli::BaseAddresses::default().set_eh_frame(*address);
        if let Some((address, bytes)) = &self.header {
            bases = bases.set_eh_frame_hdr(*address);
            let header = gimli::EhFrameHdr::new(bytes, gimli::NativeEndian).parse(&bases, 8)?;
            if let Some(table) = header.table() {
                let cie = gimli::EhFrame::cie_from_offset;
                let entry = table.fde_for_address(&frames, &bases, vaddr, cie)?;
                return Ok(entry.lsda().is_some());
            }
        }
        let cie = gimli::EhFrame::cie_from_offset;
        Ok(frames.fde_for_address(&bases, vaddr, cie)?.lsda().is_some())
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
