//! Sites: the places in the code that depend on a key.

mod dispatch;

use invar_abi::{Kind, NearBranch};

/// The address that a distance in a record leads to: it counts from its own field.
#[inline(always)]
pub(crate) fn leads_to(field: &i32) -> usize {
    (&raw const *field as usize).wrapping_add_signed(*field as isize)
}

/// One site of a module's site table, as it stands in the file. All distances count from their own field.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SiteRecord {
    pub(crate) site: i32,
    pub(crate) target: i32,
    pub(crate) state: i32,
    pub(crate) length: u8,
    pub(crate) kind: u8,
    pub(crate) value: u8,
    pub(crate) flags: u8,
}

impl SiteRecord {
    /// Where the site would be.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        leads_to(&self.site)
    }

    /// What it says of a branch, if it is one, in a module that is smaller than 2 GiB.
    #[inline(always)]
    pub(crate) fn near_branch(&self) -> Option<NearBranch> {
        (self.kind == Kind::Branch as u8 && self.flags == 0).then(|| NearBranch {
            // Each distance counts from its own field.
            to_target: self.target.wrapping_sub(self.site).wrapping_add(4),
            to_state: self.state.wrapping_sub(self.site).wrapping_add(8),
            length: self.length,
            value: self.value,
        })
    }

    /// Whether it is a slice site, of the key whose state has this address.
    pub(crate) fn is_slice_of(&self, key: usize) -> bool {
        self.kind != Kind::Branch as u8 && leads_to(&self.state) == key
    }
}

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
    use super::*;
    use crate::documents::{SITE_ABI, assert_layout, fields};

    #[test]
    fn records_are_as_documented() {
        let record = fields!(SiteRecord: site target state length kind value flags);
        assert_layout(SITE_ABI, "## Site records", &record, size_of::<SiteRecord>());
        assert!(SITE_ABI.contains(&std::format!("4-byte aligned, {} bytes a record. Its", size_of::<SiteRecord>())));
        let kinds = [(Kind::Branch, "branch"), (Kind::SliceEnter, "slice enter"), (Kind::SliceLeave, "slice leave")];
        let kinds = kinds.map(|(kind, name)| std::format!("{} {name}", kind as u8)).join(", ");
        assert!(SITE_ABI.contains(&std::format!("| kind | {kinds} |")), "{kinds}");
    }
}
