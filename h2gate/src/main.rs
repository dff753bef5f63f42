//! `h2gate`: see the library's [`h2gate::main`], the table of contents.

/// Many small buffers come and go on one thread each; mimalloc keeps them there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    h2gate::main()
}
