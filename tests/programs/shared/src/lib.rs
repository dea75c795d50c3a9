//! A Rust `dylib` with keys, public and not, and with the runtime in it.

invar::key! { #[name = "shared.private"] static PRIVATE: bool = |_| Ok(true); }
invar::key! { #[name = "shared.public"] pub static PUBLIC: bool = |_| Ok(true); }

/// Compiled here.
#[inline(never)]
pub fn announce() {
    let mut sections = 0;
    {
        let _slice = invar::slice::enter();
        sections += 1;
    }
    witness::result("sections", sections);
    witness::chose("private", invar::branch!(PRIVATE), &PRIVATE);
    witness::chose("public", invar::branch!(PUBLIC), &PUBLIC);
    #[cfg(all(target_arch = "x86_64", not(invar_portable)))]
    witness::chose("popcnt", invar::branch!(invar::cpu::POPCNT), &invar::cpu::POPCNT);
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
