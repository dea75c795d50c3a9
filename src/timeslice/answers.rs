//! What the calls of the wing answer with. Where the extension is absent, they have the same types (`src/elsewhere/timeslice.rs`).

use crate::text::Evidence;

/// Why a thread could not be enrolled in the slice extension. Its critical sections are correct all the same, and request nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotEnrolled {
    /// The time slice key is off: its evidence says why. Or it is forced, where nobody grants.
    Absent,
    /// libc registers the areas of its threads, and did not start this thread.
    NoArea,
    /// Somebody else registered an area for this thread; only one is possible.
    OtherArea,
    /// The kernel, or a filter, refused with this errno; `EAGAIN` also where the C library is not glibc and has no
    /// key left for thread-specific data.
    Refused(i32),
    /// The thread is about to end, and has unregistered its area: seen by destructors of thread-specific data.
    Ending,
}

impl core::fmt::Display for NotEnrolled {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Absent => f.write_str("the slice extension is absent"),
            Self::NoArea => f.write_str("the C library registers areas, and has registered none for this thread"),
            Self::OtherArea => f.write_str("somebody else registered an area for this thread"),
            Self::Refused(errno) => write!(f, "refused with errno {errno}"),
            Self::Ending => f.write_str("the thread is about to end, and has given its area back"),
        }
    }
}

impl core::error::Error for NotEnrolled {}

/// Why the extension can still be disabled. No thread is guarded, and nothing was changed but perhaps `no_new_privs`:
/// without `CAP_SYS_ADMIN` it is a condition for asking, and where the kernel then refuses all the same, the calling thread
/// keeps it. What can be told before is told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotGuarded {
    /// The time slice key is off: its evidence says why. Also where it is forced.
    Absent,
    /// The thread with this ID and the calling thread have different seccomp filters. One filter for all threads would replace
    /// filters of that thread, or give it those of the caller. Where both have as many filters, only the kernel can tell them
    /// apart.
    OtherFilters(u32),
    /// A seccomp filter that stands kills a process that installs another.
    Killed,
    /// The kernel, or a filter, refused with this errno; or where a filter stands there was no child to try it.
    Refused(i32),
}

impl NotGuarded {
    #[cold]
    pub(super) fn tell(self, text: &mut Evidence) {
        match self {
            Self::Absent => text.text("the slice extension is absent"),
            Self::OtherFilters(thread) => text.text("thread ").number(thread.into()).text(" has other seccomp filters"),
            Self::Killed => text.text("a seccomp filter kills who installs another"),
            Self::Refused(errno) => text.text("refused with errno ").number(errno.into()),
        };
    }
}

impl core::fmt::Display for NotGuarded {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut text = Evidence::new();
        self.tell(&mut text);
        f.write_str(text.as_str())
    }
}

impl core::error::Error for NotGuarded {}

/// One thread, as [`audit`](super::audit) found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its thread ID, as `gettid(2)` gives it.
    pub id: u32,
    /// Its rseq area.
    pub area: Area,
}

/// A thread's `struct rseq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Area {
    /// It could not be found out: the thread ended, a debugger has it, or this system lets no child trace. The errno
    /// says which. `ETIMEDOUT`: the thread did not stop within a second, as one that waits for its child after `vfork`.
    Unknown(i32),
    /// Nobody registered one.
    None,
    /// The kernel knows one.
    Registered {
        /// Where it is.
        address: usize,
        /// The thread can be granted slices.
        enabled: bool,
        /// The thread requests an extension.
        request: bool,
        /// The thread was asleep. With a request that means one that was left set: critical sections make no system calls.
        asleep: bool,
    },
}

#[cfg(feature = "profile")]
/// What slice sites requested, and what came of it.
#[cfg(feature = "profile")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Critical sections begun.
    pub requests: u64,
    /// Grants that were still there when the section ended. The kernel's own count is higher by those that expired.
    pub grants: u64,
    /// Of those, grants that were yielded in time.
    pub yields: u64,
    /// Requests that were gone, and no grant there: it expired, or a system call ended it; or the thread was
    /// rescheduled without one, or a section inside ended the request.
    pub lost: u64,
}
