//! Each test states what a real compiler made of a function, and where its probe belongs.
#![cfg(target_arch = "x86_64")]

use proptest::prelude::*;

use super::Cost::Emulated;
use super::*;

const ADDRESS: u64 = 0x7f00_0009_8930;

/// glibc 2.36, Debian.
const GLIBC_MALLOC: &str =
    "41 54 55 53 48 89 fb 48 83 ec 10 80 3d 46 1b 14 00 00 0f 84 f8 01 00 00";
const GLIBC_FREE: &str = "48 85 ff 0f 84 bf 00 00 00 55 48 8d 77 f0 53 48 83 ec 18 \
    48 8b 1d d6 9e 13 00 48 8b 47 f8 64 8b 2b a8 02 75 5b";
const GLIBC_CALLOC: &str = "41 55 48 89 f8 41 54 55 53 48 83 ec 18 48 f7 e6 48 89 c3 0f 90 c0";
const GLIBC_REALLOCARRAY: &str = "48 89 f0 48 f7 e2 48 89 c6 70 05 e9 40 b8 f8 ff \
    48 8b 05 e9 85 13 00 64 c7 00 0c 00 00 00 31 c0 c3";
const GLIBC_POSIX_MEMALIGN: &str =
    "80 3d 01 02 14 00 00 41 54 49 89 d4 55 48 89 fd 53 48 89 f3 74 5a";
const GLIBC_MEMALIGN: &str = "80 3d 71 0e 14 00 00 74 07 e9 32 f6 ff ff 66 90 48 83 ec 18";
const GLIBC_MMAP: &str = "41 89 ca 41 f7 c1 ff 0f 00 00 75 14 b8 09 00 00 00 0f 05 \
    48 3d 00 f0 ff ff 77 25 c3";
const GLIBC_MUNMAP: &str = "b8 0b 00 00 00 0f 05 48 3d 01 f0 ff ff 73 01 c3 48 8b 0d c9 13 0d 00";
const GLIBC_MREMAP: &str = "48 83 ec 58 4c 89 44 24 40 31 c0 83 f9 07 77 5a";
/// As Ubuntu and Fedora build glibc: an `endbr64` first.
const CET_MALLOC: &str = "f3 0f 1e fa 41 54 55 53 48 89 fb 48 83 ec 10";
const CET_FREE: &str = "f3 0f 1e fa 48 85 ff 0f 84 bb 00 00 00 55 48 8d 77 f0 53";
/// GCC 12 with -fcf-protection: a function that calls malloc and checks the result.
const CET_WRAPPER: &str =
    "f3 0f 1e fa 48 83 ec 08 e8 10 20 30 00 48 85 c0 0f 84 00 10 00 00 48 83 c4 08 c3";
/// The same, but with the size computed from two arguments.
const CET_PRODUCT: &str = "f3 0f 1e fa 48 0f af fe 48 83 ec 08 e8 10 20 30 00 48 85 c0 74 05";
/// libstdc++ 12, Debian.
const OPERATOR_NEW: &str = "f3 0f 1e fa 48 85 ff b8 01 00 00 00 53 48 0f 45 c7 48 89 c3 48 89 df \
    e8 64 08 ff ff 48 85 c0 74 02 5b c3";
const OPERATOR_DELETE: &str = "f3 0f 1e fa e9 87 2f ff ff";
/// musl 1.2.3, Debian.
const MUSL_FREE: &str = "e9 bb 0a 00 00";
const MUSL_CALLOC: &str = "41 54 49 89 f4 55 53 48 85 f6 74 0c 48 89 f8 48 f7 e6";
const MUSL_REALLOCARRAY: &str =
    "48 89 d1 48 85 d2 74 08 48 89 f0 48 f7 e1 70 09 48 0f af f1 e9 27 b0 fe ff";
const MUSL_MUNMAP: &str = "55 48 89 f5 53 48 89 fb 48 83 ec 08 e8 6f c3 02 00 b8 0b 00 00 00";
const MUSL_VALLOC: &str = "48 89 fe bf 00 10 00 00 e9 a3 49 ff ff";
const MUSL_SBRK: &str = "48 85 ff 75 0b b8 0c 00 00 00 0f 05 c3";
/// GCC 12: a walk along a list, and a loop straight behind the entry.
const LIST_WALK: &str = "f3 0f 1e fa 31 c0 48 85 ff 74 15 0f 1f 44 00 00 48 8b 3f 48 83 c0 01 \
    48 85 ff 75 f4 c3 0f 1f 00 c3";
const POWER: &str =
    "f3 0f 1e fa b8 01 00 00 00 0f 1f 80 00 00 00 00 48 0f af c7 48 83 ee 01 75 f6 c3";
/// GCC 12: a switch by jump table.
const SWITCH: &str = "f3 0f 1e fa 48 83 ec 08 83 ff 05 77 35 48 8d 15 00 10 00 00 89 ff \
    48 63 04 ba 48 01 d0 3e ff e0 0f 1f 40 00 48 83 c4 08 c3";

const PROLOGUES: [&str; 23] = [
    GLIBC_MALLOC,
    GLIBC_FREE,
    GLIBC_CALLOC,
    GLIBC_REALLOCARRAY,
    GLIBC_POSIX_MEMALIGN,
    GLIBC_MEMALIGN,
    GLIBC_MMAP,
    GLIBC_MUNMAP,
    GLIBC_MREMAP,
    CET_MALLOC,
    CET_FREE,
    CET_WRAPPER,
    CET_PRODUCT,
    OPERATOR_NEW,
    OPERATOR_DELETE,
    MUSL_FREE,
    MUSL_CALLOC,
    MUSL_REALLOCARRAY,
    MUSL_MUNMAP,
    MUSL_VALLOC,
    LIST_WALK,
    POWER,
    SWITCH,
];

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// A probe for `arguments` arguments and a return.
fn with_return(arguments: u8) -> Needs {
    Needs {
        arguments,
        return_address: true,
        ..Needs::default()
    }
}

fn entry_only(arguments: u8) -> Needs {
    Needs {
        arguments,
        ..Needs::default()
    }
}

fn free() -> Needs {
    Needs {
        may_miss_null: true,
        ..with_return(1)
    }
}

#[track_caller]
fn assert_place(hex: &str, needs: Needs, offset: u64, cost: Cost, instruction: &str) {
    let place = place(&bytes(hex), ADDRESS, &needs);
    assert_eq!((place.offset, place.cost), (offset, cost), "{place:?}");
    assert!(place.instruction.starts_with(instruction), "{place:?}");
}

#[track_caller]
fn assert_entry(hex: &str, needs: Needs) {
    let place = place(&bytes(hex), ADDRESS, &needs);
    assert_eq!(
        (place.offset, place.cost),
        (0, Cost::SingleStepped),
        "{place:?}"
    );
}

#[test]
fn functions_that_begin_with_a_push() {
    assert_place(GLIBC_MALLOC, with_return(1), 0, Emulated, "push r12");
    assert_place(GLIBC_CALLOC, with_return(2), 0, Emulated, "push r13");
    assert_place(MUSL_CALLOC, with_return(2), 0, Emulated, "push r12");
    assert_place(MUSL_MUNMAP, with_return(2), 0, Emulated, "push rbp");
}

#[test]
fn free_is_probed_at_its_branch_or_behind_it() {
    assert_place(GLIBC_FREE, with_return(1), 3, Emulated, "je 0x7f00000989f8");
    assert_place(GLIBC_FREE, free(), 9, Emulated, "push rbp");
    assert_place(CET_FREE, with_return(1), 7, Emulated, "je ");
    assert_place(CET_FREE, free(), 13, Emulated, "push rbp");
}

#[test]
fn endbr64_is_stepped_over() {
    assert_place(CET_MALLOC, with_return(1), 4, Emulated, "push r12");
    assert_place(CET_WRAPPER, entry_only(1), 8, Emulated, "call ");
    assert_place(OPERATOR_NEW, with_return(1), 12, Emulated, "push rbx");
}

#[test]
fn a_tail_call_is_a_place() {
    assert_place(OPERATOR_DELETE, with_return(1), 4, Emulated, "jmp ");
    assert_place(MUSL_FREE, with_return(1), 0, Emulated, "jmp ");
    // The argument moves to another register on the way.
    assert_entry(MUSL_VALLOC, with_return(1));
    assert_place(MUSL_VALLOC, with_return(0), 8, Emulated, "jmp ");
}

#[test]
fn a_moved_stack_pointer_ends_the_search() {
    assert_entry(CET_WRAPPER, with_return(1));
    assert_entry(GLIBC_MREMAP, with_return(0));
    assert_place(GLIBC_MREMAP, entry_only(4), 14, Emulated, "ja ");
}

#[test]
fn a_lost_argument_ends_the_search() {
    // `mul rdx` writes rdx, `mov rsi, rax` the second argument.
    assert_entry(GLIBC_REALLOCARRAY, with_return(3));
    assert_place(GLIBC_REALLOCARRAY, with_return(1), 9, Emulated, "jo ");
    assert_entry(CET_PRODUCT, entry_only(2));
    assert_place(CET_PRODUCT, entry_only(0), 12, Emulated, "call ");
    // The fourth argument is copied over with the third.
    assert_place(MUSL_REALLOCARRAY, with_return(3), 6, Emulated, "je ");
    assert_entry(MUSL_REALLOCARRAY, with_return(4));
}

#[test]
fn compares_with_memory_are_stepped_over() {
    assert_place(
        GLIBC_POSIX_MEMALIGN,
        with_return(3),
        7,
        Emulated,
        "push r12",
    );
    assert_place(GLIBC_MEMALIGN, with_return(2), 7, Emulated, "je ");
    assert_place(GLIBC_MMAP, with_return(6), 10, Emulated, "jne ");
}

#[test]
fn system_calls_are_not_stepped_over() {
    assert_entry(GLIBC_MUNMAP, with_return(2));
    assert_entry(GLIBC_MUNMAP, entry_only(0));
    // Not the branch that is taken for zero.
    let needs = Needs {
        may_miss_null: true,
        ..with_return(1)
    };
    assert_place(MUSL_SBRK, needs, 3, Emulated, "jne ");
}

#[test]
fn no_branch_leads_into_the_range_stepped_over() {
    assert_place(LIST_WALK, with_return(1), 9, Emulated, "je ");
    // Behind the null branch there is only a loop.
    assert_place(LIST_WALK, free(), 9, Emulated, "je ");
    assert_entry(POWER, entry_only(0));
    // A jump back to the entry does not matter: endbr64; push rbx; jmp entry.
    assert_place(
        "f3 0f 1e fa 53 eb f9",
        with_return(0),
        4,
        Emulated,
        "push rbx",
    );
    // One to the place itself does: endbr64; push rbx; jmp push.
    assert_entry("f3 0f 1e fa 53 eb fd", with_return(0));
    // The same with its offset in 32 bits, as `call`, and as a label's address.
    assert_entry("f3 0f 1e fa 53 e9 fa ff ff ff", with_return(0));
    assert_entry("f3 0f 1e fa 53 e8 fa ff ff ff", with_return(0));
    assert_entry("f3 0f 1e fa 53 48 8d 05 f8 ff ff ff", with_return(0));
}

#[test]
fn branches_are_found_behind_bytes_that_do_not_decode() {
    // An instruction with an XOP prefix, of a map that nobody has used, and data, each before `jmp`
    // to the push.
    assert_entry("f3 0f 1e fa 53 c3 8f eb 78 ff c0 eb f7", with_return(0));
    assert_entry("f3 0f 1e fa 53 c3 06 0e 62 eb f9", with_return(0));
}

#[test]
fn jump_tables_leave_only_pushes() {
    assert_entry(SWITCH, entry_only(1));
    let pushed = SWITCH.replace("48 83 ec 08", "53 48 89 fb");
    assert_place(&pushed, with_return(1), 4, Emulated, "push rbx");
    // endbr64; test edi, edi; js; then three kinds of table jump, and a tail call.
    let start = "f3 0f 1e fa 85 ff 78 0c ";
    assert_entry(&format!("{start} ff 24 fd 00 20 40 00"), with_return(1));
    assert_entry(&format!("{start} 48 01 d0 89 f7 ff e0"), with_return(1));
    assert_entry(&format!("{start} 3e ff e2"), with_return(1));
    let tail_call = format!("{start} 48 01 d0 48 8b 00 ff e0");
    assert_place(&tail_call, with_return(1), 6, Emulated, "js ");
}

#[test]
fn only_the_null_test_of_the_first_argument_is_branched_past() {
    let behind = |test: &str| place(&bytes(&format!("{test} 74 10 53")), 0, &free()).offset;
    assert_eq!(behind("48 85 ff"), 5, "test rdi, rdi");
    assert_eq!(behind("48 85 ff 48 89 f8"), 8, "flags kept by mov");
    assert_eq!(behind("85 ff"), 2, "edi is zero for some blocks too");
    assert_eq!(behind("48 85 f6"), 3, "rsi");
    assert_eq!(behind("48 85 fe"), 3, "test rsi, rdi");
    assert_eq!(behind("48 85 ff 48 ff c8"), 6, "flags written by dec");
    assert_eq!(behind("48 83 ff 08"), 4, "cmp");
    // rdi is no longer the argument.
    let needs = Needs {
        arguments: 0,
        ..free()
    };
    let code = bytes("48 89 f7 48 85 ff 74 10 53");
    assert_eq!(place(&code, 0, &needs).offset, 6);
}

#[test]
fn writes_of_every_kind_are_seen() {
    for write in [
        "bf 01 00 00 00", // mov edi, 1
        "40 b7 01",       // mov dil, 1
        "66 bf 01 00",    // mov di, 1
        "48 97",          // xchg rdi, rax
        "48 0f 44 f8",    // cmove rdi, rax
        "48 0f b1 c7",    // cmpxchg rdi, rax
        "5f",             // pop rdi
        "aa",             // stosb
        "0f a2 48 89 c7", // cpuid; mov rdi, rax
    ] {
        assert_entry(&format!("{write} 53"), entry_only(1));
    }
    assert_entry("0f 31 53", entry_only(3)); // rdtsc
    assert_entry("48 99 53", entry_only(3)); // cqo
    assert_entry(
        "48 8b 2f 53",
        Needs {
            frame_pointer: true,
            ..with_return(1)
        },
    );
    assert_entry("48 89 3c 24 53", with_return(1)); // mov [rsp], rdi
    assert_entry("48 89 7c 24 fc 53", with_return(1)); // half of it
    assert_entry("48 89 3c 04 53", with_return(1)); // mov [rsp+rax], rdi
    assert_place("48 89 7c 24 f8 53", with_return(1), 5, Emulated, "push"); // red zone
    assert_place("48 89 7c 24 08 53", with_return(1), 5, Emulated, "push");
}

#[test]
fn what_ends_or_publishes_is_not_stepped_over() {
    for stop in [
        "c3",
        "f4",
        "0f 0b",
        "cc",
        "cd 80",
        "0f 05",
        "ff e0",
        "ff d0",
        "fa",
        "0f 01 c1",
        "f3 aa",
        "f0 48 0f c1 06",
        "48 87 06",
        "c7 f8 10 00 00 00",
    ] {
        let place = place(&bytes(&format!("{stop} 53")), ADDRESS, &entry_only(0));
        assert_eq!(place.offset, 0, "{stop}: {place:?}");
    }
}

#[test]
fn only_exact_encodings_count_as_emulated() {
    for emulated in [
        "90",
        "66 90",
        "54",
        "41 57",
        "50",
        "eb 10",
        "7f 10",
        "0f 8f 10 00 00 00",
    ] {
        let place = place(&bytes(emulated), ADDRESS, &entry_only(0));
        assert_eq!(place.cost, Emulated, "{emulated}");
    }
    for stepped in [
        "f3 90",
        "41 90",
        "48 55",
        "40 55",
        "66 55",
        "6a 10",
        "ff 36",
        "e3 10",
        "e2 10",
        "0f 1f 00",
        "0f 1f 44 00 00",
        "48 e9 10 00 00 00",
        "f2 e9 10 00 00 00",
        "f3 0f 1e fa",
    ] {
        let place = place(&bytes(stepped), ADDRESS, &entry_only(0));
        assert_eq!(place.cost, Cost::SingleStepped, "{stepped}");
    }
}

#[test]
fn an_entry_that_the_kernel_refuses_is_left() {
    // A nop of ten bytes has a CS prefix; mov rax, rdi; ret.
    let code = "66 2e 0f 1f 84 00 00 00 00 00 48 89 f8 c3";
    assert_place(
        code,
        with_return(1),
        10,
        Cost::SingleStepped,
        "mov rax, rdi",
    );
    // Nothing else is there: a branch with a prefix.
    assert_entry("3e 74 10 c3", with_return(1));
}

#[test]
fn an_instruction_that_the_kernel_mistakes_is_known_and_left() {
    for mistaken in [
        "41 90",             // xchg rax, r8
        "49 90",             // the same, with REX.W
        "c5 f9 7e c0",       // vmovd eax, xmm0
        "c4 e1 79 7e c0",    // in three bytes of VEX
        "62 f1 7d 08 7e c0", // in EVEX
        "c5 fe 7f 07",       // vmovdqu [rdi], ymm0
        "c5 fd 74 0f",       // vpcmpeqb
        "c5 f8 77",          // vzeroupper
        "c5 fd eb c1",       // vpor
    ] {
        assert!(endangers(&bytes(mistaken)), "{mistaken}");
    }
    for right in [
        "",
        "90",
        "40 90",
        "48 90",
        "c5",
        "c5 f9 ef c0",
        "66 0f 7e c0",
        "74 10",
    ] {
        assert!(!endangers(&bytes(right)), "{right}");
    }
    assert_place(
        "49 90 48 89 f8 c3",
        with_return(0),
        2,
        Cost::SingleStepped,
        "mov",
    );
}

#[test]
fn a_probe_is_never_moved_onto_an_avx_instruction() {
    for avx in [
        "c5 fd ef c0",       // vpxor, in two bytes of VEX
        "c4 e2 7d 58 c0",    // vpbroadcastd, in three
        "62 f1 7d 48 ef c0", // in EVEX
    ] {
        // Behind an entry that takes none.
        let code = format!("41 90 {avx} 48 89 f8 c3");
        let behind = bytes(avx).len() as u64 + 2;
        assert_place(&code, with_return(0), behind, Cost::SingleStepped, "mov");
        assert_entry(&format!("41 90 {avx} c5 f8 77"), with_return(0));
        // As the entry itself it stays.
        assert_entry(&format!("{avx} 48 89 f8 c3"), with_return(0));
    }
}

#[test]
fn anything_is_answered() {
    assert_eq!(place(&[], 0, &free()).offset, 0);
    assert_entry("06", free());
    assert_entry("e9 00", free());
    assert_eq!(
        place(&bytes("0f 1e fa 53"), u64::MAX - 1, &free()).offset,
        3
    );
    // Too far from the entry to count as its prologue.
    assert_entry(&format!("{} 53", "48 89 f8 ".repeat(30)), free());
}

#[test]
fn cost_has_a_name() {
    assert_eq!(
        format!("{:<14}|{}", Emulated, Cost::SingleStepped),
        "emulated      |single-stepped"
    );
}

/// Instructions that write their first operand, if nothing else is said of them.
#[rustfmt::skip]
const WRITERS: [Mnemonic; 44] = {
    use Mnemonic::*;
    [
        Mov, Movzx, Movsx, Movsxd, Lea, Pop, Bswap, Add, Adc, Sub, Sbb, Inc, Dec, Neg, Not,
        And, Or, Xor, Rol, Ror, Rcl, Rcr, Shl, Shr, Sar, Shld, Shrd, Btc, Btr, Bts, Cmpxchg,
        Cmove, Cmovne, Cmova, Cmovb, Cmovg, Cmovl, Sete, Setne, Seta, Setb, Setg, Setl, Seto,
    ]
};

/// Registers that an instruction certainly writes, worked out from its operands and from a list of
/// instructions that write others than they name.
fn written(instruction: &Instruction) -> Vec<Register> {
    use Mnemonic as M;
    let count = match instruction.mnemonic() {
        M::Xchg | M::Xadd => 2,
        M::Imul if instruction.op_count() > 1 => 1,
        other => u32::from(WRITERS.contains(&other)),
    };
    let mut registers: Vec<Register> = (0..count)
        .filter(|operand| instruction.op_kind(*operand) == OpKind::Register)
        .map(|operand| instruction.op_register(operand).full_register())
        .collect();
    registers.extend(match instruction.mnemonic() {
        M::Mul | M::Div | M::Idiv if is_byte(instruction) => Vec::new(),
        M::Mul | M::Div | M::Idiv | M::Cwd | M::Cdq | M::Cqo | M::Rdtsc => vec![Register::RDX],
        M::Imul if instruction.op_count() == 1 && !is_byte(instruction) => vec![Register::RDX],
        M::Cpuid | M::Rdtscp => vec![Register::RDX, Register::RCX],
        M::Stosb | M::Stosd | M::Stosq | M::Scasb | M::Scasd | M::Scasq => vec![Register::RDI],
        M::Lodsb | M::Lodsd | M::Lodsq => vec![Register::RSI],
        // Some of their names are those of SSE moves and compares, too.
        M::Movsb | M::Movsd | M::Movsq | M::Cmpsb | M::Cmpsd
            if instruction.is_string_instruction() =>
        {
            vec![Register::RDI, Register::RSI]
        }
        M::Push | M::Pop | M::Pushfq | M::Popfq => vec![Register::RSP],
        M::Leave | M::Enter => vec![Register::RSP, Register::RBP],
        _ => Vec::new(),
    });
    registers
}

/// Byte multiplication and division stay within ax.
fn is_byte(instruction: &Instruction) -> bool {
    match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size() == 1,
        _ => instruction.memory_size().size() == 1,
    }
}

fn check(code: &[u8], address: u64, needs: Needs) -> Result<(), TestCaseError> {
    let place = place(code, address, &needs);
    let offset = place.offset as usize;
    prop_assert!(offset == 0 || offset < code.len());
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    while decoder.position() < offset {
        let instruction = decoder.decode();
        prop_assert!(!instruction.is_invalid());
        let je = instruction.mnemonic() == Mnemonic::Je && needs.may_miss_null;
        prop_assert!(instruction.flow_control() == FlowControl::Next || je);
        for register in written(&instruction) {
            let argument = ARGUMENTS.iter().position(|a| *a == register);
            let needed = argument.is_some_and(|index| index < usize::from(needs.arguments));
            prop_assert!(!needed, "{} writes {:?}", instruction, register);
            prop_assert!(!(needs.return_address && register == Register::RSP));
            prop_assert!(!(needs.frame_pointer && register == Register::RBP));
        }
    }
    prop_assert_eq!(decoder.position(), offset);
    // The plain reading of the whole function, which every other one must contain.
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            break;
        }
        if instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near() {
            let target = instruction.near_branch_target().wrapping_sub(address);
            prop_assert!(!(1..=place.offset).contains(&target));
        }
    }
    Ok(())
}

prop_compose! {
    fn any_needs()(arguments in 0..8u8, flags in any::<[bool; 3]>()) -> Needs {
        Needs {
            arguments,
            return_address: flags[0],
            may_miss_null: flags[1],
            frame_pointer: flags[2],
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn holds_for_any_bytes(
        code in prop::collection::vec(any::<u8>(), 0..200),
        address in any::<u64>(),
        needs in any_needs(),
    ) {
        check(&code, address, needs)?;
    }

    #[test]
    fn holds_for_damaged_prologues(
        prologues in prop::collection::vec(prop::sample::select(PROLOGUES.to_vec()), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        needs in any_needs(),
    ) {
        let mut code: Vec<u8> = prologues.iter().flat_map(|hex| bytes(hex)).collect();
        for (index, byte) in damage {
            let index = index.index(code.len());
            code[index] = byte;
        }
        check(&code, ADDRESS, needs)?;
    }
}

#[test]
fn refused_instructions_are_known() {
    // lock dec dword ptr [rdi]; push rbp; nothing.
    assert!(is_probe_refused(&[0xf0, 0xff, 0x0f]));
    assert!(!is_probe_refused(&[0x55]));
    assert!(!is_probe_refused(&[]));
}
