//! One key's decision, from its beginning to its seal, by one thread.

use super::adopt::{adopt_lower, adopt_sealed, adopt_twin, is_shared, sealed_twin};
use super::choose::choose;
use super::seal::seal;
use crate::key::state::Verdict;
use crate::module::{self, Alone, Module, ModuleKey};
use crate::settings::Settings;
use crate::sys;
use crate::text::Sink;
use invar_abi::flags;

/// What a thread knows that decides keys of a module.
pub(super) struct Decider<'a> {
    pub(super) own: &'a Module<'a>,
    pub(super) settings: &'a Settings<'a>,
    /// The thread's number ([`this_thread`]).
    pub(super) thread: u64,
    /// The module, if it was alone when it was loaded.
    pub(super) alone: Option<&'a Alone<'a>>,
    /// Signals wait, or need not.
    pub(super) is_silent: bool,
}

impl Decider<'_> {
    /// Decides and seals the keys that nobody has, and that have of `these` flags just the `wanted` ones.
    #[inline(never)]
    pub(super) fn each(&self, verdict: &mut Verdict, these: u8, wanted: u8) {
        for key in self.own.keys_of(these, wanted) {
            self.decide(&key, 1, verdict);
        }
    }

    /// Decides and seals a key of ours, if nobody has begun to. `order` is higher than that of all keys that this thread is
    /// deciding.
    #[cold]
    #[inline(never)]
    pub(super) fn decide(&self, key: &ModuleKey<'_>, order: u32, verdict: &mut Verdict) {
        if key.state.begun() {
            return;
        }
        // A signal's handler that asks for the key finds it untouched, or knows whose it is.
        let silence = self.silence();
        if !key.state.begin(self.thread, order) {
            return;
        }
        drop(silence);
        let is_shared = is_shared(key);
        let twin = if is_shared { sealed_twin(self.own, key) } else { None };
        match twin {
            Some(twin) => _ = adopt_twin(key, &twin, verdict),
            None => {
                choose(self.own, self.alone.is_none(), self.settings, key, verdict);
                let other = key.state.cycle(self.thread);
                if other.as_bytes() == key.name() {
                    verdict.fail("a cycle: its probe asks for it, or a signal's handler did meanwhile");
                } else if !other.as_bytes().is_empty() {
                    verdict.fail("a cycle: the probes of ");
                    verdict.evidence.put(key.name());
                    verdict.evidence.text(" and ").bytes(other.as_bytes()).text(" ask for each other's keys");
                }
            }
        }
        if is_shared {
            return self.agree(key, verdict);
        }
        if key.flags & flags::PROVES != 0 {
            adopt_lower(self.own, key, verdict);
        }
        let _silence = self.silence();
        seal(self.own, key, verdict);
    }

    /// Seals a key of ours that others may have as well, unless one of them is sealed by now: then ours says what that says.
    ///
    /// Only one thread at a time is here, of all copies of the runtime.
    #[cold]
    pub(super) fn agree(&self, key: &ModuleKey<'_>, verdict: &mut Verdict) {
        module::exclusively_among(self.alone, self.is_silent, &mut || {
            adopt_sealed(self.own, self.alone, key, verdict);
            seal(self.own, key, verdict);
        });
    }

    /// Has signals wait, where they do not yet.
    fn silence(&self) -> Option<sys::Silence> {
        if self.is_silent { None } else { sys::Silence::begin(&u64::MAX).ok() }
    }
}

/// A number that no other thread of the process has. One that begins later seldom has it: its thread pointer may be that of a
/// thread which ended in a probe.
pub(super) fn this_thread() -> u64 {
    sys::thread_id().into()
}
