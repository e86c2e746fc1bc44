//! Probes that a program's author has put in: USDT, as `.note.stapsdt` describes them.

use std::mem::offset_of;
use std::ops::Range;

use gimli::X86_64;
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use object::elf::FileHeader64;
use object::read::elf::NoteIterator;
use object::{NativeEndian, elf};

pub use super::unwind::FramePointer;
use super::{ENDIAN, ElfError, ElfObject};

/// The notes are of this type.
const NT_STAPSDT: u32 = 3;
/// And of this owner.
const OWNER: &[u8] = b"stapsdt";
/// Longer ones are damaged, in bytes.
const MOST_NOTES: u64 = 16 << 20;

/// One place in the code where a probe was put. The compiler may have made several of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The probe's name.
    pub name: String,
    /// The virtual address of its instruction, a no-op.
    pub address: u64,
    /// Where that lies in the file.
    pub file_offset: u64,
    /// The no-op, for people.
    pub instruction: String,
    /// Where in the file the counter of those who listen lies: the program asks it whether to go to the
    /// trouble.
    pub semaphore: Option<u64>,
    /// Where the arguments are while the probe is hit; an error names one that cannot be read.
    pub arguments: Result<Vec<Argument>, String>,
    /// The function's own frame there, if the unwind table knows it.
    pub frame: Option<SiteFrame>,
}

/// An argument of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Where it is.
    pub place: Place,
    /// How long it is: 1, 2, 4 or 8 bytes.
    pub bytes: u8,
    /// Whether its sign is to be kept when it is made longer.
    pub is_signed: bool,
}

/// Where an argument is. Registers are named by where the kernel saves them (struct pt_regs), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is known already.
    Constant(i64),
    /// In a register.
    Register(u8),
    /// In memory.
    Memory {
        /// A register that points there,
        base: u8,
        /// with another one, shifted to the left by so many bits,
        index: Option<(u8, u8)>,
        /// and so many bytes on.
        offset: i64,
    },
}

/// The stack of the function that has the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteFrame {
    /// A register, and the bytes from where it points to the end of the frame. Just below that lies the
    /// return address.
    pub end: (u8, i32),
    /// Where the caller's frame pointer is.
    pub frame_pointer: FramePointer,
}

impl ElfObject {
    /// The probes of a provider, so many at most. A note that does not say of a no-op that it is one, or
    /// whose counter cannot be one, is damaged: it is left out.
    ///
    /// # Errors
    /// [`ElfError::Io`].
    pub fn usdt_sites(&self, provider: &str, most: usize) -> Result<Vec<Site>, ElfError> {
        let Some(range) = self.layout.usdt_notes.clone() else {
            return Ok(Vec::new());
        };
        let range = range.start..range.end.min(range.start.saturating_add(MOST_NOTES));
        let bytes = self.read(range, "read its USDT notes")?;
        let mut sites: Vec<Site> = Vec::new();
        for note in notes(&bytes).filter(|note| note.provider == provider.as_bytes()) {
            if sites.len() == most {
                break;
            }
            let Some(site) = self.usdt_site(&note)? else {
                continue;
            };
            let is_known = |known: &Site| known.address == site.address && known.name == site.name;
            if !sites.iter().any(is_known) {
                sites.push(site);
            }
        }
        Ok(sites)
    }

    fn usdt_site(&self, note: &Note<'_>) -> Result<Option<Site>, ElfError> {
        // Whoever moved the text (prelink) has not moved the notes, but this section.
        let moved = match (self.layout.usdt_base, note.base) {
            (Some(base), stated) if stated != 0 => base.wrapping_sub(stated),
            _ => 0,
        };
        let address = note.address.wrapping_add(moved);
        let Some(file_offset) = self.file_offset(address) else {
            return Ok(None);
        };
        let Some(instruction) = self.no_op(address)? else {
            return Ok(None);
        };
        let semaphore = match note.semaphore {
            0 => None,
            stated => match self.counter(stated.wrapping_add(moved))? {
                Some(offset) => Some(offset),
                // It would never be hit.
                None => return Ok(None),
            },
        };
        Ok(Some(Site {
            name: String::from_utf8_lossy(note.name).into_owned(),
            address,
            file_offset,
            instruction,
            semaphore,
            arguments: arguments(&String::from_utf8_lossy(note.arguments)),
            frame: self.site_frame(address),
        }))
    }

    /// The instruction at an address, if it is a no-op that execution comes to: the function's code is
    /// read from its beginning on, or a breakpoint might be put into the middle of another instruction.
    fn no_op(&self, address: u64) -> Result<Option<String>, ElfError> {
        let Ok(Some(extent)) = self.unwound_extent(address) else {
            return Ok(None);
        };
        let Some(function) = self.function("", extent.start, extent.end - extent.start)? else {
            return Ok(None);
        };
        Ok(no_op_in(&function.code, extent.start, address))
    }

    /// Where a counter of listeners lies in the file, if there can be one: two bytes, aligned, which the
    /// program may write, and nobody has counted yet.
    fn counter(&self, address: u64) -> Result<Option<u64>, ElfError> {
        const BYTES: u64 = size_of::<u16>() as u64;
        let segment = self.layout.segment_at(address);
        let Some(segment) = segment.filter(|s| s.writable && !s.executable) else {
            return Ok(None);
        };
        let Some(offset) = segment.file_offset(address) else {
            return Ok(None);
        };
        if !address.is_multiple_of(BYTES)
            || !offset.is_multiple_of(BYTES)
            || u32::try_from(offset).is_err()
        {
            return Ok(None);
        }
        let bytes = self.read(offset..offset + BYTES, "read a USDT counter")?;
        Ok(bytes.iter().all(|byte| *byte == 0).then_some(offset))
    }

    fn site_frame(&self, address: u64) -> Option<SiteFrame> {
        let frame = self.frame(address).ok()??;
        let (register, offset) = frame.end?;
        Some(SiteFrame {
            end: (
                saved_at(X86_64::register_name(register)?)?,
                offset.try_into().ok()?,
            ),
            frame_pointer: frame.base_pointer,
        })
    }
}

/// The instruction at `address` in code that begins at `start`, if one begins there and does nothing.
fn no_op_in(code: &[u8], start: u64, address: u64) -> Option<String> {
    let decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let mut instructions = decoder.into_iter();
    let found = instructions.find(|instruction| instruction.ip() >= address)?;
    let is_no_op = found.ip() == address && found.mnemonic() == Mnemonic::Nop;
    is_no_op.then(|| found.to_string())
}

/// A note.
struct Note<'a> {
    address: u64,
    base: u64,
    semaphore: u64,
    provider: &'a [u8],
    name: &'a [u8],
    arguments: &'a [u8],
}

fn notes(bytes: &[u8]) -> impl Iterator<Item = Note<'_>> {
    let iterator = NoteIterator::<FileHeader64<NativeEndian>>::new(ENDIAN, 4, bytes);
    let notes = iterator.ok().into_iter().flatten().map_while(Result::ok);
    notes.filter_map(|note| {
        let is_probe = note.name() == OWNER && note.n_type(ENDIAN) == elf::NoteType(NT_STAPSDT);
        is_probe.then(|| parse(note.desc()))?
    })
}

/// Three addresses and three strings.
fn parse(note: &[u8]) -> Option<Note<'_>> {
    let word = |at: Range<usize>| Some(u64::from_ne_bytes(note.get(at)?.try_into().ok()?));
    let mut texts = note.get(24..)?.split(|byte| *byte == 0);
    Some(Note {
        address: word(0..8)?,
        base: word(8..16)?,
        semaphore: word(16..24)?,
        provider: texts.next()?,
        name: texts.next()?,
        arguments: texts.next()?,
    })
}

/// As the assembler has printed them, with their sizes before them.
fn arguments(text: &str) -> Result<Vec<Argument>, String> {
    /// As many as a probe can have (sys/sdt.h).
    const MOST: usize = 12;
    let words = text.split_whitespace().take(MOST);
    words
        .map(|word| argument(word).ok_or_else(|| word.to_owned()))
        .collect()
}

/// `-4@%eax`, `8@$5`, `8@-16(%rbp)`, `8@(%rax,%rbx,8)`.
fn argument(text: &str) -> Option<Argument> {
    let (size, place) = text.split_once('@').unwrap_or(("8", text));
    let size: i8 = size.parse().ok()?;
    let bytes = size.unsigned_abs();
    matches!(bytes, 1 | 2 | 4 | 8).then_some(())?;
    Some(Argument {
        place: self::place(place)?,
        bytes,
        is_signed: size < 0,
    })
}

fn place(text: &str) -> Option<Place> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    if let Some(constant) = text.strip_prefix('$') {
        return Some(Place::Constant(number(constant)?));
    }
    if let Some(register) = text.strip_prefix('%') {
        return Some(Place::Register(saved_at(register)?));
    }
    let (offset, inside) = text.strip_suffix(')')?.split_once('(')?;
    let offset = if offset.is_empty() {
        0
    } else {
        number(offset)?
    };
    let mut parts = inside.split(',').map(str::trim);
    let base = saved_at(parts.next()?.strip_prefix('%')?)?;
    let index = match parts.next() {
        None => None,
        Some(index) => {
            let scale: u8 = match parts.next() {
                None => 1,
                Some(scale) => scale.parse().ok()?,
            };
            matches!(scale, 1 | 2 | 4 | 8).then_some(())?;
            Some((saved_at(index.strip_prefix('%')?)?, scale.ilog2() as u8))
        }
    };
    parts.next().is_none().then_some(Place::Memory {
        base,
        index,
        offset,
    })
}

fn number(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    // A constant may be as large as an unsigned word.
    let value = value as i64;
    Some(if is_negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// Where the kernel saves a register, by any of its names, in bytes (struct pt_regs). The upper halves of
/// words (`%ah`) are none.
#[cfg(target_arch = "x86_64")]
fn saved_at(name: &str) -> Option<u8> {
    macro_rules! at {
        ($field:ident) => {
            offset_of!(libc::user_regs_struct, $field)
        };
    }
    let offset = match name {
        "rax" | "eax" | "ax" | "al" => at!(rax),
        "rbx" | "ebx" | "bx" | "bl" => at!(rbx),
        "rcx" | "ecx" | "cx" | "cl" => at!(rcx),
        "rdx" | "edx" | "dx" | "dl" => at!(rdx),
        "rsi" | "esi" | "si" | "sil" => at!(rsi),
        "rdi" | "edi" | "di" | "dil" => at!(rdi),
        "rbp" | "ebp" | "bp" | "bpl" => at!(rbp),
        "rsp" | "esp" | "sp" | "spl" => at!(rsp),
        _ => match name.trim_end_matches(['d', 'w', 'b']) {
            "r8" => at!(r8),
            "r9" => at!(r9),
            "r10" => at!(r10),
            "r11" => at!(r11),
            "r12" => at!(r12),
            "r13" => at!(r13),
            "r14" => at!(r14),
            "r15" => at!(r15),
            _ => return None,
        },
    };
    u8::try_from(offset).ok()
}

#[cfg(not(target_arch = "x86_64"))]
fn saved_at(_name: &str) -> Option<u8> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    fn at(name: &str) -> u8 {
        saved_at(name).unwrap()
    }

    #[test]
    fn arguments_are_read_as_assemblers_print_them() {
        let cases = [
            ("8@%rdi", Place::Register(at("rdi")), 8, false),
            ("-4@%r12d", Place::Register(at("r12")), 4, true),
            ("1@%sil", Place::Register(at("rsi")), 1, false),
            ("%rax", Place::Register(at("rax")), 8, false),
            ("8@$-3", Place::Constant(-3), 8, false),
            ("8@$0xffffffffffffffff", Place::Constant(-1), 8, false),
            (
                "8@-16(%rbp)",
                Place::Memory {
                    base: at("rbp"),
                    index: None,
                    offset: -16,
                },
                8,
                false,
            ),
            (
                "-2@(%rax,%r9,8)",
                Place::Memory {
                    base: at("rax"),
                    index: Some((at("r9"), 3)),
                    offset: 0,
                },
                2,
                true,
            ),
            (
                "4@8(%rax,%rbx)",
                Place::Memory {
                    base: at("rax"),
                    index: Some((at("rbx"), 0)),
                    offset: 8,
                },
                4,
                false,
            ),
        ];
        for (text, place, bytes, is_signed) in cases {
            let wanted = Argument {
                place,
                bytes,
                is_signed,
            };
            assert_eq!(arguments(text), Ok(vec![wanted]), "{text}");
        }
        assert_eq!(arguments(" 8@%rdi 4@$1  8@%rsp ").unwrap().len(), 3);
        for text in [
            "8@counter(%rip)",
            "8@%xmm0",
            "3@%rax",
            "8@%ah",
            "8@",
            "@%rax",
            "8@(%rax,%rbx,3)",
            "8@(%rax,%rbx,8,1)",
            "8@16(%rax",
        ] {
            assert_eq!(arguments(text), Err(text.to_owned()));
        }
    }

    /// The kernel's saved registers begin as those that a debugger sees.
    #[test]
    fn registers_lie_where_the_kernel_saves_them() {
        let inside = ["r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9"];
        for (place, name) in inside.iter().enumerate() {
            assert_eq!(usize::from(at(name)), 8 * place, "{name}");
        }
        assert_eq!((at("rdi"), at("rsp")), (14 * 8, 19 * 8));
    }

    /// What an assembler makes of a note, in a function that keeps no frame pointer.
    #[test]
    fn sites_of_an_object_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("a.s");
        let note = |place: &str, semaphore: &str, provider: &str, arguments: &str| {
            format!(
                ".pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n.4byte 8, 9f-8f, 3\n\
                 .asciz \"stapsdt\"\n8:.8byte {place}, _.stapsdt.base, {semaphore}\n\
                 .asciz \"{provider}\"\n.asciz \"made\"\n.asciz \"{arguments}\"\n9:.balign 4\n\
                 .popsection\n"
            )
        };
        let text = format!(
            ".text\n.globl f\n.type f,@function\nf:\n.cfi_startproc\npush %rbp\n\
             .cfi_def_cfa_offset 16\n.cfi_offset %rbp, -16\nsub $24, %rsp\n\
             .cfi_def_cfa_offset 40\n990: nop\n{}add $24, %rsp\n.cfi_def_cfa_offset 16\n\
             pop %rbp\n.cfi_def_cfa_offset 8\nret\n.cfi_endproc\n.size f,.-f\n\
             .pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n\
             .weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n\
             .popsection\n.data\nsemaphore: .short 0\ncounted: .short 1\n.section .note.GNU-stack\n",
            [
                note("990b", "semaphore", "mine", "8@%rdi -4@8(%rsp)"),
                note("990b", "semaphore", "mine", "8@%rdi -4@8(%rsp)"),
                note("990b", "0", "other", "8@%rdi"),
                // In the middle of an instruction; not a no-op; no counter of listeners.
                note("f + 3", "0", "damaged", ""),
                note("f + 1", "0", "damaged", ""),
                note("semaphore", "0", "damaged", ""),
                note("990b", "semaphore + 1", "damaged", ""),
                note("990b", "counted", "damaged", ""),
                note("990b", "f", "damaged", ""),
            ]
            .concat(),
        );
        std::fs::write(&source, text).unwrap();
        let library = directory.path().join("a.so");
        let output = Command::new("cc")
            .args(["-shared", "-nostdlib", "-o"])
            .args([&library, &source])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let object = ElfObject::open(&library).unwrap();
        let sites = object.usdt_sites("mine", 9).unwrap();
        let [site] = &sites[..] else {
            panic!("{sites:?}");
        };
        let [function] = &object.functions(&["f"]).unwrap()[..] else {
            panic!("no f");
        };
        assert_eq!(site.name, "made");
        assert_eq!(site.address, function.address + 5);
        assert_eq!(site.file_offset, function.file_offset + 5);
        assert_eq!(site.arguments.as_ref().unwrap().len(), 2);
        let semaphore = site.semaphore.unwrap();
        assert!(semaphore < File::open(&library).unwrap().metadata().unwrap().len());
        assert_eq!(
            site.frame,
            Some(SiteFrame {
                end: (at("rsp"), 40),
                frame_pointer: FramePointer::Saved(-16),
            })
        );
        assert_eq!(site.instruction, "nop");
        let other = object.usdt_sites("other", 9).unwrap();
        assert_eq!((other.len(), other[0].semaphore), (1, None));
        for provider in ["damaged", "nobody"] {
            assert_eq!(object.usdt_sites(provider, 9).unwrap(), []);
        }
        assert_eq!(object.usdt_sites("mine", 0).unwrap(), []);
    }

    #[test]
    fn damaged_notes_are_none() {
        for length in 0..40 {
            assert_eq!(notes(&vec![0xff; length]).count(), 0);
            assert!(parse(&vec![1; length]).is_none());
        }
    }
}
