//! Keys: named values that are decided once, when the program is loaded.
//!
//! [`Key`] is the static that a program has (`handle`), `declare` has the macros for it, `constant` is the same for numbers, `record` how it is found,
//! `state` what stands behind it, and `decide` decides it.

pub(crate) mod constant;
#[cfg_attr(invar_elsewhere, path = "../elsewhere/decide.rs")]
pub(crate) mod decide;
pub(crate) mod declare;
pub(crate) mod handle;
#[cfg_attr(invar_elsewhere, path = "../elsewhere/record.rs")]
pub(crate) mod record;
pub(crate) mod state;

use handle::{Key, Value};
use state::Verdict;

impl<T: Value, const PROVES: u64> Key<T, PROVES> {
    /// The key's value, by ordinary loads. In a fast path use [`branch!`](crate::branch!), which loads nothing.
    ///
    /// In a probe, a key that is not decided yet is decided now, by its own probe. A probe that asks for its own key, directly
    /// or by way of other probes, gets the first value, and all keys of the cycle fail. A thread that asks for a key which
    /// another thread is deciding waits for it, but not for ever, since the probe may wait for that thread. After a second the
    /// thread gets the first value, and the key fails; but where another module has decided a key of this name meanwhile, the
    /// thread gets its value, which the key adopts. So what a probe was told of a key is true. A key that another thread is still
    /// deciding when all other keys of the module are decided fails too: nobody sees a value change.
    ///
    /// A signal's handler may use [`branch!`](crate::branch!) at any time, but must not call this before the module is loaded:
    /// it would run the key's probe, or ask for the key whose probe it interrupts, which then fails.
    ///
    /// In a child that another thread forks during the load nobody ends it: a key that is not decided is decided by whoever
    /// calls this, and a `branch!` of it changes then.
    #[inline]
    pub fn get(&self) -> T {
        let value = if self.state.decided() { self.state.value() } else { decide::demand(&self.state, self.declared) };
        match T::from_byte(value).or(T::from_byte(0)) {
            Some(value) => value,
            // `values!` makes no type without a first value.
            None => unreachable!(),
        }
    }

    /// How the key was decided, and why; `None` before the runtime's constructor.
    pub fn verdict(&self) -> Option<Verdict> {
        decide::verdict(&self.state, self.declared)
    }
}
