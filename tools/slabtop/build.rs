//! Builds the BPF object of slabtop.

fn main() -> Result<(), memtools_bpf::BuildError> {
    memtools_bpf::build("slabtop")
}
