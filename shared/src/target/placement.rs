//! Where inside a function a probe costs least.
//!
//! A uprobe is a breakpoint. After it the kernel emulates a few kinds of instruction in place and
//! single-steps a copy of every other one, which costs a second exception: on a virtual machine
//! 17 µs instead of half a microsecond. So the probe belongs on the first emulated instruction that
//! each call executes exactly once and before which nothing has changed that the probe reads.
//!
//! What is emulated (`arch/x86/kernel/uprobes.c`, the same in 5.10 and in all later kernels):
//! `push` of a register, `jmp`, `jcc` and `call` to a relative address, `nop` of one or two bytes.
//! Kernels from 6.18 on emulate longer `nop`s too, which is not counted on here.
//!
//! What cannot be seen from a function's own bytes is a jump from another function into its middle
//! (a `.cold` part), and one through a pointer that was computed elsewhere.

#[cfg(test)]
mod tests;

use std::fmt;

use iced_x86::{
    Code, Decoder, DecoderOptions, EncodingKind, FlowControl, Formatter, Instruction,
    InstructionInfo, InstructionInfoFactory, IntelFormatter, Mnemonic, OpKind, Register,
};

use super::instruction::{branch_target, is_refused, is_table_jump, is_write, sum_after, writes};

/// How far from the entry a place may lie, in bytes. A prologue is shorter; farther on, the probe
/// would fire noticeably later than the call.
const REACH: usize = 64;

/// Integer argument registers of the System V ABI, in order.
const ARGUMENTS: [Register; 6] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
];

/// What a probe program needs to find unharmed at the instruction it is placed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// How many integer argument registers, in the order of the ABI, must still hold the
    /// arguments: 0 to 6.
    pub arguments: u8,
    /// The stack pointer must be as at entry, with the return address on top: for a return probe,
    /// and for finding the caller.
    pub return_address: bool,
    /// Calls whose first argument is NULL need not be seen. The place may then lie behind the
    /// branch that such calls take, and they cost nothing.
    pub may_miss_null: bool,
    /// The frame pointer must still be the caller's.
    pub frame_pointer: bool,
}

/// What the kernel does with the instruction under the breakpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// One exception a hit.
    Emulated,
    /// Two exceptions a hit, the second much slower.
    SingleStepped,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Emulated => "emulated",
            Self::SingleStepped => "single-stepped",
        })
    }
}

/// Where to place a probe, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Bytes from the function's entry.
    pub offset: u64,
    pub cost: Cost,
    /// The instruction there, disassembled.
    pub instruction: String,
}

/// Chooses the cheapest place for a probe in a function, given its bytes and the address of the
/// first of them.
///
/// The place is the first emulated instruction for which all of this holds:
/// - it is reached straight from the entry, over no branch, call, return, `syscall` or trap. A
///   conditional branch or a call may be the place itself. The one branch that may be stepped over
///   is `je` after `test rdi, rdi`, if [`Needs::may_miss_null`]: then the first place behind it is
///   preferred, since calls with NULL do not reach it;
/// - nothing before it writes what `needs` names, not even in part or only sometimes;
/// - no branch in `code` leads to a byte behind the entry up to the place itself: each call passes
///   it once.
///
/// A branch back to the entry itself is no obstacle: such a branch is a call in all but name (a
/// recursive tail call), the probe fires for it at the entry as at any later place, and no other
/// place would tell the two apart.
///
/// Without such an instruction the place is the entry, whatever it costs; if the kernel refuses
/// probes on the entry's first instruction (one with a segment prefix, as in a `nop` of ten bytes),
/// then the first place that it takes.
///
/// Where that is not to be had either, the entry is answered all the same: whoever places probes
/// on functions of any kind asks [`endangers`] about the place first.
///
/// `code` should be the whole function; where it is cut, branches in the rest go unseen. Any bytes
/// are answered, also no function at all; on machines other than x86-64 the answer is the entry.
pub fn place(code: &[u8], address: u64, needs: &Needs) -> Placement {
    if !cfg!(target_arch = "x86_64") {
        return undecoded_entry(code);
    }
    let steps = straight_line(code, address, *needs);
    let Some(entry) = steps.first() else {
        return undecoded_entry(code);
    };
    let jumps = Jumps::of(code, address);
    let fitting = || steps.iter().filter(|step| jumps.spare(step));
    let emulated = || fitting().filter(|step| step.emulated);
    emulated()
        .find(|step| step.behind_null_branch)
        .or_else(|| emulated().next())
        .or_else(|| fitting().find(|step| !step.unfit))
        .unwrap_or(entry)
        .placement()
}

/// Whether a uprobe on the first instruction of `code` makes the program compute something else:
/// the kernel takes the instruction for one that it emulates.
///
/// Measured on 6.18: it looks at the opcode byte without regard for what stands before it, and
/// takes `xchg rax, r8` for a `nop`, and a VEX or EVEX instruction with the opcode byte of a branch
/// (`vmovd`, `vmovdqu` to memory, `vpcmpeqb`, `vpor`, `vzeroupper`) for that branch. The instruction
/// is then skipped.
pub fn endangers(code: &[u8]) -> bool {
    let mistaken = match code {
        // REX.B, which makes r8 of rax.
        [rex, 0x90, ..] => rex & 0xf1 == 0x41,
        [0xc5, _, opcode, ..] | [0xc4, _, _, opcode, ..] | [0x62, _, _, _, opcode, ..] => {
            matches!(opcode, 0x70..=0x7f | 0x90 | 0xe8 | 0xe9 | 0xeb)
        }
        _ => false,
    };
    cfg!(target_arch = "x86_64") && mistaken
}

/// Whether the kernel refuses a uprobe on the first instruction of `code` (one with LOCK, say). One
/// that does not decode is left to the kernel.
pub fn is_probe_refused(code: &[u8]) -> bool {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let instruction = decoder.decode();
    cfg!(target_arch = "x86_64")
        && !instruction.is_invalid()
        && is_refused(&code[..decoder.position()], &instruction)
}

fn undecoded_entry(code: &[u8]) -> Placement {
    let bytes: Vec<String> = code.iter().take(4).map(|b| format!("{b:02x}")).collect();
    Placement {
        offset: 0,
        cost: Cost::SingleStepped,
        instruction: format!("({})", bytes.join(" ")),
    }
}

/// An instruction that is reached straight from the entry with all needs met.
struct Step {
    offset: usize,
    instruction: Instruction,
    emulated: bool,
    /// The kernel does not allow a probe here, or gets the instruction wrong. So it may with any
    /// AVX instruction, whose opcode byte it looks up among those of other instructions: none is
    /// chosen in place of the entry.
    unfit: bool,
    behind_null_branch: bool,
}

impl Step {
    fn placement(&self) -> Placement {
        let mut formatter = IntelFormatter::new();
        let options = formatter.options_mut();
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_uppercase_hex(false);
        options.set_branch_leading_zeros(false);
        options.set_show_branch_size(false);
        options.set_space_after_operand_separator(true);
        let mut text = String::new();
        formatter.format(&self.instruction, &mut text);
        Placement {
            offset: self.offset as u64,
            cost: if self.emulated {
                Cost::Emulated
            } else {
                Cost::SingleStepped
            },
            instruction: text,
        }
    }
}

/// The instructions that may carry the probe as far as everything but jumps is concerned, the
/// entry first. Empty if nothing decodes there.
fn straight_line(code: &[u8], address: u64, needs: Needs) -> Vec<Step> {
    let needed = needs.registers();
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut factory = InstructionInfoFactory::new();
    let mut null_flag = NullFlag::default();
    let mut behind_null_branch = false;
    let mut steps = Vec::new();
    while decoder.can_decode() && decoder.position() <= REACH {
        let offset = decoder.position();
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            break;
        }
        let bytes = &code[offset..decoder.position()];
        let is_avx = instruction.encoding() != EncodingKind::Legacy;
        steps.push(Step {
            offset,
            instruction,
            emulated: is_emulated(bytes),
            unfit: is_refused(bytes, &instruction) || endangers(bytes) || (offset > 0 && is_avx),
            behind_null_branch,
        });
        let is_null_branch = null_flag.is_taken_by(&instruction);
        let info = factory.info(&instruction);
        let passable = if is_null_branch {
            needs.may_miss_null
        } else {
            runs_on(&instruction) && survive(&needed, info)
        };
        if !passable {
            break;
        }
        behind_null_branch |= is_null_branch;
        null_flag.after(&instruction, info);
    }
    steps
}

/// The encodings that every kernel from 5.10 on emulates. Exact ones, since a prefix changes the
/// answer: a `push` with REX.W is single-stepped, a branch with an operand-size prefix refused, and
/// 41 90 is no `nop` but `xchg rax, r8`.
fn is_emulated(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x50..=0x57 | 0x90]
            | [0x41, 0x50..=0x57]
            | [0x66, 0x90]
            | [0x70..=0x7f | 0xeb, _]
            | [0x0f, 0x80..=0x8f, _, _, _, _]
            | [0xe8 | 0xe9, _, _, _, _]
    )
}

/// Whether the next instruction is the one executed after this one, always, and soon. A locked
/// instruction may be what the function is called for (handing a freed block to another thread),
/// and a repeated one may take long: the probe must not come after either.
fn runs_on(instruction: &Instruction) -> bool {
    let locked = instruction.has_lock_prefix()
        || (instruction.mnemonic() == Mnemonic::Xchg && instruction.op0_kind() == OpKind::Memory);
    let repeated = instruction.is_string_instruction()
        && (instruction.has_rep_prefix() || instruction.has_repne_prefix());
    let straight = instruction.flow_control() == FlowControl::Next && !instruction.is_privileged();
    straight && !locked && !repeated
}

impl Needs {
    /// The registers that must be as they were at the entry.
    fn registers(self) -> Vec<Register> {
        let arguments = usize::from(self.arguments).min(ARGUMENTS.len());
        let mut registers = ARGUMENTS[..arguments].to_vec();
        if self.return_address {
            registers.push(Register::RSP);
        }
        if self.frame_pointer {
            registers.push(Register::RBP);
        }
        registers
    }
}

/// Whether these registers, and what the stack pointer points to if it is one of them, are the
/// same after the instruction.
fn survive(registers: &[Register], info: &InstructionInfo) -> bool {
    let written = registers.iter().any(|register| writes(info, *register));
    let overwritten = registers.contains(&Register::RSP) && overwrites_top(info);
    !written && !overwritten
}

/// Whether the instruction may write to the eight bytes on top of the stack, by the stack pointer.
fn overwrites_top(info: &InstructionInfo) -> bool {
    info.used_memory().iter().any(|memory| {
        let start = memory.displacement() as i64;
        let size = memory.memory_size().size() as i64;
        let apart = size > 0 && (start >= 8 || start.saturating_add(size) <= 0);
        is_write(memory.access())
            && memory.base().full_register() == Register::RSP
            && !(apart && memory.index() == Register::None)
    })
}

/// Whether the zero flag says that the function's first argument is NULL.
#[derive(Default)]
struct NullFlag {
    holds: bool,
    argument_lost: bool,
}

impl NullFlag {
    fn is_taken_by(&self, instruction: &Instruction) -> bool {
        self.holds && matches!(instruction.code(), Code::Je_rel8_64 | Code::Je_rel32_64)
    }

    fn after(&mut self, instruction: &Instruction, info: &InstructionInfo) {
        let tests_argument = instruction.code() == Code::Test_rm64_r64
            && instruction.op0_register() == Register::RDI
            && instruction.op1_register() == Register::RDI;
        if tests_argument {
            self.holds = !self.argument_lost;
        } else if instruction.rflags_modified() != 0 {
            self.holds = false;
        }
        self.argument_lost |= writes(info, Register::RDI);
    }
}

/// Where the branches within a function lead.
struct Jumps {
    /// The lowest offset behind the entry that is branched to, or whose address is taken.
    lowest: usize,
    /// Some jump goes through a table, to anywhere in the function.
    by_table: bool,
}

impl Jumps {
    /// Whether no branch leads to a byte behind the entry up to this instruction. Jump tables can
    /// be told from tail calls through a pointer, but not where they lead: they are ruled out by
    /// what a compiler can do. A loop back to a `push` would let the stack grow with each turn.
    fn spare(&self, step: &Step) -> bool {
        let push = step.instruction.mnemonic() == Mnemonic::Push;
        step.offset == 0 || (step.offset < self.lowest && (push || !self.by_table))
    }

    /// Decodes the function from its entry to its end. Behind bytes that do not decode (data, or
    /// instructions newer than the decoder) any of the next 15 may begin an instruction: each is
    /// tried, and the readings soon fall into step with each other again.
    fn of(code: &[u8], address: u64) -> Self {
        let mut jumps = Self {
            lowest: usize::MAX,
            by_table: false,
        };
        let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let mut seen = vec![false; code.len()];
        // Where to decode, and the register that was last added to on the way there.
        let mut pending = vec![(0, Register::None)];
        while let Some((offset, sum)) = pending.pop() {
            match seen.get_mut(offset) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            if decoder.set_position(offset).is_err() {
                continue;
            }
            decoder.set_ip(address.wrapping_add(offset as u64));
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() {
                pending.extend((offset + 1..=offset + 15).map(|next| (next, Register::None)));
                continue;
            }
            jumps.by_table |= is_table_jump(&instruction, sum);
            for target in targets(&instruction) {
                let target = target.wrapping_sub(address) as usize;
                if target > 0 && target < code.len() {
                    jumps.lowest = jumps.lowest.min(target);
                    pending.push((target, Register::None));
                }
            }
            pending.push((decoder.position(), sum_after(&instruction, sum)));
        }
        jumps
    }
}

/// The addresses that an instruction names: as a branch's destination, or relative to itself, as
/// when a label's address is computed for a later jump.
fn targets(instruction: &Instruction) -> impl Iterator<Item = u64> {
    let relative = instruction
        .is_ip_rel_memory_operand()
        .then(|| instruction.ip_rel_memory_address());
    branch_target(instruction).into_iter().chain(relative)
}
