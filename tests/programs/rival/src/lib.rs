//! A second shared library: agrees with `plugin` on one key, and not on another.

invar::values! {
    pub enum Width { Narrow, Wide, Widest }
}
invar::values! {
    pub enum Opinion { Unknown, Against, For }
}

invar::key! {
    #[name = "shared.width"]
    static WIDTH: Width = |evidence| { witness::probing("shared.width", "rival"); evidence.text("rival's"); Ok(Width::Widest) };
}
invar::key! {
    #[name = "shared.disputed"]
    static DISPUTED: Opinion = |_| { witness::probing("shared.disputed", "rival"); Ok(Opinion::For) };
}
#[cfg(not(invar_portable))]
invar::key! {
    /// Less than what the first module says: this module must not believe that.
    #[name = "shared.proved"]
    #[requires("sse3")]
    static PROVED: bool = |_| { witness::probing("shared.proved", "rival"); Ok(false) };
}
#[cfg(invar_portable)]
invar::key! { #[name = "shared.proved"] static PROVED: bool = |_| Ok(false); }

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
    let disputed = if invar::branch!(DISPUTED == Opinion::Unknown) { Opinion::Unknown } else { Opinion::For };
    witness::chose("rival: width", width, &WIDTH);
    witness::chose("rival: disputed", disputed, &DISPUTED);
    witness::chose("rival: proved", invar::branch!(PROVED), &PROVED);
}
