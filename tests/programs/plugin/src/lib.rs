//! A shared library that shares key names with others in its process.

invar::values! {
    pub enum Width { Narrow, Wide, Widest }
}

invar::key! {
    /// The program and the other library may have one of this name, and the same values.
    #[name = "shared.width"]
    static WIDTH: Width = |evidence| { witness::probing("shared.width", "plugin"); evidence.text("plugin's"); Ok(Width::Wide) };
}
invar::key! {
    /// The other library's has other values.
    #[name = "shared.disputed"]
    static DISPUTED: bool = |_| { witness::probing("shared.disputed", "plugin"); Ok(true) };
}
invar::key! {
    /// The program's may load this library while it is being decided.
    #[name = "shared.reentered"]
    static REENTERED: bool = |evidence| { witness::probing("shared.reentered", "plugin"); evidence.text("plugin's"); Ok(true) };
}
#[cfg(not(invar_portable))]
invar::key! {
    /// A fact of safety: every module's own probe must agree.
    #[name = "shared.proved"]
    #[requires("sse3")]
    static PROVED: bool = |_| { witness::probing("shared.proved", "plugin"); Ok(true) };
}
#[cfg(invar_portable)]
invar::key! { #[name = "shared.proved"] static PROVED: bool = |_| Ok(false); }

invar::key! {
    /// One that slice sites may depend on, and not the time slice key.
    #[name = "shared.measured"]
    #[__slice]
    static MEASURED: bool = |evidence| { evidence.text("plugin's"); Ok(true) };
}

#[inline(never)]
fn section(x: &mut u64) -> [usize; 8] {
    let _slice = invar::timeslice::enter();
    *x += 1;
    witness::control_block()
}

/// Says what this library's sites do.
#[unsafe(no_mangle)]
pub extern "C" fn tell_story() {
    let width = if invar::branch!(WIDTH == Width::Widest) {
        Width::Widest
    } else if invar::branch!(WIDTH == Width::Wide) {
        Width::Wide
    } else {
        Width::Narrow
    };
    let mut x = 1;
    let before = witness::control_block();
    let inside = section(&mut x);
    witness::result("plugin: section", x);
    witness::result("plugin: nothing else is written", before == inside && inside == witness::control_block());
    witness::chose("plugin: width", width, &WIDTH);
    witness::chose("plugin: disputed", invar::branch!(DISPUTED), &DISPUTED);
    witness::chose("plugin: reentered", invar::branch!(REENTERED), &REENTERED);
    witness::chose("plugin: proved", invar::branch!(PROVED), &PROVED);
    witness::chose("plugin: measured", invar::branch!(MEASURED), &MEASURED);
    // Where the program is not one that does.
    if std::env::var_os("PLUGIN_TELLS").is_some() {
        witness::tell();
    }
}
