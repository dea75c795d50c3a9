//! Signals that wait.
#![allow(unsafe_code)]

use super::raw::{Result, call};

/// Whether the calling thread runs on an alternate signal stack.
#[cfg(feature = "switch")]
#[cold]
pub(crate) fn is_on_signal_stack() -> bool {
    let mut stack = libc::stack_t { ss_sp: core::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: the kernel writes one `stack_t`, which has the same layout in libc.
    let asked = unsafe { call(libc::SYS_sigaltstack, [0, &raw mut stack as usize]) };
    asked.is_ok() && stack.ss_flags & libc::SS_ONSTACK != 0
}

/// Of a set of signals, as the kernel has it.
pub(super) const SET_BYTES: usize = size_of::<u64>();

/// Lets signals of the calling thread wait, as long as it is there.
pub(crate) struct Silence(u64);

impl Silence {
    /// For the signals of this set, as the kernel has it.
    #[inline(never)]
    pub(crate) fn begin(signals: &u64) -> Result<Self> {
        let mut before = 0_u64;
        let args = [libc::SIG_BLOCK as usize, &raw const *signals as usize, &raw mut before as usize, SET_BYTES];
        // SAFETY: the kernel reads one set and writes one.
        unsafe { call(libc::SYS_rt_sigprocmask, args) }.map(|_| Self(before))
    }
}

impl Drop for Silence {
    #[inline(never)]
    fn drop(&mut self) {
        let args = [libc::SIG_SETMASK as usize, &raw const self.0 as usize, 0, SET_BYTES];
        // SAFETY: the kernel reads one set.
        let _ = unsafe { call(libc::SYS_rt_sigprocmask, args) };
    }
}
