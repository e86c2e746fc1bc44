//! Builds the BPF object of syscount.

fn main() -> Result<(), memtools_bpf::BuildError> {
    memtools_bpf::build("syscount")
}
