//! Asking the probes again, as after a process was restored on another machine.
//!
//! Switches follow their probes. Keys stay as they are, whatever a probe says now: code that runs may rely on the value that
//! another piece of code saw before, and code that is bound does not look. The caller is told of these.

use crate::bind::MOST;
use crate::key::decide;
use crate::key::state::Verdict;
use crate::module::{self, Module, ModuleKey};
use crate::switch::{self, NotSet, Set, Setting};
use crate::symbol::features;
use crate::text::{Sink, Text};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use invar_abi::state::number_width;
use invar_abi::{Origin, flags};

/// Asks the probes of this module's keys and switches again. Switches that their own probe decided, and nobody has set since, are
/// set to what the probes say now ([`set`](crate::set)). No key changes: for each whose probe has another answer than its verdict,
/// `differs` is called with the name of the key, of the value that it has, and of the value that the probe gives, which is the first
/// one where the probe fails. A constant has its number in the place of the value's name, and `default` where nobody decided it.
///
/// For programs that go on in another place than they began in: restored from a checkpoint
/// ([CRIU](https://criu.org)), or moved with their virtual machine to a host with another CPU. There a key as
/// [`cpu::AVX512BW`](crate::cpu::AVX512BW) may say what is true no more: the program can end itself, or be moved back. A feature that
/// has come stays unused.
///
/// Of keys that other modules decided only those are looked at that say what the CPU has, and `differs` is called for features that it has
/// no more. Keys that settings decided, the time slice key and those of symbols are not looked at. Probes run in the
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
    let own = module::own().ok_or(NotSet::Unknown)?;
    rebind_by(&own, &mut |key, has, is_now| differs(text(key), text(has), text(is_now)))
}

fn text(name: &CStr) -> &str {
    name.to_str().unwrap_or("?")
}

/// The same for any module.
pub(crate) fn rebind_by(own: &Module<'_>, differs: &mut dyn FnMut(&CStr, &CStr, &CStr)) -> Result<Set, NotSet> {
    let mut settings = [Setting::named("", ""); MOST];
    let mut count = 0;
    features::forget();
    for (number, key) in own.keys().enumerate() {
        // Several records may be of one key.
        if own.keys().position(|other| core::ptr::eq(other.state, key.state)) != Some(number) {
            continue;
        }
        let Some((has, is_now)) = asked(&key) else { continue };
        if has == is_now {
            continue;
        }
        if key.flags & flags::SWITCH != 0 {
            *settings.get_mut(count).ok_or(NotSet::TooMany)? =
                Setting::by_probe(key.name(), key.value_name(is_now.value));
            count += 1;
        } else {
            let [mut one, mut other] = [Text::new(), Text::new()];
            differs(c_name(key.names(), 0), has.text(&key, &mut one), is_now.text(&key, &mut other));
        }
    }
    switch::set(&settings[..count])
}

/// What a probe has answered.
#[derive(Clone, Copy, PartialEq)]
struct Answer {
    value: u8,
    /// Of a constant that was decided.
    number: Option<u64>,
}

impl Answer {
    /// The name of the value, or the number.
    fn text<'a>(self, key: &ModuleKey<'a>, digits: &'a mut Text<24>) -> &'a CStr {
        match self.number {
            None => c_name(key.names(), self.value as usize + 1),
            Some(number) => {
                (digits as &mut dyn Sink).dec(number);
                digits.put(b"\0");
                CStr::from_bytes_until_nul(digits.as_bytes()).unwrap_or(c"?")
            }
        }
    }
}

/// One of a key's names, each of which has a NUL behind it: its own, or behind that a value's.
fn c_name(names: &[u8], index: usize) -> &CStr {
    let mut rest = names;
    for _ in 0..index {
        let end = rest.iter().position(|&byte| byte == 0);
        rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
    }
    CStr::from_bytes_until_nul(rest).unwrap_or(c"?")
}

/// What a key has by its own probe, and what the probe gives now.
fn asked(key: &ModuleKey<'_>) -> Option<(Answer, Answer)> {
    let (value, origin) = key.state.outcome()?;
    let origin = Origin::from_byte(origin);
    let by_probe = matches!(origin, Origin::Probe | Origin::Failed);
    // Its own module's probe was asked as well, and allowed this value.
    let allowed = origin == Origin::Adopted && key.flags & flags::PROVES != 0;
    if !(by_probe || allowed) || key.flags & (flags::SYMBOL | flags::TIMESLICE) != 0 {
        return None;
    }
    let number = key.number().map(|number| number.load(Relaxed));
    let has = Answer { value, number: number.filter(|_| value != 0) };
    let mut verdict = Verdict::undecided();
    decide::probe(key, &mut verdict);
    let mut is_now = Answer { value: verdict.value(), number: None };
    if let Some(width) = number.and(number_width(key.names())) {
        let fits = verdict.data.checked_shr(width).unwrap_or(0) == 0;
        is_now.value *= u8::from(fits);
        is_now.number = (is_now.value != 0).then_some(verdict.data);
    }
    (by_probe || is_now.value < value).then_some((has, is_now))
}
