//! Builds the BPF object of memleak.

fn main() -> Result<(), memtools_bpf::BuildError> {
    memtools_bpf::build("memleak")
}
