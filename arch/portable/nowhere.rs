//! Systems whose calls nobody makes here.

/// Linux's number for a call that there is not.
const ENOSYS: isize = 38;

/// There is no such call.
///
/// # Safety
///
/// None: nothing happens.
pub unsafe fn syscall<const N: usize>(_number: usize, _args: [usize; N]) -> isize {
    -ENOSYS
}

/// There is no such call.
///
/// # Safety
///
/// None: nothing happens.
pub unsafe fn syscall_for_resolvers(_number: usize, _first: usize, _second: usize, _third: usize) -> isize {
    -ENOSYS
}
