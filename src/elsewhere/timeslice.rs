//! Time slice requests, which are an extension of Linux: here a critical section asks for nothing, and its code is dropped.

use crate::key::handle::Key;
#[cfg(feature = "timeslice")]
use crate::key::record::{Declaration, Declared};
#[cfg(feature = "timeslice")]
use crate::key::state::Verdict;
#[cfg(feature = "timeslice")]
use invar_abi::{KeyRecord, flags};

/// The time slice key, named `slice`. It is off.
#[cfg(feature = "timeslice")]
pub static SLICE: Key<bool> = {
    extern "C" fn probe(verdict: &mut Verdict, _: &KeyRecord) {
        verdict.evidence.text("this system has no time slice extension");
    }
    static DECLARATION: Declaration =
        Declaration::new(&SLICE, b"slice\0off\0on\0", 2, probe, flags::SLICE | flags::TIMESLICE | flags::OWN);
    Key::declared(Declared::by(&DECLARATION))
};

/// The time slice key, named `slice`. It is off.
#[cfg(not(feature = "timeslice"))]
pub static SLICE: Key<bool> = Key::new();

#[cfg(feature = "timeslice")]
#[path = "../timeslice/answers.rs"]
mod answers;
#[cfg(feature = "profile")]
pub use answers::Counts;
#[cfg(feature = "timeslice")]
pub use answers::{Area, NotEnrolled, NotGuarded, Thread};
#[cfg(feature = "timeslice")]
pub use here::*;

#[cfg(feature = "timeslice")]
mod here {
    use super::answers::{NotEnrolled, NotGuarded, Thread};

    /// A critical section; ends when dropped. It belongs to its thread.
    #[must_use = "the section ends when this is dropped"]
    pub struct CriticalSection {
        _thread: core::marker::PhantomData<*mut ()>,
    }

    // SAFETY: a shared reference gives access to nothing.
    #[allow(unsafe_code)]
    unsafe impl Sync for CriticalSection {}

    impl Drop for CriticalSection {
        #[inline(always)]
        fn drop(&mut self) {}
    }

    /// Begins a critical section. Here that is nothing.
    #[inline(always)]
    pub fn enter() -> CriticalSection {
        CriticalSection { _thread: core::marker::PhantomData }
    }

    /// Ends the calling thread's critical section where its [`CriticalSection`] was forgotten. Here that is nothing.
    #[inline(always)]
    pub fn leave() {}

    /// Makes the calling thread one that can be granted slices, on Linux.
    ///
    /// # Errors
    ///
    /// Always [`NotEnrolled::Absent`].
    #[inline(always)]
    pub fn enrol() -> Result<(), NotEnrolled> {
        Err(NotEnrolled::Absent)
    }

    /// [`enrol`] for the contended path of a lock. Here that is nothing.
    #[inline(always)]
    pub fn enrol_contended() {}

    /// Has a filter keep the extension from being disabled, on Linux.
    ///
    /// # Errors
    ///
    /// Always [`NotGuarded::Absent`].
    #[inline(always)]
    pub fn guard() -> Result<(), NotGuarded> {
        Err(NotGuarded::Absent)
    }

    /// Calls `each` for every thread of this process, on Linux.
    ///
    /// # Errors
    ///
    /// Always 38, Linux's `ENOSYS`.
    pub fn audit(_: impl FnMut(Thread)) -> Result<(), i32> {
        Err(38)
    }
}

/// Whether shared libraries find the hook on thread creation, on Linux. Here there is none.
#[cfg(feature = "hook")]
pub fn hook_is_in_front() -> bool {
    false
}

#[cfg(feature = "profile")]
pub use counting::*;

#[cfg(feature = "profile")]
mod counting {
    use super::answers::Counts;
    use crate::key::handle::Key;
    use crate::key::record::{Declaration, Declared};
    use crate::key::state::Verdict;
    use invar_abi::{KeyRecord, flags};

    crate::values! {
        /// What is counted of the slice sites.
        pub enum Counting {
            /// Nothing.
            Off,
            /// Only on Linux.
            Count,
            /// Only on Linux.
            Profile,
        }
    }

    /// The key of the counting form, named `slice.counting`. It is off.
    pub static COUNTING: Key<Counting> = {
        extern "C" fn probe(verdict: &mut Verdict, _: &KeyRecord) {
            verdict.evidence.text("this system has no time slice extension");
        }
        static DECLARATION: Declaration =
            Declaration::new(&COUNTING, b"slice.counting\0off\0count\0profile\0", 3, probe, flags::OWN);
        Key::declared(Declared::by(&DECLARATION))
    };

    /// Nothing is counted here: `None`.
    pub fn counts() -> Option<Counts> {
        None
    }

    /// Nothing is counted here: `false`.
    pub fn each_thread_counts(_: impl FnMut(u32, Counts)) -> bool {
        false
    }
}
