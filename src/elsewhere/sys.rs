//! No system is asked for anything.

/// An error number, of which there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

/// No child is made that would miss what another thread holds.
pub(crate) fn hold_forks() {}

/// Works.
pub(crate) fn without_forks(work: &mut dyn FnMut()) {
    work();
}

/// No lock is held for ever.
pub(crate) fn is_stranded() -> bool {
    false
}

/// Nobody can tell.
pub(crate) fn is_on_signal_stack() -> bool {
    false
}
