//! Compiles the workloads into OUT_DIR/workloads, and the BPF objects that
//! benchmarks compare with and whose verification is measured.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Frame pointers and no tail calls: the stack is what the source says.
const C_FLAGS: &[&str] = &[
    "-g",
    "-O1",
    "-fno-omit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-pthread",
];

const C_PROGRAMS: &[&str] = &[
    "basic",
    "bigblocks",
    "busy",
    "calls",
    "deadleader",
    "deep",
    "demo",
    "dlopen",
    "escape",
    "exact",
    "exec",
    "exits",
    "fork",
    "free_first",
    "grow",
    "hold",
    "inlined",
    "interrupts",
    "mprotect",
    "oom",
    "pairs",
    "phases",
    "realloc_race",
    "signals",
    "slab",
    "swap",
    "threads",
    "tree",
    "manystacks",
    "turnover",
    "wrappers",
];

const WITHOUT_LIBC: &[&str] = &[
    "-nostdlib",
    "-static",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-pic",
    "-no-pie",
];

const PLUGINS: &[&str] = &["one", "two", "three"];

struct Builder {
    source: PathBuf,
    out: PathBuf,
}

impl Builder {
    fn c_compiler(&self, name: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
        command.args(C_FLAGS).args(flags).arg("-o");
        command.arg(self.out.join(name));
        command
    }

    fn c(&self, name: &str, source: &str, flags: &[&str]) {
        run(self.c_compiler(name, flags).arg(self.source.join(source)));
    }

    /// What not every machine can build: its tests skip themselves where the file is missing.
    fn optional(&self, name: &str, source: &str, flags: &[&str]) {
        let mut command = self.c_compiler(name, flags);
        try_run(
            command.arg(self.source.join(source)),
            &self.out.join(name),
            name,
        );
    }

    fn musl(&self, name: &str, source: &str, flags: &[&str]) {
        let target = self.out.join(name);
        let mut command = Command::new("musl-gcc");
        command
            .args(C_FLAGS)
            .args(flags)
            .arg("-o")
            .arg(&target)
            .arg(self.source.join(source));
        try_run(&mut command, &target, name);
    }

    /// With its source, which has the name's first word.
    fn cpp_compiler(&self, name: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()));
        command.args(C_FLAGS).arg("-std=c++17").args(flags);
        command.arg("-o").arg(self.out.join(name));
        let source = name.split('-').next().unwrap_or(name);
        command.arg(self.source.join(format!("{source}.cpp")));
        command
    }

    fn cpp(&self, name: &str, flags: &[&str]) {
        run(&mut self.cpp_compiler(name, flags));
    }

    fn rust_compiler(&self, name: &str, source: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command
            .args(["--edition", "2024", "-g", "-C", "force-frame-pointers=yes"])
            .args(flags)
            .arg("-o")
            .arg(self.out.join(name))
            .arg(self.source.join(source));
        command
    }

    fn rust(&self, name: &str, source: &str, flags: &[&str]) {
        run(&mut self.rust_compiler(name, source, flags));
    }

    /// Programs linked with allocators that are installed; others are not built. The libraries are named
    /// by their files: what links programs to them need not be there.
    fn allocators(&self) {
        self.cpp("allocators", &[]);
        self.cpp("allocators-static", &["-static"]);
        for (name, library) in [
            ("allocators-jemalloc", "-l:libjemalloc.so.2"),
            ("allocators-tcmalloc", "-l:libtcmalloc_minimal.so.4"),
            ("allocators-mimalloc", "-l:libmimalloc.so.2"),
        ] {
            let mut command = self.cpp_compiler(name, &["-Wl,--no-as-needed", library]);
            try_run(&mut command, &self.out.join(name), name);
        }
        for (name, library) in [
            ("jemalloc", "-l:libjemalloc.so.2"),
            ("mimalloc", "-l:libmimalloc.so.2"),
        ] {
            self.optional(name, &format!("{name}.c"), &["-Wl,--no-as-needed", library]);
        }
        let library = format!("--extern=pool={}", self.out.join("libpool.rlib").display());
        self.rust("libpool.rlib", "pool.rs", &["--crate-type=rlib", "-O"]);
        for own in ["pool", "inlined_pool", "counting"] {
            for (mode, optimized) in [("", "-Copt-level=0"), ("-release", "-O")] {
                let check = format!("cfg({own})");
                let flags = ["--cfg", own, "--check-cfg", &check, optimized, &library];
                self.rust(&format!("leak-{own}{mode}"), "leak.rs", &flags);
            }
        }
        let over_jemalloc = [
            "--cfg",
            "jemalloc",
            "--check-cfg",
            "cfg(jemalloc)",
            "-Clink-arg=-l:libjemalloc.so.2",
        ];
        let name = "leak-jemalloc";
        let mut command = self.rust_compiler(name, "leak.rs", &over_jemalloc);
        try_run(&mut command, &self.out.join(name), name);
    }

    /// A program that finds its library beside itself.
    fn with_library(&self, name: &str, library: &str) {
        let mut command = self.c_compiler(name, &[]);
        command.arg(self.source.join(format!("{name}.c")));
        command.arg("-L").arg(&self.out);
        run(command.args([library, "-Wl,-rpath,$ORIGIN"]));
    }

    fn own_allocator(&self) {
        self.c("libown.so", "own_lib.c", &["-shared", "-fPIC"]);
        self.with_library("own", "-lown");
    }

    /// The library keeps no frame pointers.
    fn sampler(&self) {
        let library = ["-shared", "-fPIC", "-O2", "-fomit-frame-pointer"];
        self.c("libsampler.so", "sampler_lib.c", &library);
        self.with_library("sampler", "-lsampler");
        self.cpp("sampler_new", &[]);
    }

    fn plugins(&self) {
        for name in PLUGINS {
            let define = format!("-DPLUGIN_NAME={name}");
            let library = format!("libplugin_{name}.so");
            self.c(&library, "dlopen_plugin.c", &["-shared", "-fPIC", &define]);
        }
    }

    /// Writes an escape sequence into a name, which no assembler would let pass.
    fn escape_names(&self) {
        let path = self.out.join("escape");
        let mut image = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let places: Vec<usize> = image
            .windows(4)
            .enumerate()
            .filter(|(_, bytes)| bytes == b"QQ31")
            .map(|(place, _)| place)
            .collect();
        assert!(!places.is_empty(), "{} has no QQ31", path.display());
        for place in places {
            image[place..place + 2].copy_from_slice(b"\x1b[");
        }
        fs::write(&path, image).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

fn run(command: &mut Command) {
    let compiler = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{command:?}: {status}"),
        Err(e) => {
            panic!("{compiler}: {e}. `cargo xtask setup --for test` installs what is missing")
        }
    }
}

fn try_run(command: &mut Command, target: &Path, name: &str) {
    // The one of an earlier build would speak for a compiler that is gone.
    let _ = fs::remove_file(target);
    let reason = match command.output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr)
            .lines()
            .next_back()
            .unwrap_or("failed")
            .to_owned(),
        Err(e) => format!("{}: {e}", command.get_program().to_string_lossy()),
    };
    println!("cargo:warning=workload {name} is not built, its tests will be skipped: {reason}");
}

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("workloads");
    println!("cargo:rerun-if-changed=workloads");
    for compiler in ["CC", "CXX"] {
        println!("cargo:rerun-if-env-changed={compiler}");
    }
    println!("cargo:rustc-env=MEMTOOLS_WORKLOADS={}", out.display());
    fs::create_dir_all(&out).unwrap_or_else(|e| panic!("{}: {e}", out.display()));

    for object in [
        "memleak",
        "memleak_kernel",
        "oomkill",
        "slabtop",
        "syscount",
        "funclatency",
        "probe_test",
        "trace_test",
    ] {
        memtools_bpf::build(object).unwrap_or_else(|e| panic!("{e}"));
    }

    let builder = Builder {
        source: manifest.join("workloads"),
        out,
    };
    for name in C_PROGRAMS {
        builder.c(name, &format!("{name}.c"), &[]);
    }
    builder.escape_names();
    builder.c("nomalloc", "nomalloc.c", WITHOUT_LIBC);
    builder.own_allocator();
    builder.sampler();
    builder.plugins();
    builder.cpp("callloop", &[]);
    builder.cpp("exceptions", &[]);
    builder.cpp("throws", &[]);
    // Neither a library nor a symbol says that it throws.
    builder.cpp("throws-static", &["-static"]);
    builder.cpp("throws-stripped", &["-static", "-s"]);
    let tail_calls = ["-O2", "-foptimize-sibling-calls"];
    let latency = |name: &str, flags: &[&str]| {
        let flags: Vec<&str> = tail_calls.iter().chain(flags).copied().collect();
        builder.c(name, "latency.c", &flags);
    };
    latency("latency", &[]);
    latency("latency-cet", &["-fcf-protection=full"]);
    latency("latency-fixed", &["-no-pie"]);
    // What is exported is still named.
    latency("latency-stripped", &["-s", "-rdynamic"]);
    builder.rust("leak", "leak.rs", &[]);
    builder.rust("leak-release", "leak.rs", &["-O"]);

    builder.optional("exact-static", "exact.c", &["-static"]);
    builder.optional("latency-static", "latency.c", &["-O2", "-static"]);
    builder.optional("exact-lsan", "exact.c", &["-fsanitize=leak"]);
    let for_32_bits: Vec<&str> = [&["-m32"], WITHOUT_LIBC].concat();
    builder.optional("nomalloc-32", "nomalloc.c", &for_32_bits);
    builder.musl("exact-musl", "exact.c", &["-static"]);
    builder.musl("exact-musl-dynamic", "exact.c", &[]);
    builder.allocators();
}
