//! Sites in checked form only: a load and a compare, which leave no record.

use core::ops::Range;
use invar_abi::{Code, NearBranch, Site};

/// Emits one checked site, in an `unsafe` block: falls through if the state byte at `$state` is `$value`, else runs `$otherwise`.
#[doc(hidden)]
#[macro_export]
macro_rules! __site {
    (ordered, $state:path, $value:expr, $otherwise:block) => {
        if $crate::__state!($state) < const { $value } {
            $otherwise
        }
    };
    ($kind:ident, $state:path, $value:expr, $otherwise:block) => {
        if $crate::__state!($state) != const { $value } {
            $otherwise
        }
    };
}

/// A key's value: the first byte of every state static.
#[doc(hidden)]
#[macro_export]
macro_rules! __state {
    ($state:path) => {
        (*(&raw const $state).cast::<::core::sync::atomic::AtomicU8>()).load(::core::sync::atomic::Ordering::Relaxed)
    };
}

/// There are no sites.
pub fn checked(_site: &Site) -> Option<Code> {
    None
}

/// There are no sites.
pub fn constant(_site: &Site, _number: u64) -> Option<Code> {
    None
}

/// There are no sites.
pub fn near_branch<R>(_branch: NearBranch, _value: u8, _then: impl FnOnce(Code, Code) -> R) -> Option<R> {
    None
}

/// There are no sites.
pub fn bound(_site: &Site, _value: u8, _request_offset: i32) -> Option<Code> {
    None
}

/// No site's code is anywhere.
///
/// # Safety
///
/// None: there is no site's code.
pub unsafe fn stands_under_breakpoint(_code: Code, _at: *const u8) -> bool {
    false
}

/// No code is ever written.
///
/// # Safety
///
/// None: there is no site's code.
pub unsafe fn store_under_breakpoint(_code: Code, _to: *mut u8) {}

/// No code is ever written.
pub fn synchronise(_text: &Range<usize>) {}
