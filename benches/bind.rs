//! See `x86_64/bind.rs`; elsewhere sites are not bound, and there is nothing to measure.

#[cfg_attr(
    all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable)),
    path = "x86_64/bind.rs"
)]
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(invar_portable))),
    path = "nothing.rs"
)]
mod machine;

fn main() {
    if invar_bench::is_bench() {
        machine::main();
    }
}
