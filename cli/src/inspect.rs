//! What stands at one site: the record, checked as a binder would check it, and the code compared with the forms that
//! the record promises.

use crate::module::{Key, Module, Record};
use crate::text::clean;
use invar::{Fault, Kind, Site};
use invar_abi::Code;
use invar_abi::record::{CONSTANT, POINTER};
use invar_abi::x86_64 as forms;
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
pub fn obstacle(is_x86_64: bool) -> Option<&'static str> {
    (!is_x86_64).then_some("sites of this architecture cannot be checked")
}

/// Looks at one site; with `checkable` false only at its record.
pub fn inspect<'a>(module: &'a Module<'_>, record: &Record, checkable: bool) -> Found<'a> {
    let kind = Kind::from_byte(record.kind).filter(|_| record.flags == 0);
    let key = module.key(record.state);
    let in_text = module.is_text(record.address, record.length.into());
    let code = if in_text { module.code(record.address, record.length) } else { None };
    let standing = match (kind, key, &code) {
        _ if record.blank => Standing::Invalid("blank record, dangling"),
        (None, ..) if record.flags == 0 && record.kind == POINTER => {
            Standing::Unverified(Some("a pointer, which this version leaves alone"))
        }
        (None, ..) if record.flags == 0 && record.kind == CONSTANT => {
            Standing::Unverified(Some("a constant, which this version leaves alone"))
        }
        (None, ..) => Standing::Invalid(Fault::Kind.describe()),
        _ if !in_text || !module.is_text(record.target, 1) => Standing::Invalid(Fault::OutsideText.describe()),
        (_, None, _) => Standing::Invalid(Fault::NoKey.describe()),
        // The checked forms of a branch and of a slice enter are alike: only the key tells them apart.
        (Some(kind), Some(key), _) if kind != Kind::Branch && (!key.slices || record.value != 0) => {
            Standing::Invalid(Fault::WrongKey.describe())
        }
        (_, _, None) => Standing::Invalid("its bytes are cut off"),
        _ if !checkable => Standing::Unverified(None),
        (Some(kind), Some(key), Some(code)) => {
            let Record { address, target, state, length, value, .. } = *record;
            let site = Site { address, target, state, length, kind, value };
            compare(&site, key, code, module.outcome.request())
        }
    };
    Found { standing, kind, key, code }
}

/// Compares the code at a valid site with the forms that it can have.
fn compare(site: &Site, key: &Key, code: &[u8], request: Option<i32>) -> Standing {
    let Some(checked) = forms::checked(site) else { return Standing::Invalid(Fault::Length.describe()) };
    let is = |form: Code| form.write_to(&mut [0; 16]) == code;
    if is(checked) {
        return Standing::Checked;
    }
    // All values but the site's own have one form.
    let another = site.value ^ 1;
    let stands_for = |value| forms::bound(site, value, request.unwrap_or(0)).is_some_and(is);
    let falls_through = stands_for(site.value);
    if !falls_through && !stands_for(another) {
        let may_request = request.is_none() && key.decided() != Some(site.value) && requests(site, another, code);
        return if may_request {
            Standing::Unverified(Some("bound, to a request byte that nothing here leads to"))
        } else {
            Standing::Foreign("neither the checked form nor a bound one")
        };
    }
    match key.decided() {
        Some(value) if (value == site.value) == falls_through => Standing::Bound(key.value_name(value)),
        Some(_) => Standing::Foreign("bound, and not to its key's value"),
        None if falls_through => Standing::Bound(key.value_name(site.value)),
        None if key.values.len() == 2 => Standing::Bound(key.value_name(another)),
        None => Standing::Bound(format!("not {}", key.value_name(site.value))),
    }
}

/// Whether the code is the site's form for this value, wherever the request byte may be.
fn requests(site: &Site, value: u8, code: &[u8]) -> bool {
    // The bytes in which these differ are those of the distance.
    let [zeros, ones] = [0, -1].map(|offset| forms::bound(site, value, offset));
    let (Some(zeros), Some(ones)) = (zeros, ones) else { return false };
    let (mut zeros_bytes, mut ones_bytes) = ([0; 16], [0; 16]);
    let forms = zeros.write_to(&mut zeros_bytes).iter().zip(ones.write_to(&mut ones_bytes));
    zeros.len() == code.len() && forms.zip(code).all(|((zero, one), byte)| zero != one || zero == byte)
}
