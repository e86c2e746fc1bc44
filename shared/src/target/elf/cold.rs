//! The cold parts of functions: what the compiler moved away from the rest because it is seldom
//! executed.
//!
//! In `.symtab` they have names of their own. Where that is stripped, the unwind table shows them:
//! each part has an entry there, which begins with the frame that the function has made by then.

use std::collections::{BTreeMap, BTreeSet};

use super::{ENDIAN, ElfError, ElfObject, Function};
use crate::target::instruction::{branch_targets, jumps};

/// How many parts without symbols are looked for. Compilers make one; to place each block of a
/// function by itself is an option of theirs.
const MAX_UNNAMED: usize = 64;

impl ElfObject {
    /// The parts of a function that stand apart from it, by address.
    ///
    /// By their symbols: `NAME.cold` and `NAME.cold.N`, where NAME is any name of the function. Where
    /// several functions share a name, as static ones of different files may, those parts that the
    /// function jumps to or that jump back into it.
    ///
    /// And without symbols, called `0xADDRESS`: entries of the unwind table to which the function
    /// jumps with more on the stack than a function is entered with, or which jump back into it.
    ///
    /// # Errors
    /// [`ElfError::Io`] where a table or the code cannot be read.
    pub fn cold_parts(&self, function: &Function) -> Result<Vec<Function>, ElfError> {
        let mut pieces = vec![function.clone()];
        pieces.extend(self.named_parts(function)?);
        self.add_unnamed_parts(&mut pieces)?;
        pieces.remove(0);
        pieces.sort_by_key(|part| part.address);
        Ok(pieces)
    }

    fn named_parts(&self, function: &Function) -> Result<Vec<Function>, ElfError> {
        let mut names = BTreeSet::from([function.name.clone()]);
        for table in self.symbol_tables() {
            table.each_function(|name, symbol| {
                if symbol.st_value.get(ENDIAN) == function.address {
                    names.insert(name.to_owned());
                }
            })?;
        }
        let found = self.functions_where(|name| {
            names.contains(name) || cold_of(name).is_some_and(|hot| names.contains(hot))
        })?;
        // By address: a part may have several names, too.
        let (parts, functions): (Vec<_>, Vec<_>) = found
            .into_iter()
            .filter(|found| found.address != function.address)
            .partition(|found| !names.contains(&found.name));
        let mut parts: BTreeMap<u64, Function> =
            parts.into_iter().map(|part| (part.address, part)).collect();
        if functions.is_empty() {
            return Ok(parts.into_values().collect());
        }
        let mut own = Vec::new();
        let mut pending = vec![function.clone()];
        while let Some(piece) = pending.pop() {
            let linked: Vec<u64> = parts
                .values()
                .filter(|part| leads_to(&piece, part) || leads_to(part, &piece))
                .map(|part| part.address)
                .collect();
            let linked = linked.iter().filter_map(|address| parts.remove(address));
            pending.extend(linked);
            own.push(piece);
        }
        own.remove(0);
        Ok(own)
    }

    /// Adds to the pieces of a function, of which the first is its own, those that they jump to, and
    /// those that these jump to.
    fn add_unnamed_parts(&self, pieces: &mut Vec<Function>) -> Result<(), ElfError> {
        let most = pieces.len() + MAX_UNNAMED;
        let mut next = 0;
        while let Some(piece) = pieces.get(next) {
            for (jump, target) in jumps(&piece.code, piece.address) {
                let is_known = pieces.iter().any(|piece| contains(piece, target));
                if is_known || pieces.len() >= most {
                    continue;
                }
                match self.unnamed_part(pieces, jump, target) {
                    // A table that does not parse shows nothing.
                    Err(ElfError::Unwind { .. }) => {}
                    part => pieces.extend(part?),
                }
            }
            next += 1;
        }
        Ok(())
    }

    /// The part that a jump out of the pieces of a function leads to. `None` where it leads to
    /// another function.
    fn unnamed_part(
        &self,
        pieces: &[Function],
        jump: u64,
        target: u64,
    ) -> Result<Option<Function>, ElfError> {
        let Some(extent) = self.unwound_extent(target)? else {
            return Ok(None);
        };
        if self.has_symbol_in(&extent)? {
            return Ok(None);
        }
        let frames = self.frame(jump)?.zip(self.frame(target)?);
        let Some((_, frame)) = frames.filter(|(from, to)| from.end.is_some() && from.end == to.end)
        else {
            return Ok(None);
        };
        let name = format!("{:#x}", extent.start);
        let part = self.function(&name, extent.start, extent.end - extent.start)?;
        Ok(part.filter(|part| !frame.is_at_entry() || leads_back(part, pieces)))
    }
}

/// The function that a `.cold` part belongs to, by its name.
fn cold_of(name: &str) -> Option<&str> {
    let (hot, number) = name.rsplit_once(".cold")?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_cold = number.is_empty()
        || number
            .strip_prefix('.')
            .is_some_and(|n| !n.is_empty() && is_number(n));
    is_cold.then_some(hot)
}

/// Whether some branch in the code of one leads into that of the other.
fn leads_to(from: &Function, to: &Function) -> bool {
    branch_targets(&from.code, from.address)
        .into_iter()
        .any(|target| contains(to, target))
}

/// Whether a jump in the code of a part leads into the pieces of a function, behind its entry: to
/// the entry any function may jump.
fn leads_back(part: &Function, pieces: &[Function]) -> bool {
    let entry = pieces.first().map(|function| function.address);
    jumps(&part.code, part.address)
        .into_iter()
        .any(|(_, to)| Some(to) != entry && pieces.iter().any(|piece| contains(piece, to)))
}

fn contains(function: &Function, address: u64) -> bool {
    address.wrapping_sub(function.address) < function.code.len() as u64
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::target::elf::fixture::{CODE, Image};

    fn cold(image: &Image, address: u64) -> Vec<(String, u64)> {
        let file = image.file();
        let object = ElfObject::open(file.path()).unwrap();
        let function = object.function_at(CODE + address).unwrap().unwrap();
        let parts = object.cold_parts(&function).unwrap();
        parts
            .into_iter()
            .map(|part| (part.name, part.address - CODE))
            .collect()
    }

    #[test]
    fn the_only_function_of_its_name_has_all_parts() {
        let functions = [
            ("__f", 0, 8),
            ("f", 0, 8),
            ("__f.cold", 16, 8),
            ("f.cold.12", 24, 8),
            ("g.cold", 32, 8),
            ("f.cold.x", 40, 8),
            ("f.cold.", 48, 8),
        ];
        let image = Image::with_functions(&[0x90; 64], &functions);
        let expected = [("__f.cold".to_owned(), 16), ("f.cold.12".to_owned(), 24)];
        assert_eq!(cold(&image, 0), expected);
    }

    #[test]
    fn parts_of_functions_that_share_a_name_are_told_apart() {
        let mut code = [0x90; 64];
        code[4..6].copy_from_slice(&[0xeb, 26]); // the first f jumps to 32
        code[50..52].copy_from_slice(&[0xeb, 0xda]); // the part at 48 jumps back to 14
        let functions = [
            ("f", 0, 8),
            ("f", 8, 8),
            ("f", 16, 8),
            ("f.cold", 32, 8),
            ("f.cold", 48, 8),
        ];
        let image = Image::with_functions(&code, &functions);
        assert_eq!(cold(&image, 0), [("f.cold".to_owned(), 32)]);
        assert_eq!(cold(&image, 8), [("f.cold".to_owned(), 48)]);
        assert!(cold(&image, 16).is_empty());
    }

    /// `je` to `early`; push rbx; `je` to `late`; pop rbx; ret. And 0x90 up to 64.
    fn jumping(early: u8, late: u8) -> Vec<u8> {
        let mut code = vec![0x74, early - 2, 0x53, 0x74, late - 5, 0x5b, 0xc3];
        code.resize(64, 0x90);
        code
    }

    const FUNCTION: (Range<u64>, &[u8]) = (0..8, &[0x43, DEPTH, 16, 0x42, DEPTH, 8]);
    const DEPTH: u8 = 0x0e;
    /// As after `push rbx`.
    const PUSHED: &[u8] = &[DEPTH, 16, 0x83, 2];
    const POPPED: &[u8] = &[0x83, 2];

    /// The parts of a function at 0 to 8.
    fn unnamed(code: &[u8], frames: &[(Range<u64>, &[u8])]) -> Vec<u64> {
        let image = Image::with_functions(code, &[("f", 0, 8), ("g", 44, 4)]);
        let frames = [&[FUNCTION], frames].concat();
        let parts = cold(&image.with_frames(&frames), 0);
        for (name, address) in &parts {
            assert_eq!(*name, format!("{:#x}", CODE + address));
        }
        parts.into_iter().map(|(_, address)| address).collect()
    }

    #[test]
    fn a_part_without_a_symbol_begins_with_the_frame_of_the_function() {
        let code = jumping(5, 34);
        assert_eq!(unnamed(&code, &[(32..40, PUSHED)]), [32]);
        // By its second jump, at the depth that is reached there.
        let deeper: &[u8] = &[0x42, DEPTH, 16];
        assert_eq!(unnamed(&code, &[(32..40, deeper)]), [32]);
        assert!(unnamed(&code, &[]).is_empty());
        assert!(unnamed(&code, &[(24..32, PUSHED)]).is_empty());
        assert!(unnamed(&code, &[(32..40, &[])]).is_empty());
        assert!(unnamed(&code, &[(32..40, &[DEPTH, 24, 0x83, 2])]).is_empty());
        // CFA by an expression, as in a PLT.
        assert!(unnamed(&code, &[(32..40, &[0x0f, 2, 0x77, 16])]).is_empty());
        // A symbol stands in it.
        assert!(unnamed(&code, &[(32..48, PUSHED)]).is_empty());
    }

    #[test]
    fn parts_without_symbols_lead_to_others() {
        let mut code = jumping(5, 34);
        code[36..41].copy_from_slice(&[0xe9, 9, 0, 0, 0]); // to 50
        code[52..54].copy_from_slice(&[0xeb, 0xea]); // back to 32
        let frames = [(32..42, PUSHED), (48..56, PUSHED), (56..64, PUSHED)];
        assert_eq!(unnamed(&code, &frames), [32, 48]);
        code[36] = 0xe8; // A call.
        assert_eq!(unnamed(&code, &frames), [32]);
    }

    #[test]
    fn what_is_jumped_to_without_a_frame_is_a_part_if_it_jumps_back() {
        let mut code = jumping(32, 5);
        assert!(unnamed(&code, &[(32..40, &[])]).is_empty());
        // No function begins with a register saved.
        assert_eq!(unnamed(&code, &[(32..40, POPPED)]), [32]);
        code[34..36].copy_from_slice(&[0xeb, 0xde]); // to 2
        assert_eq!(unnamed(&code, &[(32..40, &[])]), [32]);
        code[35] = 0xdc; // to 0: a call of the function
        assert!(unnamed(&code, &[(32..40, &[])]).is_empty());
    }
}
