//! Builds the BPF objects of memleak.

fn main() -> Result<(), memtools_bpf::BuildError> {
    memtools_bpf::build("memleak")?;
    memtools_bpf::build("memleak_kernel")
}
