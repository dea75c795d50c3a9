//! Sites: the places in the code that depend on a key.

mod dispatch;

/// A static branch: `true` if the key has the value, which is `true` where none is given.
///
/// ```
/// # invar::values! { pub enum Width { Narrow, Wide } }
/// # invar::key! { static WIDTH: Width = |_| Ok(Width::Wide); }
/// # invar::key! { static WIDE: bool = |_| Ok(true); }
/// # fn wide() {} fn narrow() {}
/// if invar::branch!(WIDE) { wide() } else { narrow() }
/// if invar::branch!(WIDTH == Width::Wide) { wide() }
/// ```
///
/// Unbound it is a compare of one byte and a conditional jump; bound, two nops where the key has the value and
/// one jump where it has another. The other branch is laid out of line where the compiler can.
///
/// A branch inside a loop that the compiler would vectorise keeps the loop scalar: branch outside.
#[macro_export]
macro_rules! branch {
    (:: $($key:ident)::+ $(== $value:expr)?) => {{
        use ::$($key)::+ as __INVAR_KEY;
        $crate::branch!(__INVAR_KEY $(== $value)?)
    }};
    ($($key:ident)::+) => { $crate::branch!($($key)::+ == true) };
    ($($key:ident)::+ == $value:expr) => {
        '__invar_site: {
            const { $crate::__private::same_type(&raw const $($key)::+, $value) };
            // SAFETY: a key's static begins with its state byte, and its record names it.
            unsafe {
                $crate::__private::__site!(branch, $($key)::+, $value as u8, { break '__invar_site false })
            }
            true
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::documents::{SITE_ABI, assert_layout, fields};
    use invar_abi::record::CONSTANT;
    use invar_abi::{Kind, SiteRecord};

    #[test]
    fn records_are_as_documented() {
        let record = fields!(SiteRecord: site target state length kind value flags);
        assert_layout(SITE_ABI, "## Site records", &record, size_of::<SiteRecord>());
        assert!(SITE_ABI.contains(&std::format!("4-byte aligned, {} bytes a record. Its", size_of::<SiteRecord>())));
        let kinds = [
            (Kind::Branch, "branch"),
            (Kind::SliceEnter, "slice enter"),
            (Kind::SliceLeave, "slice leave"),
            (Kind::Pointer, "pointer"),
        ];
        let kinds = kinds.map(|(kind, name)| (kind as u8, name)).into_iter();
        let kinds = kinds.chain([(CONSTANT, "constant")]);
        let kinds = kinds.map(|(kind, name)| std::format!("{kind} {name}")).collect::<std::vec::Vec<_>>().join(", ");
        assert!(SITE_ABI.contains(&std::format!("| kind | {kinds} |")), "{kinds}");
    }
}
