//! What stands at one site: the record, checked as a binder would check it, and the code compared with the forms that
//! the record promises.

use crate::module::{Key, Module, Record};
use crate::text::clean;
use invar::{Kind, Site};
use invar_abi::Segmented;
use invar_abi::judge::{self, Fault, Memory};
use std::fmt;

/// What was found where a site record leads.
pub struct Found<'a> {
    /// What stands there.
    pub standing: Standing,
    /// The site's kind, unless there is no such kind.
    pub kind: Option<Kind>,
    /// The site's key, if the record names one.
    pub key: Option<&'a Key>,
    /// The bytes at the site, if they can be read and lie in the module's text.
    pub code: Option<Vec<u8>>,
}

/// What stands at a site; in the order in which listings count them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The form for this value.
    Bound(String),
    /// The form that the compiler left.
    Checked,
    /// Neither: in what way.
    Foreign(&'static str),
    /// Bytes that cannot be judged: why not, unless that is so of all.
    Unverified(Option<&'static str>),
    /// The record describes no site of the module: why not.
    Invalid(&'static str),
}

const NAMES: [&str; 5] = ["bound", "checked", "foreign", "unverified", "invalid"];

impl Standing {
    fn index(&self) -> usize {
        match self {
            Self::Bound(_) => 0,
            Self::Checked => 1,
            Self::Foreign(_) => 2,
            Self::Unverified(_) => 3,
            Self::Invalid(_) => 4,
        }
    }

    /// In one word.
    pub fn name(&self) -> &'static str {
        NAMES[self.index()]
    }

    /// For which value the code stands.
    pub fn bound_to(&self) -> Option<&str> {
        if let Self::Bound(value) = self { Some(value) } else { None }
    }

    /// What is wrong, or not known.
    pub fn why(&self) -> Option<&'static str> {
        match self {
            Self::Foreign(why) | Self::Invalid(why) => Some(why),
            Self::Unverified(why) => *why,
            Self::Bound(_) | Self::Checked => None,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.why()) {
            (Self::Bound(value), _) => write!(f, "bound to {}", clean(value)),
            (_, Some(why)) => write!(f, "{}: {why}", self.name()),
            (_, None) => f.write_str(self.name()),
        }
    }
}

/// How many sites stand in which way.
#[derive(Default)]
pub struct Tally([u64; NAMES.len()]);

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, standing: &Standing) {
        self.0[standing.index()] += 1;
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (name, number) in NAMES.iter().zip(self.0).filter(|(_, number)| *number > 0) {
            write!(f, "{between}{number} {name}")?;
            between = ", ";
        }
        Ok(())
    }
}

/// Why no site's bytes can be checked, if none can.
pub fn obstacle(forms: u16) -> Option<&'static str> {
    (forms == 0).then_some("sites of this architecture cannot be checked")
}

/// Looks at one site; with `checkable` false only at its record.
pub fn inspect<'a>(module: &'a Module<'_>, record: &Record, checkable: bool) -> Found<'a> {
    let kind = Kind::of(record.kind, record.flags);
    let in_text = module.is_text(record.address, record.length.into());
    let code = if in_text { module.code(record.address, record.length) } else { None };
    let mut memory = module;
    let standing = match (
        record.flags,
        record.kind,
        judge::site(&record.record, [record.address, record.target, record.state], &mut memory),
    ) {
        _ if record.blank => Standing::Invalid("removed by a tool"),
        (.., Err(fault)) => Standing::Invalid(fault.describe()),
        (.., Ok((site, key))) if site.kind == Kind::Pointer => pointer(module, record, key),
        _ if code.is_none() => Standing::Invalid("its bytes are cut off"),
        _ if !checkable => Standing::Unverified(None),
        (.., Ok((_, key))) => match telling(module, record, key) {
            Err(fault) => Standing::Invalid(fault.describe()),
            Ok(site) => match judge::standing(&site, key, module.outcome.request(), &mut memory) {
                Ok(standing) => judged(&site, key, standing),
                Err(fault) => Standing::Invalid(fault.describe()),
            },
        },
    };
    Found { standing, kind, key: module.key(record.state), code }
}

/// Where a pointer leads.
fn pointer(module: &Module<'_>, record: &Record, key: &Key) -> Standing {
    let target = |value| module.pointer_target(record, value);
    let Some(fallback) = target(0) else { return Standing::Invalid(judge::Fault::NoFallback.describe()) };
    let Some(holds) = module.word(record.address, record.length) else {
        return Standing::Invalid(judge::Fault::Unreadable.describe());
    };
    match key.decided() {
        Some(value) if target(value) == Some(holds) => Standing::Bound(key.value_name(value)),
        _ if holds == fallback => Standing::Checked,
        None if holds == 0 && !module.outcome.loaded => Standing::Unverified(Some("the loader fills it in")),
        _ => Standing::Foreign("it leads elsewhere than its key's value and its fallback"),
    }
}

/// The site of the record that tells how this one's is bound: of those of a select, the one for the key's value, if that is known.
fn telling(module: &Module<'_>, record: &Record, key: &Key) -> Result<Site, Fault> {
    of_value(module, record, key.decided().unwrap_or(record.value))
}

/// The site of the record that tells how this one's is bound where its key has this value.
pub fn of_value(module: &Module<'_>, record: &Record, value: u8) -> Result<Site, Fault> {
    let places = |record: &Record| [record.address, record.target, record.state];
    let on = judge::telling(&record.record, value) as i64;
    let telling = record.index.checked_add_signed(on).and_then(|index| module.record(index));
    let telling = telling
        .filter(|telling| on == 0 || judge::is_of_select(&telling.record, [places(record), places(telling)], value));
    let telling = telling.ok_or(Fault::Select)?;
    judge::site(&telling.record, places(&telling), &mut &*module).map(|(site, _)| site)
}

/// What a site's form means for its key.
fn judged(site: &Site, key: &Key, standing: judge::Standing) -> Standing {
    let named = key.value_name(site.value);
    let decided = key.decided();
    match (standing, decided) {
        (judge::Standing::Checked, _) => Standing::Checked,
        (judge::Standing::Foreign, None) if matches!(site.kind, Kind::Select | Kind::Constant) => {
            Standing::Unverified(Some("its key is undecided, and nothing else says what is to stand there"))
        }
        (judge::Standing::Foreign, _) => Standing::Foreign("neither the checked form nor a bound one"),
        (judge::Standing::Requests, Some(value)) if site.falls_through(value) => {
            Standing::Foreign("neither the checked form nor a bound one")
        }
        (judge::Standing::Requests, _) => {
            Standing::Unverified(Some("bound, to a request byte that nothing here leads to"))
        }
        (standing, Some(value)) if standing.is_for(site, value) => Standing::Bound(key.decision().unwrap_or_default()),
        (_, Some(_)) => Standing::Foreign("bound, and not to its key's value"),
        (judge::Standing::FallsThrough, None) if site.kind == Kind::Ordered => {
            Standing::Bound(format!("at least {named}"))
        }
        (_, None) if site.kind == Kind::Ordered => Standing::Bound(format!("below {named}")),
        (judge::Standing::FallsThrough, None) => Standing::Bound(named),
        (_, None) if site.kind == Kind::Select => Standing::Bound(named),
        // All values but the site's own have one form.
        (_, None) if key.values.len() == 2 => Standing::Bound(key.value_name(site.value ^ 1)),
        (_, None) => Standing::Bound(format!("not {named}")),
    }
}

/// A file's memory, or another process's.
impl<'a> Memory for &'a Module<'_> {
    type Key = &'a Key;

    fn machine(&self) -> u16 {
        self.forms
    }

    fn is_text(&mut self, address: u64, length: u8) -> bool {
        Module::is_text(self, address, length.into())
    }

    fn key(&mut self, state: u64) -> Option<(&'a Key, u8)> {
        let module: &'a Module<'_> = self;
        module.key(state).map(|key| (key, key.flags))
    }

    fn is_slot(&mut self, address: u64, length: u8) -> bool {
        Segmented::is_slot(*self, address, length.into())
    }

    fn is_loaded(&mut self, address: u64) -> bool {
        Module::is_loaded(self, address)
    }

    fn number(&mut self, key: &'a Key) -> Option<u64> {
        key.number()
    }

    fn read(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        let code = u8::try_from(bytes.len()).ok().and_then(|length| self.code(address, length));
        code.inspect(|code| bytes.copy_from_slice(code)).is_some()
    }
}
