//! What is asserted of critical sections: by the feature `assert`, and in builds with debug assertions. Else this is nothing.
//!
//! It takes a feature, since nested sections are correct: two libraries that know nothing of each other may nest theirs,
//! and a debug build must not end a program that a release build would run. It takes debug assertions as well, since
//! features add up over all crates of a program: a release build's sites stay what they are.
#![allow(unsafe_code)]

#[cfg(not(all(feature = "assert", debug_assertions)))]
pub(super) use off::{Begun, left};
#[cfg(all(feature = "assert", debug_assertions))]
pub(super) use on::{Begun, left};

#[cfg(not(all(feature = "assert", debug_assertions)))]
mod off {
    pub(in crate::timeslice) struct Begun;

    impl Begun {
        #[inline(always)]
        pub(in crate::timeslice) fn here() -> Self {
            Self
        }

        #[inline(always)]
        pub(in crate::timeslice) fn end(&self) {}
    }

    #[inline(always)]
    pub(in crate::timeslice) fn left() {}
}

#[cfg(all(feature = "assert", debug_assertions))]
mod on {
    use crate::timeslice::area;
    use crate::timeslice::key::SLICE;
    use core::panic::Location;
    use invar_arch as arch;

    /// Where and in which thread a critical section began.
    pub(in crate::timeslice) struct Begun {
        at: &'static Location<'static>,
        thread: *mut u8,
    }

    impl Begun {
        /// Before the section's request is set.
        #[track_caller]
        pub(in crate::timeslice) fn here() -> Self {
            let thread = arch::area(0);
            if let Some(bytes) = RequestBytes::of_this_thread() {
                assert!(
                    !bytes.requested(),
                    "a slice section begins inside another one, or behind one that was forgotten: its end will end both"
                );
                assert!(
                    !bytes.granted(),
                    "a slice section begins inside another one whose time is extended: with rseq_debug a system call in it kills"
                );
                bytes.note(1);
            }
            Self { at: Location::caller(), thread }
        }

        /// Before that, where there is a guard.
        pub(in crate::timeslice) fn end(&self) {
            assert!(self.thread == arch::area(0), "the slice section that began at {} ends in another thread", self.at);
        }
    }

    /// Before the request is taken back.
    pub(in crate::timeslice) fn left() {
        if let Some(bytes) = RequestBytes::of_this_thread() {
            bytes.note(0);
        }
    }

    /// The two bytes of this thread's rseq area, or of where its requests would go.
    struct RequestBytes(*mut u8);

    impl RequestBytes {
        /// `None` before the runtime is loaded, and where no memory could be found.
        fn of_this_thread() -> Option<Self> {
            area::offset().map(|area| Self(area.of_this_thread()))
        }

        fn byte(&self, at: usize) -> u8 {
            // SAFETY: inside memory that is an area's in every thread; the kernel may write it.
            unsafe { self.0.add(at).read_volatile() }
        }

        fn requested(&self) -> bool {
            self.byte(arch::AREA_REQUEST) != 0
        }

        /// Where nobody can yield, a grant outlasts its section.
        fn granted(&self) -> bool {
            self.byte(arch::AREA_REQUEST + 1) != 0 && area::is_yielded()
        }

        /// Where the key is off no site sets the byte, and nobody else looks at it.
        fn note(&self, request: u8) {
            if !SLICE.get() {
                // SAFETY: as above; spare memory, of this thread only.
                unsafe { self.0.add(arch::AREA_REQUEST).write_volatile(request) };
            }
        }
    }
}
