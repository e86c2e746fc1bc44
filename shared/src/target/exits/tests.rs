//! Each test states what a function's code is and by which instructions it is left.
#![cfg(target_arch = "x86_64")]

use proptest::prelude::*;

use super::ExitKind::{ConditionalTailJump, Return, TailJump};
use super::*;

const ADDRESS: u64 = 0x1000;

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// A function at [`ADDRESS`] with further parts, each 0x100 bytes behind the one before it.
fn of(parts: &[&str]) -> Exits {
    let code: Vec<Vec<u8>> = parts.iter().map(|hex| bytes(hex)).collect();
    let part = |(index, code)| Part {
        code,
        address: ADDRESS + 0x100 * index as u64,
    };
    let parts: Vec<Part> = code
        .iter()
        .map(Vec::as_slice)
        .enumerate()
        .map(part)
        .collect();
    exits(&parts)
}

#[track_caller]
fn assert_exits(parts: &[&str], sites: &[(u64, ExitKind)]) -> Exits {
    let exits = of(parts);
    let found: Vec<_> = exits
        .sites
        .iter()
        .map(|e| (e.address - ADDRESS, e.kind))
        .collect();
    assert_eq!(found, sites, "{exits:?}");
    assert!(exits.is_complete && exits.why_not.is_none(), "{exits:?}");
    exits
}

#[track_caller]
fn assert_incomplete(parts: &[&str], why: &str) {
    let exits = of(parts);
    assert!(!exits.is_complete);
    let reason = exits.why_not.unwrap_or_default();
    assert!(reason.starts_with(why), "{reason}");
}

#[test]
fn returns_of_each_form() {
    for ret in ["c3", "c2 10 00", "f3 c3", "f2 c3"] {
        let exits = assert_exits(&[ret], &[(0, Return)]);
        assert!(!exits.makes_calls);
    }
    // test edi, edi; je +1; ret; push rbx; pop rbx; ret
    assert_exits(&["85 ff 74 01 c3 53 5b c3"], &[(4, Return), (7, Return)]);
    // jmp to itself: it never ends.
    assert_exits(&["90 eb fe"], &[]);
}

#[test]
fn far_returns_are_not_understood() {
    for ret in [
        "cb", "48 cb", "ca 08 00", "cf", "48 cf", "66 0f 07", "48 0f 07",
    ] {
        let exits = of(&[ret]);
        assert!(!exits.is_complete && exits.sites.is_empty(), "{ret}");
    }
}

#[test]
fn jumps_out_are_tail_calls() {
    assert!(assert_exits(&["e9 00 20 00 00"], &[(0, TailJump)]).makes_calls);
    // je far away; ret
    let exits = assert_exits(
        &["0f 84 00 20 00 00 c3"],
        &[(0, ConditionalTailJump { condition: 4 }), (6, Return)],
    );
    assert!(exits.makes_calls);
    // jg in two bytes
    assert_exits(
        &["7f 70 c3"],
        &[(0, ConditionalTailJump { condition: 15 }), (2, Return)],
    );
    assert_exits(
        &["70 70 c3"],
        &[(0, ConditionalTailJump { condition: 0 }), (2, Return)],
    );
    // jmp rax, jmp [rdi+8], jmp [rip+8]
    for jump in ["ff e0", "ff 67 08", "ff 25 08 00 00 00"] {
        assert_exits(&[jump], &[(0, TailJump)]);
    }
    assert_incomplete(&["e3 70 c3"], "a conditional exit"); // jrcxz
    assert_incomplete(&["ff 2f"], "a far jump");
}

#[test]
fn a_jump_to_the_entry_is_a_call_of_itself() {
    assert_exits(
        &["ff cf 75 fc c3"],
        &[(2, ConditionalTailJump { condition: 5 }), (4, Return)],
    );
    assert_exits(&["ff cf eb fc"], &[(2, TailJump)]);
    // call entry
    assert!(assert_exits(&["e8 fb ff ff ff c3"], &[(5, Return)]).makes_calls);
}

#[test]
fn jumps_to_other_parts_stay_in_the_function() {
    // push rbx; je cold; pop rbx; ret. In the cold part: pop rbx; ret, or jump back.
    let hot = "53 0f 84 f9 00 00 00 5b c3";
    let cold_end = [(8, Return), (0x101, Return)];
    assert_exits(&[hot, "5b c3"], &cold_end);
    assert_exits(&[hot, "90 e9 01 ff ff ff"], &[(8, Return)]);
    // Without the part at hand it is no tail call: something is on the stack.
    assert_incomplete(&[hot], "it goes on in code without a symbol");
}

#[test]
fn a_part_that_is_called_is_a_function() {
    // call part; ret
    assert_exits(&["e8 fb 00 00 00 c3", "c3"], &[(5, Return)]);
    // je part; call part; ret
    let both = "0f 84 fa 00 00 00 e8 f5 00 00 00 c3";
    assert_incomplete(&[both, "c3"], "a part of it is both called and jumped to");
}

/// endbr64; sub rsp, 8; cmp edi, 5; ja; lea rdx; mov edi, edi; movsxd rax; add rax, rdx;
/// notrack jmp rax; add rsp, 8; ret; and a case with a return of its own.
const SWITCH: &str = "f3 0f 1e fa 48 83 ec 08 83 ff 05 77 14 48 8d 15 00 10 00 00 89 ff \
    48 63 04 ba 48 01 d0 3e ff e0 90 48 83 c4 08 c3 31 c0 48 83 c4 08 c3";

#[test]
fn jump_tables_are_no_exits() {
    assert_exits(&[SWITCH], &[(0x25, Return), (0x2c, Return)]);
    // Without a frame, as GCC makes it for position-dependent code: cmp; ja; jmp [rdi*8]; ret; ret
    assert_exits(
        &["83 ff 05 77 0a 89 ff ff 24 fd 00 20 40 00 c3 90 31 c0 c3"],
        &[(0xf - 1, Return), (0x12, Return)],
    );
    // push rbp; mov rbp, rsp; mov rax, [rdi*8]; jmp rax; leave; ret: as GCC does without
    // optimization
    assert_exits(
        &["55 48 89 e5 48 8b 04 fd 00 20 40 00 ff e0 c9 c3"],
        &[(0xf, Return)],
    );
}

#[test]
fn a_tail_call_by_table_leaves_nothing_unreached() {
    // mov edi, edi; jmp [rdi*8]
    assert_exits(&["89 ff ff 24 fd 00 20 40 00"], &[(2, TailJump)]);
    // push rbx; test; je +9; pop rbx; jmp [rdi*8+0x402000]; nop; pop rbx; ret
    assert_exits(
        &["53 85 ff 74 09 5b ff 24 fd 00 20 40 00 90 5b c3"],
        &[(6, TailJump), (15, Return)],
    );
}

#[test]
fn the_stack_is_followed_through_frames_of_each_kind() {
    let out = "e9 00 20 00 00";
    for (start, end) in [
        ("53", "5b"),                                        // push rbx
        ("48 83 ec 18", "48 83 c4 18"),                      // sub rsp, 24
        ("48 81 ec 00 10 00 00", "48 81 c4 00 10 00 00"),    // sub rsp, 4096
        ("55 48 89 e5 48 83 ec 20", "c9"),                   // leave
        ("55 48 89 e5 53 48 83 e4 e0", "48 8d 65 f8 5b 5d"), // and rsp; lea rsp, [rbp-8]
        ("55 48 89 e5 48 29 c4", "48 89 ec 5d"),             // sub rsp, rax; mov rsp, rbp
        ("41 57 6a 01 9c", "9d 58 41 5f"),                   // push 1, pushf
        ("48 8d 64 24 f8", "48 8d 64 24 08"),                // lea rsp, [rsp-8]
    ] {
        let length = bytes(&format!("{start} {end}")).len() as u64;
        assert_exits(&[&format!("{start} {end} {out}")], &[(length, TailJump)]);
        assert_exits(&[&format!("{start} {end} c3")], &[(length, Return)]);
    }
    assert_incomplete(
        &[&format!("53 {out}")],
        "it goes on in code without a symbol",
    );
    // As a retpoline does.
    assert_incomplete(&["50 c3"], "a return with the stack not at its start");
}

#[test]
fn calls_of_each_kind_are_seen() {
    for call in [
        "e8 00 20 00 00",
        "ff d0",
        "ff 15 00 20 00 00",
        "0f 05",
        "cd 80",
        "0f 34",
    ] {
        assert!(of(&[&format!("{call} c3")]).makes_calls, "{call}");
    }
    for other in ["90", "0f a2", "cc", "0f 0b"] {
        assert!(!of(&[&format!("{other} c3")]).makes_calls, "{other}");
    }
}

#[test]
fn what_cannot_be_relied_on_is_said() {
    assert_incomplete(&[], "it has no code");
    assert_incomplete(&[""], "it has no code");
    assert_incomplete(&["06 c3"], "bytes that are no known instruction");
    assert_incomplete(&["90 e9 00"], "bytes that are no known instruction");
    assert_incomplete(&["31 c0"], "the code runs on beyond its end");
    assert_incomplete(
        &["eb 01 b8 c3 00 00 00 c3"],
        "a branch leads into the middle",
    );
    assert_incomplete(&["e8 00 00 00 00 58 c3"], "it calls code of its own");
    // A branch hint, and an operand-size prefix.
    assert_incomplete(&["3e 74 70 c3"], "no probe can be placed");
    assert_incomplete(&["53 c3"], "a return with the stack");
    let long = vec![0x90; MAX_CODE as usize];
    let part = Part {
        code: &long,
        address: ADDRESS,
    };
    assert!(exits(&[part]).why_not.unwrap().starts_with("it is longer"));
    let part = Part {
        code: &[0x90, 0xc3],
        address: ADDRESS,
    };
    assert!(
        exits(&[part, part])
            .why_not
            .unwrap()
            .starts_with("parts of it overlap")
    );
}

#[test]
fn a_call_that_does_not_return_may_stand_at_the_end() {
    let exits = assert_exits(&["48 83 ec 08 e8 00 20 00 00"], &[]);
    assert!(exits.makes_calls);
}

#[test]
fn a_jump_past_a_lock_prefix_is_understood() {
    // je +1; lock cmpxchg [rdi], esi; ret
    assert_exits(&["74 01 f0 0f b1 37 c3"], &[(6, Return)]);
}

#[test]
fn avx_code_is_read() {
    // vpxor ymm0, ymm0, ymm0; vmovdqu64 zmm1, [rdi]; vzeroupper; ret
    assert_exits(
        &["c5 fd ef c0 62 f1 fe 48 6f 0f c5 f8 77 c3"],
        &[(13, Return)],
    );
}

/// Real functions: nearly all are understood, and those without an exit never return.
#[cfg(target_env = "gnu")]
#[test]
fn the_functions_of_libc_end_somewhere() {
    use crate::target::elf::ElfObject;

    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.contains("libc.so"));
    let object = ElfObject::open(path.unwrap().as_ref()).unwrap();
    let functions = object
        .functions_where(|name| !name.contains(".cold"))
        .unwrap();
    let sized: Vec<_> = functions.iter().filter(|f| f.size > 0).collect();
    let mut complete = 0;
    for function in &sized {
        let part = Part {
            code: &function.code,
            address: function.address,
        };
        let exits = exits(&[part]);
        complete += usize::from(exits.is_complete);
        if exits.is_complete && exits.sites.is_empty() {
            // It ends in a call that does not return, or in a system call.
            assert!(exits.makes_calls, "{}", function.name);
        }
    }
    assert!(
        complete * 10 > sized.len() * 9,
        "{complete} of {}",
        sized.len()
    );
    for name in ["malloc", "free", "qsort"] {
        for function in object.functions(&[name]).unwrap() {
            let cold = object.cold_parts(&function).unwrap();
            let parts: Vec<Part> = std::iter::once(&function)
                .chain(&cold)
                .map(|f| Part {
                    code: &f.code,
                    address: f.address,
                })
                .collect();
            let exits = exits(&parts);
            assert!(!exits.sites.is_empty(), "{name}: {exits:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(
        codes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..4),
        addresses in prop::collection::vec(prop_oneof![any::<u64>(), 0..300u64, u64::MAX - 300..=u64::MAX], 4),
    ) {
        let parts: Vec<Part> = codes
            .iter()
            .zip(addresses)
            .map(|(code, address)| Part { code, address })
            .collect();
        let exits = exits(&parts);
        prop_assert_eq!(exits.is_complete, exits.why_not.is_none());
        for pair in exits.sites.windows(2) {
            prop_assert!(pair[0] < pair[1]);
        }
        for exit in exits.sites {
            prop_assert!(parts.iter().any(|part| part.contains(exit.address)));
        }
    }

    #[test]
    fn damaged_functions_are_answered(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut code = bytes(SWITCH);
        for (index, byte) in damage {
            let index = index.index(code.len());
            code[index] = byte;
        }
        exits(&[Part { code: &code, address: ADDRESS }]);
    }
}
