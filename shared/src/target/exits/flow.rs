//! Which instructions of a function are reached without indirect jumps, and how deep the stack is
//! at each.

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

use super::Body;
use crate::target::instruction::{branch_target, is_table_jump, sum_after, writes};

/// What is known of the stack before an instruction. Unknown is what differs by the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stack {
    /// Bytes pushed since the entry: 0 with the return address on top.
    depth: Option<i64>,
    /// The depth that the frame pointer stands for.
    frame: Option<i64>,
}

impl Stack {
    const AT_ENTRY: Self = Self {
        depth: Some(0),
        frame: None,
    };
    const UNKNOWN: Self = Self {
        depth: None,
        frame: None,
    };

    /// What holds on both ways to an instruction.
    fn or(self, other: Self) -> Self {
        Self {
            depth: self.depth.filter(|_| self.depth == other.depth),
            frame: self.frame.filter(|_| self.frame == other.frame),
        }
    }

    fn after(self, instruction: &Instruction, factory: &mut InstructionInfoFactory) -> Self {
        // Who is called leaves the stack and the frame pointer as they were.
        if matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        ) {
            return self;
        }
        let info = factory.info(instruction);
        let mut next = self;
        if writes(info, Register::RSP) {
            next.depth = self.depth_after(instruction);
        }
        if writes(info, Register::RBP) {
            next.frame = self.frame_after(instruction);
        }
        next
    }

    fn depth_after(self, instruction: &Instruction) -> Option<i64> {
        let to_rsp = instruction.op0_register() == Register::RSP;
        match instruction.mnemonic() {
            Mnemonic::Leave => self.frame.map(|frame| frame.wrapping_sub(8)),
            Mnemonic::Mov | Mnemonic::Lea if to_rsp => self.pointer(instruction),
            Mnemonic::Add if to_rsp => self
                .depth
                .zip(immediate(instruction))
                .map(|(d, i)| d.wrapping_sub(i)),
            Mnemonic::Sub if to_rsp => self
                .depth
                .zip(immediate(instruction))
                .map(|(d, i)| d.wrapping_add(i)),
            other if to_rsp || other == Mnemonic::Enter => None,
            _ => match instruction.stack_pointer_increment() {
                0 => None,
                change => self.depth.map(|d| d.wrapping_sub(change.into())),
            },
        }
    }

    fn frame_after(self, instruction: &Instruction) -> Option<i64> {
        let to_rbp = instruction.op0_register() == Register::RBP;
        match instruction.mnemonic() {
            Mnemonic::Mov | Mnemonic::Lea if to_rbp => self.pointer(instruction),
            _ => None,
        }
    }

    /// The depth of the place that a `mov` or `lea` makes its destination point to.
    fn pointer(self, instruction: &Instruction) -> Option<i64> {
        let of = |register| match register {
            Register::RSP => self.depth,
            Register::RBP => self.frame,
            _ => None,
        };
        match instruction.op1_kind() {
            OpKind::Register => of(instruction.op1_register()),
            OpKind::Memory if instruction.mnemonic() == Mnemonic::Lea => {
                let displacement = instruction.memory_displacement64() as i64;
                of(instruction.memory_base())
                    .filter(|_| instruction.memory_index() == Register::None)
                    .map(|base| base.wrapping_sub(displacement))
            }
            _ => None,
        }
    }
}

fn immediate(instruction: &Instruction) -> Option<i64> {
    let is_immediate = matches!(
        instruction.op1_kind(),
        OpKind::Immediate8to64 | OpKind::Immediate32to64
    );
    is_immediate.then(|| instruction.immediate(1) as i64)
}

/// The ways through a function.
pub(super) struct Flow {
    stacks: Vec<Option<Stack>>,
    /// Some instruction is reached neither from the entry nor past others: through a jump table,
    /// or by an exception.
    pub(super) has_unreached: bool,
    /// An instruction behind which the code goes on but ends. A call there does not come back.
    pub(super) runs_off: Option<u64>,
}

impl Flow {
    pub(super) fn of(body: &Body<'_>) -> Self {
        let mut flow = Self {
            stacks: vec![None; body.instructions.len()],
            has_unreached: false,
            runs_off: None,
        };
        flow.follow(body, 0, Stack::AT_ENTRY);
        // The cases of a `switch` mostly stand behind its jump and have its stack.
        let mut source = Stack::UNKNOWN;
        let mut sum = Register::None;
        for (index, instruction) in body.instructions.iter().enumerate() {
            if flow.stacks[index].is_none() && !is_padding(instruction) {
                flow.has_unreached = true;
                flow.follow(body, index, source);
            }
            if is_table_jump(instruction, sum) {
                source = flow.stacks[index].unwrap_or(Stack::UNKNOWN);
            }
            sum = sum_after(instruction, sum);
        }
        flow
    }

    /// The depth of the stack before an instruction, in bytes, where it is known.
    pub(super) fn depth(&self, index: usize) -> Option<i64> {
        self.stacks.get(index).copied().flatten()?.depth
    }

    fn follow(&mut self, body: &Body<'_>, start: usize, stack: Stack) {
        let mut factory = InstructionInfoFactory::new();
        let mut pending = vec![(start, stack)];
        while let Some((index, stack)) = pending.pop() {
            let Some(known) = self.stacks.get_mut(index) else {
                continue;
            };
            let merged = known.map_or(stack, |known| known.or(stack));
            if *known == Some(merged) {
                continue;
            }
            *known = Some(merged);
            let instruction = &body.instructions[index];
            let next = merged.after(instruction, &mut factory);
            let target = branch_target(instruction)
                .filter(|_| !super::is_call(instruction))
                .and_then(|target| body.at.get(&target));
            pending.extend(target.map(|target| (*target, next)));
            if goes_on(instruction) {
                match body.at.get(&instruction.next_ip()) {
                    Some(behind) => pending.push((*behind, next)),
                    None if super::is_call(instruction) => {}
                    None => {
                        self.runs_off.get_or_insert(instruction.ip());
                    }
                }
            }
        }
    }
}

/// Whether the instruction behind this one may be the next.
fn goes_on(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        FlowControl::Next
        | FlowControl::ConditionalBranch
        | FlowControl::Call
        | FlowControl::IndirectCall
        | FlowControl::XbeginXabortXend => instruction.mnemonic() != Mnemonic::Hlt,
        FlowControl::Interrupt => instruction.mnemonic() == Mnemonic::Int,
        FlowControl::UnconditionalBranch
        | FlowControl::IndirectBranch
        | FlowControl::Return
        | FlowControl::Exception => false,
    }
}

/// What stands between the pieces of a function.
fn is_padding(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Nop | Mnemonic::Int3 | Mnemonic::Ud2
    )
}
