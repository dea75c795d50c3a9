//! What came of binding, in words and in the numbers of a module's outcome.

use invar_abi::judge::Fault;
use invar_abi::outcome::{REFUSED_FOR_REASON, reason};

/// What stands at a site now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SiteStatus {
    /// The code for the key's value, without a check.
    Bound,
    /// The checked form that the compiler left. [`Reason`] says why.
    Checked,
    /// Other code: somebody has changed it, as a debugger does by a breakpoint. It was left alone.
    Foreign,
    /// The record does not describe a site of this module.
    Invalid(Fault),
}

impl SiteStatus {
    /// In words.
    pub(crate) fn describe(self) -> &'static [u8] {
        match self {
            Self::Bound => b"bound to ",
            Self::Checked => b"checked",
            Self::Foreign => b"foreign bytes, left alone",
            Self::Invalid(fault) => fault.describe().as_bytes(),
        }
    }
}

/// Why a module's sites stay in checked form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)] // by the numbers of the outcome, so that `to_numbers` and `from_numbers` are copies
pub enum Reason {
    /// `INVAR=off` or `INVAR_WRITER=off`.
    Setting = reason::SETTING,
    /// This architecture, or this system, has the checked form only.
    Architecture = reason::ARCHITECTURE,
    /// Only the writer `mprotect` was left, which is for processes with one thread, and there were so many.
    Threads(u32) = reason::THREADS,
    /// The same, and their number could not be read from `/proc/self/task`: errno.
    ThreadsUnknown(i32) = reason::THREADS_UNKNOWN,
    /// Every writer was refused. The errno is that of the first.
    Refused(i32) = reason::REFUSED,
    /// Sites are bound, but the kernel refused, with this errno, to give the text back the protection that it had. It
    /// stays writable.
    Writable(i32) = reason::WRITABLE,
    /// A tool has moved the module's code after it was linked. The tables lead to the places where the code was.
    Rewritten = reason::REWRITTEN,
    /// There are sites in text that may be executed, but not read.
    Unreadable = reason::UNREADABLE,
    /// Only the writer `mprotect` was left, and the text is mapped shared. Other processes would execute what is written there.
    Shared = reason::SHARED,
    /// The file at the module's path is not the one that it was loaded from. The writers `swap` and `memfd` need that file.
    OtherFile = reason::OTHER_FILE,
    /// The text is not as in its file, and the writer `memfd`, which would lose that, was the only one to be asked.
    Changed = reason::CHANGED,
    /// The kernel refused, with this errno, to make pages with pointers writable for a moment, or read-only again. The pointers of those
    /// that it did not make writable lead to their fallbacks.
    Pointers(i32) = reason::POINTERS,
}

impl Reason {
    /// The reason in words, behind which [`detail`](Self::detail) belongs.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Setting => "by setting",
            Self::Architecture if cfg!(invar_elsewhere) => "this system has no other form",
            Self::Architecture => "this architecture has no other form",
            Self::Threads(_) => {
                "only the writer mprotect was left, for processes with one thread; those of an emulator and of io_uring count; \
                 threads:"
            }
            Self::ThreadsUnknown(_) => {
                "only the writer mprotect was left, and the number of threads is not known: errno"
            }
            Self::Refused(_) => "every writer was refused, the first with errno",
            Self::Writable(_) => "its text stays writable, as the protection that it had was refused with errno",
            Self::Rewritten => {
                "a tool has moved code of this module after it was linked, and not the tables' distances"
            }
            Self::Unreadable => "there are sites in text that cannot be read",
            Self::Shared => "the text is mapped shared, and other processes would execute what is written there",
            Self::OtherFile => "the file at its path is not the one that it was loaded from",
            Self::Changed => "its text is not as in its file, and what could take that over was refused",
            Self::Pointers(_) => "pages with pointers were refused with errno",
        }
    }

    /// The number that goes with the reason: an errno, or a number of threads.
    pub fn detail(self) -> Option<u32> {
        match self {
            Self::Threads(_) | Self::ThreadsUnknown(_) | Self::Refused(_) | Self::Writable(_) | Self::Pointers(_) => {
                Some(self.to_numbers().1)
            }
            _ => None,
        }
    }

    pub(super) fn to_numbers(self) -> (u8, u32) {
        match self {
            Self::Setting => (reason::SETTING, 0),
            Self::Architecture => (reason::ARCHITECTURE, 0),
            Self::Threads(threads) => (reason::THREADS, threads),
            Self::ThreadsUnknown(errno) => (reason::THREADS_UNKNOWN, errno as u32),
            Self::Refused(errno) => (reason::REFUSED, errno as u32),
            Self::Writable(errno) => (reason::WRITABLE, errno as u32),
            Self::Rewritten => (reason::REWRITTEN, 0),
            Self::Unreadable => (reason::UNREADABLE, 0),
            Self::Shared => (reason::SHARED, 0),
            Self::OtherFile => (reason::OTHER_FILE, 0),
            Self::Changed => (reason::CHANGED, 0),
            Self::Pointers(errno) => (reason::POINTERS, errno as u32),
        }
    }

    /// The number of a refusal for this reason.
    pub(crate) fn to_refusal(self) -> u16 {
        match self {
            Self::Refused(errno) => errno as u16,
            _ => REFUSED_FOR_REASON | u16::from(self.to_numbers().0),
        }
    }

    /// Why a writer was refused, by the number that a module's outcome has for it; a number of threads is not in that.
    pub fn from_refusal(number: u16) -> Option<Self> {
        match number {
            0 => None,
            errno if errno < REFUSED_FOR_REASON => Some(Self::Refused(errno.into())),
            _ => Self::from_numbers(number as u8, 0),
        }
    }

    /// In a few words, for a writer that was refused: an errno where it is empty.
    pub fn brief(self) -> &'static str {
        match self {
            Self::Refused(_) => "",
            Self::Threads(_) => "more than one thread",
            Self::ThreadsUnknown(_) => "the number of threads is not known",
            Self::Shared => "the text is mapped shared",
            Self::OtherFile => "another file is at its path",
            Self::Changed => "the text is not as in its file",
            Self::Writable(_) => "the text stays writable",
            _ => self.describe(),
        }
    }

    /// The reason that a module's outcome gives in numbers (`docs/site-abi.md`).
    pub fn from_numbers(reason: u8, detail: u32) -> Option<Self> {
        match reason {
            reason::SETTING => Some(Self::Setting),
            reason::ARCHITECTURE => Some(Self::Architecture),
            reason::THREADS => Some(Self::Threads(detail)),
            reason::THREADS_UNKNOWN => Some(Self::ThreadsUnknown(detail as i32)),
            reason::REFUSED => Some(Self::Refused(detail as i32)),
            reason::WRITABLE => Some(Self::Writable(detail as i32)),
            reason::REWRITTEN => Some(Self::Rewritten),
            reason::UNREADABLE => Some(Self::Unreadable),
            reason::SHARED => Some(Self::Shared),
            reason::OTHER_FILE => Some(Self::OtherFile),
            reason::CHANGED => Some(Self::Changed),
            reason::POINTERS => Some(Self::Pointers(detail as i32)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::Writer;
    use super::*;
    use crate::documents::{SITE_ABI, table};

    /// `docs/site-abi.md`, outcome: reason, writers and detail.
    #[test]
    fn reasons_have_their_numbers() {
        use Reason::*;
        let documented = table(SITE_ABI, "## Outcome");
        let row = |name: &str| documented.iter().find(|row| row[2] == name).expect("a row")[3];
        let words = [
            (Setting, "setting"),
            (Architecture, "architecture"),
            (Threads(0), "threads"),
            (ThreadsUnknown(0), "threads unknown"),
            (Refused(0), "refused"),
            (Rewritten, "the module was rewritten"),
            (Unreadable, "a site cannot be read"),
            (Shared, "the text is mapped shared"),
            (OtherFile, "another file is at its path"),
            (Changed, "its text is not as in its file"),
            (Pointers(0), "pages with pointers"),
        ];
        for (reason, words) in words {
            let (number, _) = reason.to_numbers();
            let words = std::format!("{number} {words}");
            assert!(row("reason").split([',', ';']).any(|listed| listed.trim() == words), "{reason:?}: no {words:?}");
        }
        assert!(row("reason").ends_with("; or 6: they are bound, and the text stays writable"));
        assert_eq!(row("writers"), "those that were used: bit 0 swap, bit 1 memfd, bit 2 mprotect");
        assert_eq!([Writer::Swap, Writer::Memfd, Writer::Mprotect].map(|writer| writer as u8), [1, 2, 4]);
        assert_eq!(row("detail"), "number of threads (reason 3) or error number (4, 5, 6, 12)");
        let reasons = [
            Setting,
            Architecture,
            Threads(7),
            ThreadsUnknown(7),
            Refused(7),
            Writable(7),
            Rewritten,
            Unreadable,
            Shared,
            OtherFile,
            Changed,
            Pointers(7),
        ];
        for (number, reason) in (1..).zip(reasons) {
            let has_detail = (3..=6).contains(&number) || number == 12;
            assert_eq!(reason.to_numbers(), (number, if has_detail { 7 } else { 0 }));
            assert_eq!(reason.detail(), has_detail.then_some(7));
            assert_eq!(Reason::from_numbers(number, 7), Some(reason));
            let refusal = Reason::from_refusal(reason.to_refusal()).expect("a refusal");
            assert_eq!(refusal.to_numbers().0, number);
            assert_eq!(refusal.brief().is_empty(), reason == Refused(7));
        }
        assert_eq!([0, 13, 255].map(|number| Reason::from_numbers(number, 7)), [None; 3]);
        let numbers = [REFUSED_FOR_REASON - 1, REFUSED_FOR_REASON, REFUSED_FOR_REASON + 3];
        assert_eq!(numbers.map(Reason::from_refusal), [Some(Refused(4095)), None, Some(Threads(0))]);
    }
}
