//! Where a function ends.
//!
//! A return probe puts the address of a trampoline in the place of the return address. An exception
//! that passes, and a runtime that walks or moves stacks, does not know it and dies. Probes on each
//! instruction that leaves the function do no harm. For their figures to be right, all of these
//! instructions have to be known: [`exits`] says whether they are.
//!
//! Compilers put no data among the code of a function on x86-64, so one reading from its first byte
//! to its last sees each instruction. What has to be guessed is where an indirect jump leads. The
//! depth of the stack helps: a function leaves only with the return address on top.

mod flow;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

use super::elf::MAX_CODE;
use super::instruction::{branch_target, is_refused, is_table_jump, sum_after};
use super::placement::endangers;
use flow::Flow;

/// The prefix.
const LOCK: u8 = 0xf0;

/// A piece of a function.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub code: &'a [u8],
    /// The virtual address of its first byte.
    pub address: u64,
}

impl Part<'_> {
    fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.address) < self.code.len() as u64
    }

    fn byte(&self, address: u64) -> Option<u8> {
        let offset = address.wrapping_sub(self.address);
        self.code.get(offset as usize).copied()
    }
}

/// The instructions by which a function is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// By address, each once.
    pub sites: Vec<Exit>,
    /// Whether these are all, and each can carry a probe. Where it is false, counting by them would
    /// miss calls that end.
    pub is_complete: bool,
    /// Why it is not complete, for people.
    pub why_not: Option<String>,
    /// Whether the function, while it is active, runs code that is not its own: then an exception
    /// or a cancellation could end it with none of its exits reached.
    pub makes_calls: bool,
}

/// An instruction by which a function is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exit {
    /// Its virtual address.
    pub address: u64,
    pub kind: ExitKind,
    /// Where a jump leads, if that stands in it.
    pub to: Option<u64>,
}

/// How an instruction leaves a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitKind {
    Return,
    /// A jump to another function, which returns in its stead; or to its own entry, for a call of
    /// itself.
    TailJump,
    /// The same, if a condition holds.
    ConditionalTailJump {
        /// As in the low four bits of the opcode: 4 for `je`, 5 for `jne`; an odd one negates the
        /// even one before it.
        condition: u8,
    },
}

/// Finds where a function ends, of which the first part begins with the entry and the others are
/// its `.cold` parts. A part that is called rather than jumped to is a function of its own and is
/// left out.
///
/// Any bytes are answered. On machines other than x86-64 no exits are found, and the answer is not
/// complete.
pub fn exits(parts: &[Part<'_>]) -> Exits {
    let mut exits = Exits::default();
    if !cfg!(target_arch = "x86_64") {
        exits.why_not = Some("only x86-64 code is understood".into());
        return exits;
    }
    if parts.first().is_none_or(|part| part.code.is_empty()) {
        exits.why_not = Some("it has no code".into());
        return exits;
    }
    let body = Body::read(parts, &mut exits);
    let flow = Flow::of(&body);
    body.check_targets(&mut exits);
    if let Some(address) = flow.runs_off {
        exits.miss(address, "the code runs on beyond its end");
    }
    let mut sum = Register::None;
    for (index, instruction) in body.instructions.iter().enumerate() {
        let is_table = is_table_jump(instruction, sum);
        sum = sum_after(instruction, sum);
        exits.makes_calls |= is_call(instruction);
        let depth = flow.depth(index);
        match body.exit(instruction, depth, is_table && flow.has_unreached) {
            Ok(None) => {}
            Ok(Some(kind)) => {
                exits.makes_calls |= kind != ExitKind::Return;
                exits.add(&body, instruction, kind);
            }
            Err(why) => exits.miss(instruction.ip(), why),
        }
    }
    exits.sites.sort_unstable();
    exits.sites.dedup();
    exits.is_complete = exits.why_not.is_none();
    exits
}

impl Exits {
    fn add(&mut self, body: &Body<'_>, instruction: &Instruction, kind: ExitKind) {
        let address = instruction.ip();
        let bytes = body.bytes(instruction);
        if is_refused(bytes, instruction) || endangers(bytes) {
            self.miss(address, "no probe can be placed on the instruction");
        } else {
            let to = branch_target(instruction);
            self.sites.push(Exit { address, kind, to });
        }
    }

    /// Notes that exits may be missing. The first reason stays.
    fn miss(&mut self, address: u64, why: &str) {
        self.why_not
            .get_or_insert_with(|| format!("{why} (at {address:#x})"));
    }
}

/// The instructions of a function.
struct Body<'a> {
    parts: Vec<Part<'a>>,
    /// Part after part.
    instructions: Vec<Instruction>,
    /// Which of them begins at an address.
    at: HashMap<u64, usize>,
}

impl<'a> Body<'a> {
    fn read(parts: &[Part<'a>], exits: &mut Exits) -> Self {
        let decoded: Vec<Vec<Instruction>> = parts.iter().map(|part| decode(part, exits)).collect();
        let mut body = Self {
            parts: Vec::new(),
            instructions: Vec::new(),
            at: HashMap::new(),
        };
        for (index, part) in parts.iter().enumerate() {
            let mut all = decoded.iter().flatten();
            let is_called =
                index > 0 && all.any(|i| is_call(i) && branch_target(i) == Some(part.address));
            if is_called {
                let mut others = decoded
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != index);
                let jump = others.find_map(|(_, instructions)| {
                    let jump = |i: &&Instruction| {
                        !is_call(i) && branch_target(i).is_some_and(|t| part.contains(t))
                    };
                    instructions.iter().find(jump)
                });
                if let Some(jump) = jump {
                    exits.miss(jump.ip(), "a part of it is both called and jumped to");
                }
                continue;
            }
            for instruction in &decoded[index] {
                let next = body.instructions.len();
                if body.at.insert(instruction.ip(), next).is_some() {
                    exits.miss(instruction.ip(), "parts of it overlap");
                }
                // Where there is one thread only, glibc jumps past the prefix.
                if part.byte(instruction.ip()) == Some(LOCK) {
                    body.at.insert(instruction.ip().wrapping_add(1), next);
                }
                body.instructions.push(*instruction);
            }
            body.parts.push(*part);
        }
        body
    }

    fn entry(&self) -> u64 {
        self.parts[0].address
    }

    fn contains(&self, address: u64) -> bool {
        self.parts.iter().any(|part| part.contains(address))
    }

    fn bytes(&self, instruction: &Instruction) -> &'a [u8] {
        let part = self.parts.iter().find(|p| p.contains(instruction.ip()));
        part.and_then(|part| {
            let start = instruction.ip().wrapping_sub(part.address) as usize;
            part.code.get(start..start + instruction.len())
        })
        .unwrap_or_default()
    }

    /// That each branch within the function leads to an instruction: else the reading is wrong.
    fn check_targets(&self, exits: &mut Exits) {
        for instruction in &self.instructions {
            let Some(target) = branch_target(instruction).filter(|t| self.contains(*t)) else {
                continue;
            };
            if !self.at.contains_key(&target) {
                exits.miss(
                    instruction.ip(),
                    "a branch leads into the middle of an instruction",
                );
            } else if is_call(instruction) && target != self.entry() {
                exits.miss(instruction.ip(), "it calls code of its own");
            }
        }
    }

    /// How the instruction leaves the function, if it does. `depth` is the number of bytes on the
    /// stack above the return address, where known. `Err` with the reason where it may leave, or
    /// go on in code that is not at hand.
    fn exit(
        &self,
        instruction: &Instruction,
        depth: Option<i64>,
        is_table_jump: bool,
    ) -> Result<Option<ExitKind>, &'static str> {
        let balanced = depth.is_none_or(|depth| depth == 0);
        let target = branch_target(instruction);
        let leaves = target.is_some_and(|target| !self.contains(target));
        let recurs = target == Some(self.entry());
        let elsewhere = "it goes on in code without a symbol";
        match instruction.flow_control() {
            FlowControl::Return if instruction.mnemonic() != Mnemonic::Ret => {
                Err("a far return or a return from an interrupt")
            }
            FlowControl::Return if balanced => Ok(Some(ExitKind::Return)),
            FlowControl::Return => Err("a return with the stack not at its start"),
            FlowControl::UnconditionalBranch if target.is_none() => Err("a far jump"),
            FlowControl::UnconditionalBranch if recurs => Ok(Some(ExitKind::TailJump)),
            FlowControl::UnconditionalBranch if leaves && balanced => Ok(Some(ExitKind::TailJump)),
            FlowControl::ConditionalBranch if leaves || recurs => {
                if !instruction.is_jcc_short_or_near() {
                    Err("a conditional exit that is no flag's")
                } else if recurs || balanced {
                    // Numbered from 1 in the order of the opcodes.
                    let condition = (instruction.condition_code() as u8).wrapping_sub(1) & 0xf;
                    Ok(Some(ExitKind::ConditionalTailJump { condition }))
                } else {
                    Err(elsewhere)
                }
            }
            FlowControl::IndirectBranch if instruction.is_jmp_far_indirect() => Err("a far jump"),
            FlowControl::IndirectBranch if balanced && !is_table_jump => {
                Ok(Some(ExitKind::TailJump))
            }
            FlowControl::UnconditionalBranch | FlowControl::XbeginXabortXend if leaves => {
                Err(elsewhere)
            }
            _ => Ok(None),
        }
    }
}

/// The instructions of a part, as far as they can be read.
fn decode(part: &Part<'_>, exits: &mut Exits) -> Vec<Instruction> {
    if part.code.len() as u64 >= MAX_CODE {
        exits.miss(part.address, "it is longer than what is read of a function");
    }
    let mut decoder = Decoder::with_ip(64, part.code, part.address, DecoderOptions::NONE);
    let mut instructions = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            exits.miss(instruction.ip(), "bytes that are no known instruction");
            break;
        }
        instructions.push(instruction);
    }
    instructions
}

/// Whether the instruction runs other code, of the program or of the kernel, and comes back.
fn is_call(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        FlowControl::Call | FlowControl::IndirectCall => true,
        FlowControl::Interrupt => instruction.mnemonic() == Mnemonic::Int,
        _ => false,
    }
}
