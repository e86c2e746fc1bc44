//! Builds the BPF object of the attach self-tests.

fn main() -> Result<(), memtools_bpf::BuildError> {
    memtools_bpf::build("probe_test")
}
