//! The grammar of `INVAR` and `INVAR_KEYS`: where a word ends, what it means, and which of several counts.
//!
//! Two read by it: the runtime, when a module is loaded, in the strings that libc has; and resolvers (`symbol`), which run before
//! their module is relocated, in what a system call gives, byte by byte. So nothing here follows a pointer that has to be
//! relocated, and nothing calls libc or does what a compiler makes a call of, such as to compare slices.

/// The settings' names. As bytes: strings would have to be relocated, in every module.
pub(super) const NAMES: &[u8] =
    b"INVAR INVAR_KEYS INVAR_WRITER INVAR_REPORT INVAR_GUARD INVAR_HELP INVAR_SLICE INVAR_PROFILE";
pub(super) const MODES: &[u8] = b"off auto require";

/// What `INVAR` says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Off,
    Auto,
    Require,
}

/// What a variable says.
pub(crate) enum Said<'a> {
    /// `INVAR`. `None`: with none of its values, so it does not count.
    Mode(Option<Mode>),
    /// An entry of `INVAR_KEYS`. Of several for one key the last counts; and none before the `first` of the last variable.
    Entry { entry: &'a [u8], first: bool },
}

/// Reads variables, as a sequence of words and of the bytes that end them.
pub(crate) struct Reader {
    part: Part,
    /// Whether nothing of this `INVAR_KEYS` has been read.
    fresh: bool,
}

#[derive(Clone, Copy)]
enum Part {
    Name,
    Mode,
    Keys,
    Other,
}

impl Reader {
    /// At the beginning of a variable.
    pub(crate) const fn new() -> Self {
        Self { part: Part::Name, fresh: true }
    }

    /// At the beginning of what `INVAR_KEYS` says.
    pub(super) const fn of_keys() -> Self {
        Self { part: Part::Keys, fresh: true }
    }

    /// Whether this byte ends the word, and is none of it. NUL ends the variable as well.
    pub(crate) fn ends(&self, byte: u8) -> bool {
        let end = match self.part {
            Part::Name => b'=',
            Part::Keys => b',',
            Part::Mode | Part::Other => 0,
        };
        byte == end || byte == 0
    }

    /// What a word says, and the byte that ended it.
    #[inline(never)]
    pub(crate) fn take<'a>(&mut self, word: &'a [u8], end: u8) -> Option<Said<'a>> {
        let is_fresh = core::mem::replace(&mut self.fresh, false);
        let part = self.part;
        if end == 0 {
            self.part = Part::Name;
        }
        match part {
            Part::Name if end != 0 => {
                self.part = match place(word, NAMES) {
                    Some(0) => Part::Mode,
                    Some(1) => Part::Keys,
                    _ => Part::Other,
                };
                self.fresh = true;
                None
            }
            // A variable that is empty says nothing.
            Part::Mode | Part::Keys if is_fresh && end == 0 && word.is_empty() => None,
            Part::Mode => Some(Said::Mode(match place(word, MODES) {
                Some(0) => Some(Mode::Off),
                Some(1) => Some(Mode::Auto),
                Some(_) => Some(Mode::Require),
                None => None,
            })),
            Part::Keys => Some(Said::Entry { entry: word, first: is_fresh }),
            Part::Name | Part::Other => None,
        }
    }
}

/// What a text says, which ends where a variable ends.
pub(super) struct Words<'a> {
    reader: Reader,
    rest: Option<&'a [u8]>,
}

impl<'a> Words<'a> {
    pub(super) fn new(reader: Reader, text: &'a [u8]) -> Self {
        Self { reader, rest: Some(text) }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Said<'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Said<'a>> {
        while let Some(rest) = self.rest {
            let length = rest.iter().position(|&byte| self.reader.ends(byte));
            let (word, behind) = rest.split_at(length.unwrap_or(rest.len()));
            self.rest = behind.get(1..);
            let said = self.reader.take(word, behind.first().copied().unwrap_or(0));
            if said.is_some() {
                return said;
            }
        }
        None
    }
}

/// The entries of what `INVAR_KEYS` says.
pub(super) fn entries(keys: &[u8]) -> impl Iterator<Item = &[u8]> {
    Words::new(Reader::of_keys(), keys).filter_map(|said| match said {
        Said::Entry { entry, .. } => Some(entry),
        Said::Mode(_) => None,
    })
}

/// The value that this `INVAR_KEYS` names for a key; the last one counts.
#[cold]
pub fn value_of<'a>(keys: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    entries(keys).filter_map(pair).filter(|&(key, _)| key == name).map(|(_, value)| value).last()
}

/// An entry's key and value.
pub(crate) fn pair(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = name_length(entry)?;
    // Bounds that the compiler sees to hold: a resolver has nowhere to panic.
    Some((entry.get(..equals)?, entry.get(equals + 1..)?))
}

/// How long the name before `=` is.
pub(super) fn name_length(setting: &[u8]) -> Option<usize> {
    for (length, &byte) in setting.iter().enumerate() {
        if byte == b'=' {
            return Some(length);
        }
    }
    None
}

/// Whether both are the same bytes.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    // No iterator over both: without optimisation it would call by a pointer.
    let (mut same, mut at) = (one.len() == other.len(), 0);
    while same && at < one.len() {
        same = one[at] == other[at];
        at += 1;
    }
    same
}

/// The place of `word` in a list of words with a space between them: the compiler would compare in line with each, in a good
/// part of this code.
pub(super) fn place(word: &[u8], words: &[u8]) -> Option<usize> {
    place_between(word, words, b' ')
}

/// The same for words with another separator.
#[inline(never)]
pub(super) fn place_between(word: &[u8], words: &[u8], separator: u8) -> Option<usize> {
    let (mut place, mut same, mut length) = (0, true, 0);
    for &byte in words {
        if byte != separator {
            same &= word.get(length).is_some_and(|&own| own == byte);
            length += 1;
            continue;
        }
        if same && length == word.len() && length > 0 {
            return Some(place);
        }
        (place, same, length) = (place + 1, true, 0);
    }
    (same && length == word.len() && length > 0).then_some(place)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::vec::Vec;

    /// Variables with a NUL behind each; whether they turn all off, and which of the keys `cpu.fast` and `cpu.wide-2` (a bit each).
    /// The runtime and the resolvers' reader are tested with them.
    pub(crate) const ENVIRONMENTS: &[(&str, bool, u64)] = &[
        ("", false, 0),
        ("A=INVAR=off\0", false, 0),
        ("INVARX=off\0XINVAR=off\0invar=off\0INVAR2=off\0", false, 0),
        ("A=b,INVAR=off\0", false, 0),
        ("INVAR\0INVAR_KEYS\0=INVAR=off\0=\0", false, 0),
        ("INVAR=off\0", true, 0),
        ("A\0INVAR=off\0B=c\0", true, 0),
        ("INVAR=off\0INVAR=\0INVAR=on\0", true, 0),
        ("INVAR=off\0INVAR=auto\0", false, 0),
        ("INVAR=off\0INVAR=require\0", false, 0),
        ("INVAR=auto\0INVAR=off\0", true, 0),
        ("INVAR=of\0", false, 0),
        ("INVAR=off,\0", false, 0),
        ("INVAR=off auto\0", false, 0),
        ("INVAR= off\0", false, 0),
        ("INVAR==off\0", false, 0),
        ("INVAR_KEYS=\0", false, 0),
        ("INVAR_KEYS=cpu.fast=off\0", false, 1),
        ("INVAR_KEYS=cpu.wide-2=off\0", false, 2),
        ("INVAR_KEYS=cpu.wide-2=off,cpu.fast=off\0", false, 3),
        ("INVAR_KEYS=cpu.fast=off,cpu.fast=on\0", false, 0),
        ("INVAR_KEYS=cpu.fast=on,cpu.fast=off\0", false, 1),
        ("INVAR_KEYS=cpu.fast=off,cpu.wide-2=on\0", false, 1),
        ("INVAR_KEYS=a=b,,c,cpu.fast=off,=\0", false, 1),
        ("INVAR_KEYS=,cpu.fast=off\0", false, 1),
        ("INVAR_KEYS=cpu.fast=offf\0", false, 0),
        ("INVAR_KEYS=cpu.fast=of\0", false, 0),
        ("INVAR_KEYS=cpu.fast=\0", false, 0),
        ("INVAR_KEYS=cpu.fast=off,cpu.fast=\0", false, 0),
        ("INVAR_KEYS=cpu.fast=off,cpu.fast\0", false, 1),
        ("INVAR_KEYS=cpu.fast==off\0", false, 0),
        ("INVAR_KEYS=cpu.fast=off=off\0", false, 0),
        ("INVAR_KEYS=cpu.fast=off \0", false, 0),
        ("INVAR_KEYS=cpu.fastoff\0", false, 0),
        ("INVAR_KEYS=cpu.fas=off\0", false, 0),
        ("INVAR_KEYS=cpu.fasts=off\0", false, 0),
        ("INVAR_KEYS=cpu.fust=off\0", false, 0),
        ("INVAR_KEYS=cpx.fast=off\0", false, 0),
        ("INVAR_KEYS=fast=off\0", false, 0),
        ("INVAR_KEYS=INVAR=off\0", false, 0),
        // Words that are longer than a resolver keeps.
        (
            "INVAR_KEYS=cpu.fast.and-so-on.and-so-on.and-so-on.and-so-on.and-so-on.and-so-on=off,cpu.wide-2=off\0",
            false,
            2,
        ),
        ("INVAR_KEYS=cpu.fast=off-and-so-on-and-so-on-and-so-on-and-so-on-and-so-on-and-so-on\0", false, 0),
        ("INVAR_AND_SO_ON_AND_SO_ON_AND_SO_ON_AND_SO_ON_AND_SO_ON_AND_SO_ON=off\0INVAR=off\0", true, 0),
        // The last one counts, unless it is empty.
        ("INVAR_KEYS=cpu.fast=off\0INVAR_KEYS=cpu.wide-2=off\0", false, 2),
        ("INVAR_KEYS=cpu.fast=off\0INVAR_KEYS=a\0", false, 0),
        ("INVAR_KEYS=cpu.fast=off\0INVAR_KEYS=,\0", false, 0),
        ("INVAR_KEYS=cpu.fast=off\0INVAR_KEYS=\0", false, 1),
        ("INVAR_KEYS=cpu.fast=off\0A=b\0INVAR=auto\0", false, 1),
        ("INVAR=off\0INVAR_KEYS=cpu.fast=off\0", true, 1),
    ];

    #[test]
    fn words_are_found_in_lists() {
        let places = [&b"a"[..], b"ab", b"", b" ", b"a ab", b"b", b"ab c", b"c", b"cc", b"A"];
        let found: Vec<_> = places.iter().map(|word| place(word, b"a ab c")).collect();
        assert_eq!(found, [Some(0), Some(1), None, None, None, None, None, Some(2), None, None]);
        assert_eq!((place(b"", b""), place(b"", b"a  b"), place(b"a", b"")), (None, None, None));
        assert_eq!((place(b"b", b"a  b"), place_between(b"b", b"a\0b\0", 0)), (Some(2), Some(1)));
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        let of = |keys: &'static str| value_of(keys.as_bytes(), b"slice");
        for keys in ["", "slice", "slice.hook=off", "a=slice=off", " slice=off", "=off", "slices=off", "slic=off"] {
            assert_eq!(of(keys), None, "{keys}");
        }
        for keys in
            ["slice=off", "slice=force,slice=off", "slice=off,", "a,slice=off,slice", ",slice=off,slice.hook=on"]
        {
            assert_eq!(of(keys), Some(&b"off"[..]), "{keys}");
        }
        assert_eq!((of("slice=off,slice="), of("slice=a=b")), (Some(&b""[..]), Some(&b"a=b"[..])));
    }

    #[test]
    fn an_entry_is_a_name_and_a_value() {
        assert_eq!(pair(b"a=b=c"), Some((&b"a"[..], &b"b=c"[..])));
        assert_eq!((pair(b"="), pair(b"a=")), (Some((&b""[..], &b""[..])), Some((&b"a"[..], &b""[..]))));
        assert_eq!((pair(b""), pair(b"ab")), (None, None));
    }
}
