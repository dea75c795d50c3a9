//! A library with the new version of invar, which its program's probe opens.

new::key! {
    #[name = "versions.opened"]
    static OPENED: bool = |evidence| {
        let asked: usize = std::env::var("VERSIONS_ASK").unwrap().parse().unwrap();
        // SAFETY: the program's function, of which it gave the address.
        let ask: extern "C" fn() -> bool = unsafe { std::mem::transmute(asked) };
        evidence.text(if ask() { "saw on" } else { "saw off" });
        Ok(AT_LAST.get())
    };
}
new::key! { #[name = "versions.at_last"] static AT_LAST: bool = |_| Ok(true); }
// The program's is sealed, or being decided by this thread, or it is not.
new::key! { #[name = "versions.third"] static THIRD: bool = |_| Ok(true); }

/// Whether all are on.
#[unsafe(no_mangle)]
pub extern "C" fn opened() -> bool {
    new::branch!(OPENED) && new::branch!(AT_LAST) && new::branch!(THIRD)
}
