//! What single x86-64 instructions do, as far as the choice of places for probes asks.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfo, Mnemonic, OpAccess,
    OpKind, Register,
};

/// Whether the kernel does not allow a probe on this instruction: segment prefixes other than FS
/// and GS, LOCK, and the operand-size prefix on a relative branch.
pub(super) fn is_refused(bytes: &[u8], instruction: &Instruction) -> bool {
    let mut prefixes = bytes.iter().take_while(|byte| {
        matches!(
            byte,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3
        )
    });
    prefixes.any(|prefix| match prefix {
        0x26 | 0x2e | 0x36 | 0x3e | 0xf0 => true,
        0x66 => branch_target(instruction).is_some(),
        _ => false,
    })
}

pub(super) fn is_write(access: OpAccess) -> bool {
    !matches!(
        access,
        OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
    )
}

pub(super) fn writes(info: &InstructionInfo, register: Register) -> bool {
    info.used_registers()
        .iter()
        .any(|used| is_write(used.access()) && used.register().full_register() == register)
}

/// The destination of a relative branch or call.
pub(super) fn branch_target(instruction: &Instruction) -> Option<u64> {
    matches!(
        instruction.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    )
    .then(|| instruction.near_branch_target())
}

/// An indirect jump within the function rather than out of it: through an indexed table, with the
/// NOTRACK prefix that compilers set there, or to a sum of base and entry, `sum`.
pub(super) fn is_table_jump(instruction: &Instruction, sum: Register) -> bool {
    let indexed =
        instruction.op0_kind() == OpKind::Memory && instruction.memory_index() != Register::None;
    let to_sum = instruction.op0_kind() == OpKind::Register
        && sum != Register::None
        && instruction.op0_register() == sum;
    instruction.flow_control() == FlowControl::IndirectBranch
        && (indexed || to_sum || instruction.segment_prefix() == Register::DS)
}

/// The register that was last added to and still holds the sum.
pub(super) fn sum_after(instruction: &Instruction, sum: Register) -> Register {
    let destination = instruction.op0_register();
    match instruction.code() {
        _ if destination == Register::None => sum,
        Code::Add_r64_rm64 | Code::Add_rm64_r64 => destination,
        _ if destination == sum && instruction.mnemonic() == Mnemonic::Mov => Register::None,
        _ => sum,
    }
}

/// The destinations of all relative branches and calls in `code`, which begins at `address`. None
/// on machines other than x86-64.
pub(super) fn branch_targets(code: &[u8], address: u64) -> Vec<u64> {
    let branches = branches(code, address).into_iter();
    branches.map(|(_, target)| target).collect()
}

/// Where instructions in `code`, which begins at `address`, read or write memory at a distance from
/// themselves. None on machines other than x86-64.
pub(super) fn data_addresses(code: &[u8], address: u64) -> Vec<u64> {
    if !cfg!(target_arch = "x86_64") {
        return Vec::new();
    }
    let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let instructions = decoder.into_iter();
    instructions
        .filter(Instruction::is_ip_rel_memory_operand)
        .map(|instruction| instruction.ip_rel_memory_address())
        .collect()
}

/// The relative jumps in `code`, which begins at `address`, without calls: their addresses and
/// where they lead. None on machines other than x86-64.
pub(super) fn jumps(code: &[u8], address: u64) -> Vec<(u64, u64)> {
    let branches = branches(code, address).into_iter();
    branches
        .filter(|(branch, _)| branch.flow_control() != FlowControl::Call)
        .map(|(jump, target)| (jump.ip(), target))
        .collect()
}

fn branches(code: &[u8], address: u64) -> Vec<(Instruction, u64)> {
    if !cfg!(target_arch = "x86_64") {
        return Vec::new();
    }
    let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let target = |instruction| Some((instruction, branch_target(&instruction)?));
    decoder.into_iter().filter_map(target).collect()
}
