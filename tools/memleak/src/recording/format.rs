//! The bytes of a recording: framing, and the protobuf messages. Field numbers are never given out again.
//!
//! Tables are messages of columns, not lists of messages: that is a third of the size, and memory stays in
//! proportion to the file whatever is in it. A column whose values are all zero is left out, but for the one
//! that says how many there are.

/// What a recording begins with. The first byte is not text, the last ones show a transfer as text.
pub const MAGIC: [u8; 8] = *b"\x89mleak\r\n";
/// Raised by what an older reader would read wrongly.
pub const MAJOR: u16 = 1;
/// Raised by what it can skip.
pub const MINOR: u16 = 2;
/// Magic and versions, in bytes.
pub const PREAMBLE_BYTES: usize = 12;
/// Length and two checksums, in bytes.
pub const RECORD_HEADER_BYTES: usize = 12;
/// The largest message, in bytes: 40 million blocks (`-a`).
pub const MOST_RECORD_BYTES: usize = 256 << 20;
/// What the names, frames and stacks of one recording may take in memory, in bytes.
pub const MOST_MEMORY: u64 = 2 << 30;
/// The most frames of a stack: the 127 that the kernel walks, with 31 inlined into each.
pub const MOST_FRAMES: usize = 127 * 32;

/// The payload of a record.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// `None`: of a kind that this version does not know.
    #[prost(oneof = "Kind", tags = "1, 2, 3")]
    pub kind: Option<Kind>,
}

/// What a record is.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// The first.
    #[prost(message, tag = "1")]
    Header(Header),
    /// Those that follow.
    #[prost(message, tag = "2")]
    Update(Box<Update>),
    /// The last.
    #[prost(message, tag = "3")]
    End(End),
}

/// What is known before the first update.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Header {
    #[prost(string, tag = "1")]
    pub tool_version: String,
    #[prost(string, tag = "2")]
    pub kernel_release: String,
    #[prost(string, tag = "3")]
    pub architecture: String,
    #[prost(uint64, tag = "4")]
    pub sample_rate: u64,
    /// Milliseconds.
    #[prost(uint64, tag = "5")]
    pub min_age_ms: u64,
    #[prost(bool, tag = "6")]
    pub is_combined: bool,
    #[prost(uint32, tag = "7")]
    pub pid: u32,
    #[prost(string, tag = "8")]
    pub comm: String,
    #[prost(message, optional, tag = "9")]
    pub start: Option<Time>,
}

/// How the run ended.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct End {
    #[prost(enumeration = "Reason", tag = "1")]
    pub reason: i32,
}

/// Why it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Reason {
    Other = 0,
    TargetEnded = 1,
    Interrupted = 2,
    Completed = 3,
    Detached = 4,
}

/// Seconds and nanoseconds since 1970, UTC; both have one sign.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Time {
    #[prost(sint64, tag = "1")]
    pub seconds: i64,
    #[prost(sint32, tag = "2")]
    pub nanoseconds: i32,
}

/// What changed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Update {
    #[prost(message, optional, tag = "1")]
    pub moment: Option<Moment>,
    /// Numbered on from those before.
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
    #[prost(message, optional, tag = "3")]
    pub frames: Option<Frames>,
    #[prost(message, optional, tag = "4")]
    pub rows: Option<Rows>,
    #[prost(message, optional, tag = "5")]
    pub figures: Option<Figures>,
}

/// Frames that are new.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Frames {
    /// Never left out. Differences to the one before, the first to 0.
    #[prost(sint64, repeated, tag = "1")]
    pub addr: Vec<i64>,
    /// 0: none; else the name's number and 1.
    #[prost(uint64, repeated, tag = "2")]
    pub symbol: Vec<u64>,
    /// 0: none; else bytes into the function and 1.
    #[prost(uint64, repeated, tag = "3")]
    pub offset: Vec<u64>,
    /// The name's number.
    #[prost(uint64, repeated, tag = "4")]
    pub module: Vec<u64>,
    /// As `symbol`.
    #[prost(uint64, repeated, tag = "5")]
    pub file: Vec<u64>,
    /// 0: none; else the line and 1.
    #[prost(uint64, repeated, tag = "6")]
    pub line: Vec<u64>,
    #[prost(bool, repeated, tag = "7")]
    pub inlined: Vec<bool>,
}

/// Rows that are new.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rows {
    /// Never left out: how many of `frame` are this row's, the inner part of its stack.
    #[prost(uint64, repeated, tag = "1")]
    pub frame_count: Vec<u64>,
    /// How many of the outermost frames of the row before (in this record) are also this row's.
    #[prost(uint64, repeated, tag = "2")]
    pub shared_count: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    pub class: Vec<u64>,
    /// Not by row: differences of frame numbers to the one before, the first to 0.
    #[prost(sint64, repeated, tag = "4")]
    pub frame: Vec<i64>,
}

/// [`Figures::flags`]: outer frames are missing.
pub const IS_INCOMPLETE: u64 = 1;
/// [`Figures::flags`]: the columns of births hold.
pub const HAS_BIRTHS: u64 = 2;

/// Figures of rows. Differences wrap around at 64 bits.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Figures {
    /// Never left out. Differences of row numbers to the one before, the first to 0.
    #[prost(sint64, repeated, tag = "1")]
    pub row: Vec<i64>,
    #[prost(uint64, repeated, tag = "2")]
    pub flags: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    pub live_bytes: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    pub live_count: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    pub young_bytes: Vec<u64>,
    #[prost(uint64, repeated, tag = "6")]
    pub young_count: Vec<u64>,
    /// Live less fresh.
    #[prost(uint64, repeated, tag = "7")]
    pub stale_bytes: Vec<u64>,
    /// Likewise.
    #[prost(uint64, repeated, tag = "8")]
    pub stale_count: Vec<u64>,
    #[prost(uint64, repeated, tag = "9")]
    pub allocs: Vec<u64>,
    /// Allocations less frees, live and young blocks: 0 while nothing was lost.
    #[prost(sint64, repeated, tag = "10")]
    pub unexplained: Vec<i64>,
    /// Nanoseconds since recording began.
    #[prost(uint64, repeated, tag = "11")]
    pub first_birth: Vec<u64>,
    /// Nanoseconds after the first.
    #[prost(uint64, repeated, tag = "12")]
    pub last_birth: Vec<u64>,
    /// Likewise.
    #[prost(uint64, repeated, tag = "13")]
    pub mean_birth: Vec<u64>,
    /// How many of the `size_*` are this row's.
    #[prost(uint64, repeated, tag = "14")]
    pub sizes: Vec<u64>,
    /// Not by row: the binary logarithm of sizes, rising within a row. Never left out.
    #[prost(uint64, repeated, tag = "15")]
    pub size_bucket: Vec<u64>,
    /// Likewise: blocks of such sizes.
    #[prost(uint64, repeated, tag = "16")]
    pub size_count: Vec<u64>,
    /// How many of the `block_*` are this row's.
    #[prost(uint64, repeated, tag = "17")]
    pub blocks: Vec<u64>,
    /// Not by row: differences of addresses to the one before, the first to 0. Never left out.
    #[prost(sint64, repeated, tag = "18")]
    pub block_addr: Vec<i64>,
    /// Likewise: bytes.
    #[prost(uint64, repeated, tag = "19")]
    pub block_size: Vec<u64>,
    /// The bytes of all allocations since the attach, less live and young ones.
    #[prost(uint64, repeated, tag = "20")]
    pub gone_bytes: Vec<u64>,
}

/// What holds for the whole process.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Moment {
    #[prost(message, optional, tag = "1")]
    pub time: Option<Time>,
    /// Since recording began; never falls, as `time` may.
    #[prost(uint64, tag = "2")]
    pub elapsed_ns: u64,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    #[prost(string, tag = "4")]
    pub comm: String,
    #[prost(bool, tag = "5")]
    pub has_ended: bool,
    #[prost(uint64, tag = "6")]
    pub allocs: u64,
    #[prost(uint64, tag = "7")]
    pub frees: u64,
    #[prost(uint64, tag = "8")]
    pub failed: u64,
    #[prost(uint64, tag = "9")]
    pub maps: u64,
    #[prost(uint64, tag = "10")]
    pub unmaps: u64,
    #[prost(uint64, tag = "11")]
    pub remaps: u64,
    #[prost(uint64, tag = "12")]
    pub untracked_frees: u64,
    #[prost(message, optional, tag = "13")]
    pub resident_at_attach: Option<Resident>,
    #[prost(message, optional, tag = "14")]
    pub resident_now: Option<Resident>,
    /// Bytes.
    #[prost(uint64, tag = "15")]
    pub chunk_overhead: u64,
    #[prost(uint64, tag = "16")]
    pub probe_hits: u64,
    #[prost(double, tag = "17")]
    pub probe_hits_per_s: f64,
    #[prost(double, optional, tag = "18")]
    pub probe_cpu_percent: Option<f64>,
    #[prost(message, optional, tag = "19")]
    pub loss: Option<Loss>,
    /// There where several processes are traced.
    #[prost(message, optional, tag = "20")]
    pub processes: Option<Processes>,
    /// Figures of the heap are the weights of the process's own samples.
    #[prost(bool, tag = "21")]
    pub is_sampled: bool,
}

/// Several processes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Processes {
    /// By what they were chosen, for people.
    #[prost(string, tag = "1")]
    pub chosen_by: String,
    /// As all that follow: one for each process. The outermost frame of its stacks is called
    /// `COMM (PID n)`.
    #[prost(uint32, repeated, tag = "2")]
    pub pid: Vec<u32>,
    #[prost(string, repeated, tag = "3")]
    pub comm: Vec<String>,
    #[prost(bool, repeated, tag = "4")]
    pub has_ended: Vec<bool>,
    #[prost(uint64, repeated, tag = "5")]
    pub allocs: Vec<u64>,
    #[prost(uint64, repeated, tag = "6")]
    pub frees: Vec<u64>,
    /// 0: it did not begin meanwhile; else for how long its program had run before it was traced, and 1.
    #[prost(uint64, repeated, tag = "7")]
    pub late_ns: Vec<u64>,
    /// Its probes went out because they took too much of its time; empty: nobody's did.
    #[prost(bool, repeated, tag = "8")]
    pub was_detached: Vec<bool>,
}

/// The most processes in one update.
pub const MOST_PROCESSES: usize = 1 << 16;

/// Resident memory in bytes.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Resident {
    #[prost(uint64, tag = "1")]
    pub total: u64,
    #[prost(uint64, tag = "2")]
    pub anonymous: u64,
    #[prost(uint64, tag = "3")]
    pub file: u64,
    #[prost(uint64, tag = "4")]
    pub shared: u64,
}

/// What makes figures wrong; each counts occurrences.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Loss {
    #[prost(uint64, tag = "1")]
    pub allocs: u64,
    #[prost(uint64, tag = "2")]
    pub alloc_bytes: u64,
    #[prost(uint64, tag = "3")]
    pub missed_frees: u64,
    #[prost(uint64, tag = "4")]
    pub missed_returns: u64,
    #[prost(uint64, tag = "5")]
    pub stacks: u64,
    #[prost(uint64, tag = "6")]
    pub truncated_stacks: u64,
    #[prost(uint64, tag = "7")]
    pub threads: u64,
    #[prost(uint64, tag = "8")]
    pub mapping_events: u64,
    #[prost(uint64, tag = "9")]
    pub trace_events: u64,
    #[prost(uint64, tag = "10")]
    pub blind_ms: u64,
    #[prost(uint64, tag = "11")]
    pub skipped_execs: u64,
    #[prost(uint64, tag = "12")]
    pub text_mappings: u64,
    #[prost(uint64, tag = "13")]
    pub skipped_events: u64,
    #[prost(uint64, tag = "14")]
    pub late_processes: u64,
    #[prost(uint64, tag = "15")]
    pub unseen_processes: u64,
}
