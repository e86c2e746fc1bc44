//! Builds the BPF object of oomkill.

fn main() -> Result<(), memtools_bpf::BuildError> {
    memtools_bpf::build("oomkill")
}
