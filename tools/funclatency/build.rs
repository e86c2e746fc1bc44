//! Builds the BPF object of funclatency.

fn main() -> Result<(), memtools_bpf::BuildError> {
    memtools_bpf::build("funclatency")
}
