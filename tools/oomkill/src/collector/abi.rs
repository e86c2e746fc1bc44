//! The kernel side's structures (bpf/oomkill.h), checked for size.

use std::mem::offset_of;

use plain::Plain;

use super::kernel::types;

/// MAX_FRAMES in stack.h.
pub const MAX_FRAMES: usize = 127;

/// enum event_kind.
pub const EVENT_KILL: u32 = 1;
pub const EVENT_STACKS: u32 = 2;
pub const EVENT_REAPED: u32 = 3;
pub const EVENT_EXITED: u32 = 4;

/// enum kill_flag.
pub const KILL_SENT: u32 = 1 << 0;
pub const KILL_HAS_TASK: u32 = 1 << 1;
pub const KILL_HAS_DOMAIN: u32 = 1 << 2;
pub const KILL_HAS_MEMCG: u32 = 1 << 3;
pub const KILL_IS_GROUP: u32 = 1 << 4;
pub const KILL_IN_FAULT: u32 = 1 << 5;
pub const KILL_IN_CALL: u32 = 1 << 6;
pub const KILL_TEXT_CUT: u32 = 1 << 7;
pub const KILL_IS_V1: u32 = 1 << 8;
pub const KILL_HAS_FAILCNT: u32 = 1 << 9;
pub const KILL_DOMAIN_BY_STACK: u32 = 1 << 10;
pub const KILL_BY_KERNEL: u32 = 1 << 11;

/// enum oom_text.
pub const TEXTS: usize = 5;

/// struct oom_task.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Task {
    pub process: u32,
    pub thread: u32,
    pub uid: u32,
    pub oom_score_adj: i32,
    pub start_boottime_ns: u64,
    pub comm: [u8; 16],
    pub memory_cgroup: u64,
}

/// struct oom_victim.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Victim {
    pub task: Task,
    pub total_vm: u64,
    pub anon_rss: u64,
    pub file_rss: u64,
    pub shmem_rss: u64,
    pub swap: u64,
    pub pgtables_bytes: u64,
}

/// struct oom_domain.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Domain {
    pub control: u64,
    pub chosen: u64,
    pub memcg: u64,
    pub memory_cgroup: u64,
    pub total: u64,
    pub nodes: u64,
    pub points: i64,
    pub gfp: u32,
    pub order: i32,
    pub constraint: u32,
    pub reserved: u32,
    pub usage: u64,
    pub limit: u64,
    pub peak: u64,
    pub failcnt: u64,
    pub swap_usage: u64,
    pub swap_limit: u64,
}

/// struct oom_kill, without its text.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Kill {
    pub kind: u32,
    pub flags: u32,
    pub time_ns: u64,
    pub invocation: u64,
    pub victim: Victim,
    pub trigger: Task,
    pub domain: Domain,
    pub call: i64,
    pub text_bytes: u32,
    pub texts: [u16; TEXTS],
    pub reserved: u16,
}

/// struct oom_stacks.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stacks {
    pub kind: u32,
    pub flags: u32,
    pub time_ns: u64,
    pub process: u32,
    pub thread: u32,
    pub kernel_depth: u32,
    pub user_depth: u32,
    pub kernel: [u64; MAX_FRAMES],
    pub user: [u64; MAX_FRAMES],
}

impl Default for Stacks {
    fn default() -> Self {
        Self {
            kind: 0,
            flags: 0,
            time_ns: 0,
            process: 0,
            thread: 0,
            kernel_depth: 0,
            user_depth: 0,
            kernel: [0; MAX_FRAMES],
            user: [0; MAX_FRAMES],
        }
    }
}

/// struct oom_end.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct End {
    pub kind: u32,
    pub task: u32,
    pub time_ns: u64,
}

/// struct oom_process.
#[allow(clippy::struct_field_names)] // as there
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Process {
    pub process: u32,
    pub oom_score_adj: i32,
    pub anon_rss: u64,
    pub file_rss: u64,
    pub shmem_rss: u64,
    pub swap: u64,
    pub comm: [u8; 16],
}

// The sizes that oomkill.h asserts.
const _: () = assert!(size_of::<End>() == 16 && size_of::<Process>() == 56);
const _: () = assert!(size_of::<Kill>() == offset_of!(types::oom_kill, text));
const _: () = assert!(offset_of!(Kill, trigger) == offset_of!(types::oom_kill, trigger));
const _: () = assert!(offset_of!(Kill, domain) == offset_of!(types::oom_kill, domain));
const _: () = assert!(offset_of!(Kill, texts) == offset_of!(types::oom_kill, texts));
const _: () = assert!(size_of::<Stacks>() == size_of::<types::oom_stacks>());

// SAFETY: plain numbers, without padding.
unsafe impl Plain for Kill {}
// SAFETY: likewise.
unsafe impl Plain for Stacks {}
// SAFETY: likewise.
unsafe impl Plain for End {}
// SAFETY: likewise.
unsafe impl Plain for Process {}
