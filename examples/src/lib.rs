//! A library with a key of its own. Programs that use it need to do nothing, and need not know `invar`.

invar::key! {
    /// Whether words are compared without regard to case.
    static FOLD_CASE: bool = |evidence| {
        evidence.text("looked for FOLD_CASE in the environment");
        Ok(std::env::var_os("FOLD_CASE").is_some())
    };
}

/// Whether two words are the same.
///
/// It may be inlined into the program: its site then is in the program's text, and is bound as well.
#[inline]
pub fn is_same(one: &str, other: &str) -> bool {
    if invar::branch!(FOLD_CASE) { one.eq_ignore_ascii_case(other) } else { one == other }
}
