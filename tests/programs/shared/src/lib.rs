//! A Rust `dylib` with keys, public and not, and with the runtime in it.

invar::key! { #[name = "shared.private"] static PRIVATE: bool = |_| Ok(true); }
invar::key! { #[name = "shared.public"] pub static PUBLIC: bool = |_| Ok(true); }

#[cfg(all(target_arch = "x86_64", not(invar_portable)))]
invar::ifunc! {
    /// By the CPU.
    #[unsafe(no_mangle)]
    pub extern "C" fn shared_by_cpu(x: u32) -> u32 { invar::cpu::POPCNT => #[target_feature(enable = "popcnt")] counted, _ => looped }
}
#[cfg(all(target_arch = "x86_64", not(invar_portable)))]
invar::ifunc! {
    /// By another key.
    #[unsafe(no_mangle)]
    pub extern "C" fn shared_by_key(x: u32) -> u32 { PRIVATE => more, _ => looped }
}
#[target_feature(enable = "popcnt")]
fn counted(x: u32) -> u32 {
    x.count_ones()
}
fn looped(x: u32) -> u32 {
    (0..32).map(|bit| x >> bit & 1).sum()
}
fn more(x: u32) -> u32 {
    looped(x) + 100
}

/// Compiled here.
#[inline(never)]
pub fn announce() {
    let mut sections = 0;
    {
        let _slice = invar::timeslice::enter();
        sections += 1;
    }
    witness::result("sections", sections);
    witness::chose("private", invar::branch!(PRIVATE), &PRIVATE);
    witness::chose("public", invar::branch!(PUBLIC), &PUBLIC);
    #[cfg(all(target_arch = "x86_64", not(invar_portable)))]
    witness::chose("popcnt", invar::branch!(invar::cpu::POPCNT), &invar::cpu::POPCNT);
    #[cfg(all(target_arch = "x86_64", not(invar_portable)))]
    witness::result("symbols inside", format_args!("{} {}", shared_by_cpu(7), shared_by_key(7)));
    dependency::announce();
}

/// Compiled where it is used: reads a key, and has no site.
pub fn read<T>(_: T) -> bool {
    PUBLIC.get() && PRIVATE.get()
}

/// Compiled where it is used, with a site.
pub fn ask<T>(_: T) -> bool {
    invar::branch!(PUBLIC)
}
