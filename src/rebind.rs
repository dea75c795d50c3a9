//! Asking the probes again, as after a process was restored on another machine.
//!
//! Switches follow their probes. Keys stay as they are, whatever a probe says now: code that runs may rely on the value that
//! another piece of code saw before, and code that is bound does not look. The caller is told of these.

use crate::key::decide;
use crate::key::state::Verdict;
use crate::module::{self, ModuleKey};
use crate::switch::{self, NotSet, Set, Setting};
use crate::symbol::features;
use invar_abi::{Origin, flags};

/// As many switches are set at once.
const MOST: usize = 64;

/// Asks the probes of this module's keys and switches again. Switches that their own probe decided, and nobody has set since, are
/// set to what the probes say now ([`set`](crate::set)). No key changes: for each whose probe has another answer than its verdict,
/// `differs` is called with the name of the key, of the value that it has, and of the value that the probe gives, which is the first
/// one where the probe fails.
///
/// For programs that go on in another place than they began in: restored from a checkpoint
/// ([CRIU](https://criu.org)), or moved with their virtual machine to a host with another CPU. There a key as
/// [`cpu::AVX512BW`](crate::cpu::AVX512BW) may say what is true no more: the program can end itself, or be moved back. A feature that
/// has come stays unused.
///
/// Keys that other modules or settings decided are not looked at, nor are the time slice key and those of symbols. Probes run in the
/// calling thread, beside all others; what a probe writes to is its own affair. One caller at a time gets an answer that is true.
///
/// # Errors
///
/// As of [`set`](crate::set); `differs` was called before that.
///
/// ```
/// let set = invar::rebind(|key, has, is_now| eprintln!("{key} is {has}, and {is_now} on this machine"))?;
/// assert_eq!((set.bound, set.checked), (0, 0), "no switch has changed");
/// # Ok::<(), invar::NotSet>(())
/// ```
#[cold]
pub fn rebind(mut differs: impl FnMut(&str, &str, &str)) -> Result<Set, NotSet> {
    rebind_by(&mut differs)
}

fn rebind_by(differs: &mut dyn FnMut(&str, &str, &str)) -> Result<Set, NotSet> {
    let mut settings = [Setting::named("", ""); MOST];
    let mut count = 0;
    features::forget();
    let own = module::own().ok_or(NotSet::Unknown)?;
    for key in own.keys() {
        let Some((has, is_now)) = asked(&key) else { continue };
        if has == is_now {
            continue;
        }
        let (has, is_now) = (key.value_name(has), key.value_name(is_now));
        if key.flags & flags::SWITCH != 0 {
            *settings.get_mut(count).ok_or(NotSet::TooMany)? = Setting::by_probe(key.name(), is_now);
            count += 1;
        } else {
            let [name, has, is_now] = [key.name(), has, is_now].map(|text| core::str::from_utf8(text).unwrap_or("?"));
            differs(name, has, is_now);
        }
    }
    switch::set(&settings[..count])
}

/// The value that a key has by its own probe, and the one that the probe gives now.
fn asked(key: &ModuleKey<'_>) -> Option<(u8, u8)> {
    let (has, origin) = key.state.outcome()?;
    let by_probe = matches!(Origin::from_byte(origin), Origin::Probe | Origin::Failed);
    if !by_probe || key.flags & (flags::SYMBOL | flags::TIMESLICE) != 0 {
        return None;
    }
    let mut verdict = Verdict::undecided();
    decide::probe(key, &mut verdict);
    Some((has, verdict.value()))
}
