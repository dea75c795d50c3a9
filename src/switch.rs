//! Switches: keys that may be set again when all is loaded.
//!
//! A switch is decided as any key is. [`set`] gives it another value, in all modules of the process that have a switch of that name:
//! for each module it has the pages with the switch's sites exchanged ([`bind::change`]), and when all modules are done it stores the
//! value where [`Key::get`] and the checked forms look. If one module cannot follow, the others get their pages back.
#![allow(unsafe_code)]

use crate::bind::{self, Change, Changes, Counted, MOST, Reason, Unchanged};
use crate::key::handle::{Key, SWITCH, Value};
use crate::key::state::State;
use crate::module::{self, Module, ModuleKey};
use crate::sys;
use invar_abi::{Origin, flags};
use invar_arch as arch;

/// What stands behind a switch that [`switch!`](crate::switch!) declares: a [`Key`] that may be set again.
pub type Switch<T> = Key<T, SWITCH>;

/// A switch and a value that it is to have: [`Key::to`], or [`named`](Self::named).
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    switch: Which<'a>,
    value: Wanted<'a>,
    /// What the verdict says of it.
    origin: Origin,
}

#[derive(Clone, Copy)]
enum Which<'a> {
    State(&'a State),
    Name(&'a [u8]),
}

#[derive(Clone, Copy)]
enum Wanted<'a> {
    Number(u8),
    Name(&'a [u8]),
}

/// What came of setting switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Set {
    /// Sites of the switches that are bound to the new values, in all modules; one for each record, where several lead to one site.
    pub bound: u32,
    /// Sites that are not bound, and test their switch at each use: they could not be by this set either, or are not to be
    /// (`INVAR_WRITER=off`).
    pub checked: u32,
}

/// Why switches were not set. Each of them has the value that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotSet {
    /// No module has a switch of this name; or it is not decided yet, as in a probe or before the constructors have run.
    Unknown,
    /// The switch has no such value.
    NoValue,
    /// More switches than can be set at once, which are 64 for each module.
    TooMany,
    /// The caller is a signal's handler: it runs on an alternate signal stack, or has interrupted the loader. The same where another
    /// thread was mapping or unmapping libraries for a second; or was, or was setting switches, when this process was made by `fork`.
    InSignalHandler,
    /// At a site of a switch, which has this address, stands code that is none of its forms: somebody else has changed it, and
    /// nobody knows by which value it goes. The [`report()`](crate::report()) has it as foreign, with its module.
    Foreign(usize),
    /// The text of a module could not be exchanged, for this reason. So many sites could not be taken back either: they are bound to
    /// the new values, and the others to the old ones. It is 0 but where memory ran out twice, or somebody else changes the text.
    Refused(Reason, u32),
}

impl<T: Value> Key<T, SWITCH> {
    /// Gives the switch this value in all modules of the process, while other threads run.
    ///
    /// When it returns, all sites of all modules go by the new value, and so does [`get`](Self::get). Meanwhile a thread may meet
    /// sites of both values: each page of code changes in one step, several pages and modules do not. If the switch has the value
    /// already, only sites that test it at each use are tried again. Two threads that set switches do so one after the other, and a library that is loaded
    /// meanwhile has the last value. To glibc's loader the modules of a namespace (`dlmopen(3)`) are all: those of another one have
    /// switches of their own.
    ///
    /// It takes some ten microseconds for each page with sites of the switch, a few system calls, the loader's lock and a lock of
    /// the process; it needs 32 KiB of stack, 48 without optimisation.
    ///
    /// It must not be called from a signal's handler, which may have interrupted the loader, whose list of libraries is about to
    /// change. That is refused on an alternate signal stack, and wherever glibc's loader says that it is mapping or unmapping libraries
    /// (`r_debug`, which it keeps for debuggers). Signals wait while switches are set, so no handler interrupts that. Some cannot be
    /// recognised, and may wait for ever: those that interrupted musl's loader, glibc's while it puts a library into its list, or another
    /// walk through that list.
    ///
    /// [`fork`](https://man7.org/linux/man-pages/man2/fork.2.html) waits until no thread sets switches, for a second at most: its child
    /// can set them, and open libraries. To the child of one that is made all the same that is refused, by the copy of the runtime that was
    /// at it. It waits for a library with switches to be bound, too, but not for the loader itself: of children
    /// that are made while another thread opens or closes libraries, glibc's loader tells some for ever that it is at work, and nobody can set
    /// switches there until a library is opened; others have its lock, as below. Children that other calls made meanwhile, as `_Fork` or `clone`, have locks that are held for
    /// ever. With glibc's loader nobody there can set switches, nor open libraries: who tries never returns. With musl's, it waits for
    /// a second first. Some sites of such a child may have the other value, until the switch is set again.
    ///
    /// # Errors
    ///
    /// See [`NotSet`]. All is as it was then.
    ///
    /// ```
    /// invar::switch! {
    ///     /// Whether each request is written down.
    ///     static TRACE: bool = |_| Ok(false);
    /// }
    ///
    /// fn request() -> &'static str {
    ///     if invar::branch!(TRACE) { "written down" } else { "served" }
    /// }
    ///
    /// assert_eq!(request(), "served");
    /// TRACE.set(true).expect("the switch is decided, and its page can be exchanged");
    /// assert_eq!(request(), "written down");
    /// ```
    pub fn set(&self, value: T) -> Result<Set, NotSet> {
        set(&[self.to(value)])
    }

    /// This switch with this value, for [`set`].
    pub fn to(&self, value: T) -> Setting<'_> {
        Setting { switch: Which::State(self.state()), value: Wanted::Number(value.to_byte()), origin: Origin::Set }
    }
}

impl<'a> Setting<'a> {
    /// The switch of this name with the value of this name, as reports and settings have them.
    pub fn named(switch: &'a str, value: &'a str) -> Self {
        Self::by_names(switch.as_bytes(), value.as_bytes())
    }

    /// The same, of any bytes.
    pub(crate) fn by_names(switch: &'a [u8], value: &'a [u8]) -> Self {
        Self { switch: Which::Name(switch), value: Wanted::Name(value), origin: Origin::Set }
    }

    /// The same, where the switch's probe says so.
    pub(crate) fn by_probe(switch: &'a [u8], value: &'a [u8]) -> Self {
        Self { origin: Origin::Probe, ..Self::by_names(switch, value) }
    }

    /// The number of the value that the switch is to have.
    fn value_of(&self, switch: &ModuleKey<'_>) -> Option<u8> {
        (0..switch.values).find(|&number| match self.value {
            Wanted::Number(value) => number == value,
            Wanted::Name(value) => switch.value_name(number) == value,
        })
    }
}

impl core::fmt::Debug for Setting<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Setting")
    }
}

/// Gives several switches other values, as [`Key::set`] does one: sites that lie in one page change in one step.
///
/// ```
/// # invar::switch! { static LOG: bool = |_| Ok(false); }
/// # invar::switch! { #[name = "example.trace"] static TRACE: bool = |_| Ok(false); }
/// invar::set(&[LOG.to(true), invar::Setting::named("example.trace", "on")])?;
/// assert!(LOG.get() && TRACE.get());
/// # Ok::<(), invar::NotSet>(())
/// ```
#[cold]
pub fn set(settings: &[Setting<'_>]) -> Result<Set, NotSet> {
    // glibc's loader never gives its lock back in such a process: who wants it would wait for ever, with all signals.
    let is_stranded = cfg!(target_env = "gnu") && sys::is_stranded();
    if is_stranded || sys::is_on_signal_stack() || !module::loader_rests() {
        return Err(NotSet::InSignalHandler);
    }
    let mut result = Err(NotSet::Unknown);
    sys::without_forks(&mut || {
        module::exclusively(&mut || result = Job::of(settings).and_then(|job| job.run()));
    });
    result
}

/// What is to be set. The caller has the process's lock.
struct Job {
    /// Of each setting, the names of the switch and of its values, the number of the value, and the origin.
    wanted: [(&'static [u8], u8, Origin); MOST],
    count: usize,
}

/// Takes a module and its switches that are to be set, and says whether to go on.
type Visit<'v> = dyn FnMut(&Module<'_>, &Changes<'_>) -> bool + 'v;

impl Job {
    fn of(settings: &[Setting<'_>]) -> Result<Self, NotSet> {
        let mut job = Self { wanted: [(b"", 0, Origin::Set); MOST], count: settings.len() };
        let wanted = job.wanted.get_mut(..settings.len()).ok_or(NotSet::TooMany)?;
        for (setting, wanted) in settings.iter().zip(wanted) {
            // SAFETY: the loader unloads nothing meanwhile.
            let switch = unsafe { setting.switch.find() }.ok_or(NotSet::Unknown)?;
            *wanted = (switch.names(), setting.value_of(&switch).ok_or(NotSet::NoValue)?, setting.origin);
        }
        Ok(job)
    }

    fn run(&self) -> Result<Set, NotSet> {
        let (mut set, mut modules, mut refused) = (Set { bound: 0, checked: 0 }, 0, None);
        self.each(&mut |module, changes| {
            modules += 1;
            match exchange(module, changes, true) {
                Ok(counted) => (set.bound, set.checked) = (set.bound + counted.bound, set.checked + counted.checked),
                Err(unchanged) => refused = Some(unchanged),
            }
            refused.is_none()
        })?;
        if let Some(Unchanged { reason, foreign, .. }) = refused {
            return Err(match (self.undo(modules)?, foreign) {
                (0, Some(site)) => NotSet::Foreign(site),
                (torn, _) => NotSet::Refused(reason, torn),
            });
        }
        self.each(&mut |_, changes| {
            changes.iter().for_each(|change| change.state.set(change.value, change.origin));
            true
        })?;
        Ok(set)
    }

    /// Has the sites of so many modules go by the values that the switches still have; how many do not.
    #[cold]
    fn undo(&self, mut modules: u32) -> Result<u32, NotSet> {
        let mut torn = 0;
        self.each(&mut |module, changes| {
            if let Err(unchanged) = exchange(module, &changes.back(), false) {
                torn += unchanged.stale;
            }
            modules -= 1;
            modules > 0
        })?;
        Ok(torn)
    }

    fn each(&self, visit: &mut Visit<'_>) -> Result<(), NotSet> {
        let mut result = Ok(true);
        module::each(|module| {
            if result == Ok(true) {
                result = self.changes(module).map(|changes| changes.is_empty() || visit(module, &changes));
            }
        });
        result.map(|_| ())
    }

    /// The switches of a module that are to be set.
    fn changes<'a>(&self, module: &Module<'a>) -> Result<Changes<'a>, NotSet> {
        let mut changes = Changes::default();
        for key in module.keys().filter(is_switch) {
            // The last one counts.
            let wanted = self.wanted.iter().take(self.count).rfind(|(names, ..)| key.names() == *names);
            if let Some(&(_, value, origin)) = wanted
                && !changes.push(Change { state: key.state, value, values: key.values, origin })
            {
                return Err(NotSet::TooMany);
            }
        }
        Ok(changes)
    }
}

impl Which<'_> {
    /// The switch, in the first module that has it.
    ///
    /// # Safety
    ///
    /// The module must stay loaded as long as the result is used.
    unsafe fn find(self) -> Option<ModuleKey<'static>> {
        let mut found = None;
        module::each(|module| {
            let here = match self {
                Self::State(state) => module.key_at(core::ptr::from_ref(state) as usize).filter(is_switch),
                Self::Name(name) => module.find_key(name, 0, &is_switch).map(|(_, key)| key),
            };
            // SAFETY: all that it borrows lies in the module, as the caller vouches.
            found = found.or(here.map(|key| unsafe { core::mem::transmute::<ModuleKey<'_>, ModuleKey<'static>>(key) }));
        });
        found
    }
}

/// Whether it is a switch that can be set: where a key is not decided, its module will adopt what others have.
fn is_switch(key: &ModuleKey<'_>) -> bool {
    key.flags & flags::SWITCH != 0 && key.state.decided()
}

/// Has the sites of a module go by these values, if its constructor has bound them. While that is at it, nobody else is here, and it
/// looks at the values last (`load.rs`). What stays in checked form is tried `again`.
fn exchange(module: &Module<'_>, changes: &Changes<'_>, again: bool) -> Result<Counted, Unchanged> {
    if !arch::PATCHES || module.rewritten || !module.outcome.loaded() {
        return Ok(Counted::default());
    }
    // SAFETY: the loader has this module, and does not unload it meanwhile; the caller has the process's lock.
    unsafe { bind::change(module, changes, again) }
}

/// Has a module bound. If it has switches, others set none meanwhile, and those that they have set since it was decided have these
/// values in it too.
pub(crate) fn load(own: &Module<'_>, bind: impl Fn()) {
    if own.keys_of(flags::SWITCH, flags::SWITCH).next().is_some() {
        sys::without_forks(&mut || {
            module::exclusively(&mut || {
                catch_up(own);
                bind();
            });
        });
    } else {
        bind();
    }
}

#[cold]
fn catch_up(own: &Module<'_>) {
    module::each(|other| {
        if other.base == own.base || !other.outcome.loaded() {
            return;
        }
        for ours in own.keys().filter(is_switch) {
            let same = |theirs: &ModuleKey<'_>| {
                is_switch(theirs) && ours.same_as(theirs) && theirs.state.value() < ours.values
            };
            if let Some((_, theirs)) = other.find_key(ours.name(), 0, &same)
                && theirs.state.sets() > 0
                && theirs.state.value() != ours.state.value()
            {
                ours.state.set(theirs.state.value(), Origin::Set);
            }
        }
    });
}
