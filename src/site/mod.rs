//! Sites: the places in the code that depend on a key.

mod dispatch;
pub(crate) mod select;

/// A static branch: `true` if the key has the value, which is `true` where none is given.
///
/// ```
/// # invar::values! { pub enum Width { Narrow, Wide } }
/// # invar::key! { static WIDTH: Width = |_| Ok(Width::Wide); }
/// # invar::key! { static WIDE: bool = |_| Ok(true); }
/// # fn wide() {} fn narrow() {}
/// if invar::branch!(WIDE) { wide() } else { narrow() }
/// if invar::branch!(WIDTH == Width::Wide) { wide() }
/// if invar::branch!(WIDTH >= Width::Wide) { wide() } // that, or any behind it in `values!`
/// if !invar::branch!(!WIDE) { wide() }
/// ```
///
/// Of values, `==`, `!=`, `>=`, `>`, `<` and `<=` are known, by the order in which `values!` lists them. A comparison that has one
/// answer only, as `>=` the first value, does not compile.
///
/// Unbound it is a compare of one byte and a conditional jump; bound, two nops where the key has the value and
/// one jump where it has another. Whether a [switch](crate::switch!) of two values is on is asked the other way round, since most are off
/// for most of the time: it is two nops while it is off, and one jump while it is on. Its site asks for `off`, and so do reports.
/// What the jump leads to is laid out of line where the compiler can.
///
/// A branch inside a loop that the compiler would vectorise keeps the loop scalar: branch outside.
#[macro_export]
macro_rules! branch {
    (! $($key:tt)+) => { !$crate::branch!($($key)+) };
    (:: $($condition:tt)+) => { $crate::__absolute!(branch $($condition)+) };
    // Asked of a key whether it is on, of a switch whether it is off: the answer that is expected has no jump.
    ($($key:ident)::+) => {{
        const __INVAR_SWITCH: bool = $crate::__private::is_switch(&raw const $($key)::+);
        $crate::__branch!(branch, $($key)::+, true, !__INVAR_SWITCH as u8) != __INVAR_SWITCH
    }};
    ($($key:ident)::+ == true) => { $crate::branch!($($key)::+) };
    ($($key:ident)::+ == $value:expr) => { $crate::__branch!(branch, $($key)::+, $value, $value as u8) };
    ($($key:ident)::+ != $value:expr) => { !$crate::branch!($($key)::+ == $value) };
    // As items: what has one answer only is to be seen by who compiles nothing.
    ($($key:ident)::+ >= $value:expr) => {{
        const __INVAR_LEAST: u8 = $crate::__private::not_below(&raw const $($key)::+, $value as u8);
        $crate::__branch!(ordered, $($key)::+, $value, __INVAR_LEAST)
    }};
    ($($key:ident)::+ > $value:expr) => {{
        const __INVAR_LEAST: u8 = $crate::__private::above(&raw const $($key)::+, $value as u8);
        $crate::__branch!(ordered, $($key)::+, $value, __INVAR_LEAST)
    }};
    ($($key:ident)::+ < $value:expr) => { !$crate::branch!($($key)::+ >= $value) };
    ($($key:ident)::+ <= $value:expr) => { !$crate::branch!($($key)::+ > $value) };
}

/// Hands a condition to another macro, whose key's path began with `::`, as one whose path is a name.
#[doc(hidden)]
#[macro_export]
macro_rules! __absolute {
    ($macro:ident $($key:ident)::+ == $($value:tt)+) => {{ use ::$($key)::+ as __INVAR_KEY; $crate::$macro!(__INVAR_KEY == $($value)+) }};
    ($macro:ident $($key:ident)::+ != $($value:tt)+) => {{ use ::$($key)::+ as __INVAR_KEY; $crate::$macro!(__INVAR_KEY != $($value)+) }};
    ($macro:ident $($key:ident)::+ >= $($value:tt)+) => {{ use ::$($key)::+ as __INVAR_KEY; $crate::$macro!(__INVAR_KEY >= $($value)+) }};
    ($macro:ident $($key:ident)::+ > $($value:tt)+) => {{ use ::$($key)::+ as __INVAR_KEY; $crate::$macro!(__INVAR_KEY > $($value)+) }};
    ($macro:ident $($key:ident)::+ < $($value:tt)+) => {{ use ::$($key)::+ as __INVAR_KEY; $crate::$macro!(__INVAR_KEY < $($value)+) }};
    ($macro:ident $($key:ident)::+ <= $($value:tt)+) => {{ use ::$($key)::+ as __INVAR_KEY; $crate::$macro!(__INVAR_KEY <= $($value)+) }};
    ($macro:ident $($key:ident)::+) => {{ use ::$($key)::+ as __INVAR_KEY; $crate::$macro!(__INVAR_KEY) }};
}

/// A site of a branch.
#[doc(hidden)]
#[macro_export]
macro_rules! __branch {
    ($kind:ident, $key:path, $value:expr, $position:expr) => {
        '__invar_site: {
            const { $crate::__private::same_type(&raw const $key, $value) };
            // SAFETY: a key's static begins with its state byte, and its record names it.
            unsafe { $crate::__private::__site!($kind, $key, $position, { break '__invar_site false }) }
            true
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::documents::{SITE_ABI, assert_layout, fields};
    use invar_abi::{Kind, SiteRecord};

    #[test]
    fn records_are_as_documented() {
        let record = fields!(SiteRecord: site target state length kind value flags);
        assert_layout(SITE_ABI, "## Site records", &record, size_of::<SiteRecord>());
        assert!(SITE_ABI.contains(&std::format!("4-byte aligned, {} bytes a record. Its", size_of::<SiteRecord>())));
        let kinds = [Kind::Branch, Kind::SliceEnter, Kind::SliceLeave, Kind::Pointer, Kind::Constant, Kind::Select];
        let kinds = kinds.map(|kind| (kind.number(), crate::kind_name(kind))).into_iter();
        let kinds = kinds.map(|(kind, name)| std::format!("{kind} {name}")).collect::<std::vec::Vec<_>>().join(", ");
        assert!(SITE_ABI.contains(&std::format!("| kind | {kinds} |")), "{kinds}");
    }
}
