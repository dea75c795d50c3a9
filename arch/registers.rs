//! The registers of a system call.

use core::mem::MaybeUninit;

/// As many as a system call takes at most. Those without an argument hold whatever they do: it takes no instruction to clear them.
#[inline(always)]
pub(crate) fn registers<const N: usize>(args: [usize; N]) -> [MaybeUninit<usize>; 6] {
    const { assert!(N <= 6) };
    let of = |at: usize| args.get(at).map_or(MaybeUninit::uninit(), |&arg| MaybeUninit::new(arg));
    [of(0), of(1), of(2), of(3), of(4), of(5)]
}
