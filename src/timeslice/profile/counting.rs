//! Whether slice sites are counted, and where: the key `slice.counting`, whose probe makes the table.
#![allow(unsafe_code)]

use super::table::{MAGIC, Table};
use crate::key::handle::{Key, Value};
use crate::key::state::{RawProbe, Verdict};
use crate::settings::{self, Path};
use crate::sys::{self, Errno, File};
use crate::text::{Evidence, Sink};
use core::sync::atomic::Ordering::Relaxed;
use invar_abi::{KeyRecord, Origin, flags};

crate::values! {
    /// What is counted of the slice sites.
    pub enum Counting {
        /// Nothing.
        Off,
        /// What the process and its threads ask for and get.
        Count,
        /// That, and what becomes of the sections of each site.
        Profile,
    }
}

/// The key of the counting form, named `slice.counting`. Its verdict's data is the address of the process's table.
pub static COUNTING: Key<Counting> = Key::new();

const _: () = {
    extern "C" fn probe(verdict: &mut Verdict, _: &KeyRecord) {
        // SAFETY: the probe of this key.
        unsafe {
            crate::__key_record!(
                crate::key::declare::Name::Given("slice.counting"),
                COUNTING,
                Counting,
                probe,
                flags::OWN
            )
        };
        decide(verdict);
    }
    #[used]
    static KEEP: RawProbe = probe;
};

/// The key's probe: it is what the settings say, if there can be a table.
#[cold]
fn decide(verdict: &mut Verdict) {
    let (counting, file) = settings::counting();
    let counting = Counting::from_byte(counting).unwrap_or(Counting::Off);
    let evidence = &mut verdict.evidence;
    if counting == Counting::Off {
        evidence.text("INVAR_SLICE does not ask for it");
        return;
    }
    let table = match file {
        Some(pattern) => in_file(&pattern, evidence),
        None => {
            evidence.text("in memory");
            sys::keep(None, size_of::<Table>())
        }
    };
    match table {
        Ok(address) => {
            // SAFETY: new memory of this size, zero at first, that is never unmapped.
            begin(unsafe { &*(address as *const Table) }, counting);
            verdict.value = counting as u8;
            verdict.data = address as u64;
        }
        Err(Errno(errno)) => {
            verdict.origin = Origin::Failed as u8;
            verdict.evidence.text(": cannot be made, errno ").number(errno.into());
        }
    }
}

/// A table in a new file; one that exists is not touched, and the next name taken.
#[cold]
fn in_file(pattern: &Path, evidence: &mut Evidence) -> sys::Result<usize> {
    let mut path = *pattern;
    let mut number = 1;
    let file = loop {
        let mut name = path;
        name.put(b"\0");
        match File::create(name.as_bytes()) {
            Err(Errno(libc::EEXIST)) if number < 100 => {
                number += 1;
                path = *pattern;
                path.text(".").number(number);
            }
            file => break file,
        }
    };
    evidence.text("in ").bytes(path.as_bytes());
    let file = file?;
    let table = file.reserve(size_of::<Table>()).and_then(|()| sys::keep(Some(&file), size_of::<Table>()));
    if table.is_err() {
        let mut name = path;
        name.put(b"\0");
        sys::remove(name.as_bytes());
    }
    table
}

#[cold]
fn begin(table: &Table, counting: Counting) {
    let header = &table.header;
    header.process.store(sys::process_id(), Relaxed);
    header.counting.store(counting as u64, Relaxed);
    let slice = slice_length();
    header.slice.store(slice.unwrap_or(DEFAULT_SLICE), Relaxed);
    header.slice_is_known.store(slice.is_some().into(), Relaxed);
    table.note_time(&header.start);
    header.magic.store(MAGIC, Relaxed);
}

/// Nanoseconds. Source: Linux 7.0, kernel/rseq.c, `rseq_slice_ext_nsecs`.
const DEFAULT_SLICE: u64 = 5_000;

/// What the administrator chose, where this process may read it.
#[cold]
fn slice_length() -> Option<u64> {
    let file = File::open(b"/sys/kernel/debug/rseq/slice_ext_nsec\0", libc::O_RDONLY).ok()?;
    let mut text = [0; 16];
    let length = file.read(&mut text).ok()?;
    number(&text[..length])
}

/// The number that a text begins with, if it is not 0.
#[cold]
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0_u64, |number, byte| number.wrapping_mul(10).wrapping_add((byte - b'0').into())))
        .filter(|&number| number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use invar_arch as arch;

    #[test]
    fn the_kernel_says_nanoseconds() {
        let texts: [&[u8]; 5] = [b"5000\n", b"12", b"0\n", b"", b"x1"];
        assert_eq!(texts.map(number), [Some(5000), Some(12), None, None, None]);
    }

    /// Counted in files of their own: names that are taken are passed by.
    #[test]
    fn a_file_that_exists_is_not_touched() {
        struct Folder(std::path::PathBuf);
        impl Drop for Folder {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
        let folder = Folder(std::env::temp_dir().join(std::format!("invar-profile-{}", std::process::id())));
        std::fs::create_dir(&folder.0).unwrap();
        let path = std::format!("{}/profile", folder.0.display());
        let mut pattern = Path::new();
        pattern.text(&path);
        for name in [path.clone(), std::format!("{path}.2"), std::format!("{path}.3")] {
            let mut evidence = Evidence::new();
            let table = in_file(&pattern, &mut evidence).unwrap();
            assert_eq!(evidence.as_str(), std::format!("in {name}"));
            // SAFETY: new memory of this size, zero at first, that is never unmapped.
            begin(unsafe { &*(table as *const Table) }, Counting::Count);
            // docs/profile.md: magic, process, counting, slice; the start of both clocks.
            let bytes = std::fs::read(&name).unwrap();
            let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            assert_eq!((&bytes[..8], bytes.len()), (&b"invarsl1"[..], 852_224));
            assert_eq!((word(8), word(16)), (std::process::id().into(), 1));
            assert!(word(24) > 0 && word(32) <= 1 && word(56) > 0 && (word(48) > 0 || !arch::REQUESTS));
        }
        // The last name that is tried.
        (4..=100).for_each(|number| std::fs::write(std::format!("{path}.{number}"), "").unwrap());
        assert_eq!(in_file(&pattern, &mut Evidence::new()), Err(Errno(libc::EEXIST)));
        std::fs::remove_file(std::format!("{path}.100")).unwrap();
        assert!(in_file(&pattern, &mut Evidence::new()).is_ok());
    }
}
