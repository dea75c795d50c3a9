//! A program with a Rust `dylib`.

#[cfg(feature = "own")]
invar::key! { #[name = "sharing.own"] static OWN: bool = |_| Ok(true); }

// The library's, as any module calls them.
#[cfg(all(target_arch = "x86_64", not(invar_portable)))]
unsafe extern "C" {
    safe fn shared_by_cpu(x: u32) -> u32;
    safe fn shared_by_key(x: u32) -> u32;
}

fn main() {
    shared::announce();
    witness::agree("read", shared::read(1_u8).into(), 1);
    #[cfg(feature = "ask")]
    witness::agree("asked", shared::ask(1_u8).into(), 1);
    #[cfg(feature = "own")]
    witness::chose("own", OWN.get(), &OWN);
    #[cfg(all(target_arch = "x86_64", not(invar_portable)))]
    witness::result("symbols outside", format_args!("{} {}", shared_by_cpu(7), shared_by_key(7)));
    #[cfg(feature = "path")]
    witness::agree("by its path", shared::shared_by_cpu(7) as u8, 3);
    witness::tell();
}
