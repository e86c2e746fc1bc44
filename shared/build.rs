//! Builds the BPF objects of the attach self-tests.

fn main() -> Result<(), memtools_bpf::BuildError> {
    memtools_bpf::build("probe_test")?;
    memtools_bpf::build("trace_test")
}
