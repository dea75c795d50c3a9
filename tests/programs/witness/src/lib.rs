//! What a test program says about itself on standard output: one line a fact, its fields separated by tabs.
//!
//! | line | fields |
//! |---|---|
//! | `probe` | key, module: a probe ran |
//! | `result` | name, value: must not depend on how anything is bound |
//! | `chose` | name, what the site chose, what the key says |
//! | `code` | name, bytes: the beginning of a function, as it stands in memory |
//! | `module` | path, base, sites, bound, writers, reason |
//! | `key` | module, name, value, origin, evidence |
//! | `site` | module, address in the file, kind, key, value, length, status, bytes in memory |
//! | `differs` | path, first and last offset in the file, of executable memory that is not as in its file |
//! | `end` | the program came to its end |
//!
//! The lines of one library say `probe`, `result` and `chose` for it; the program says the rest for all modules.

use std::fmt::Display;
use std::io::Write;

/// Says that a probe runs. Straight to the descriptor, since it is called from constructors.
pub fn probing(key: &str, module: &str) {
    let line = format!("probe\t{key}\t{module}\n");
    // SAFETY: reads the line only.
    unsafe { libc::write(libc::STDOUT_FILENO, line.as_ptr().cast(), line.len()) };
}

pub fn result(name: &str, value: impl Display) {
    say(format_args!("result\t{name}\t{value}"));
}

/// Says what a site chose, and what its key has by an ordinary load.
pub fn chose<T: invar::Value, const PROVES: u64>(name: &str, site: T, key: &invar::Key<T, PROVES>) {
    // Hidden from the compiler, so that no compare of the key's state stands in the code beside those of sites.
    let key = std::hint::black_box(key).get();
    agree(name, site.to_byte(), key.to_byte());
}

/// The same for a key that was not declared in Rust.
pub fn agree(name: &str, site: u8, key: u8) {
    say(format_args!("chose\t{name}\t{site}\t{key}"));
}

/// Says how a function begins.
pub fn code(name: &str, function: fn()) {
    let function = function as *const u8;
    // SAFETY: text goes on for longer than this behind any function of a program that has `main` and std in it.
    let bytes = unsafe { std::slice::from_raw_parts(function, 256) };
    say(format_args!("code\t{name}\t{}", hex(bytes)));
}

/// The beginning of what the C library keeps of this thread, at its thread pointer: nobody else has any business there.
pub fn control_block() -> [usize; 8] {
    #[cfg(all(target_arch = "x86_64", not(invar_portable)))]
    {
        let mut words = [0; 8];
        for (at, word) in words.iter_mut().enumerate() {
            // SAFETY: reads the words that the x86-64 TLS ABI has libc keep there.
            unsafe { std::arch::asm!("mov {}, fs:[{}]", out(reg) *word, in(reg) 8 * at, options(nostack, readonly)) };
        }
        words
    }
    #[cfg(not(all(target_arch = "x86_64", not(invar_portable))))]
    [0; 8]
}

/// Says everything there is to say about the modules of this process.
pub fn tell() {
    invar::report().modules(|module| {
        let path = module.path().to_string_lossy();
        let writers: Vec<_> = module.writers().map(|writer| writer.name()).collect();
        let reason = module.reason().map_or("-".into(), |reason| {
            format!("{} {}", reason.describe(), reason.detail().map_or("".into(), |detail| detail.to_string()))
        });
        let (sites, bound) = (module.sites(), module.bound());
        let writers = writers.join("+");
        say(format_args!("module\t{path}\t{:#x}\t{sites}\t{bound}\t{writers}\t{}", module.base(), reason.trim()));
        for key in module.keys() {
            let (origin, evidence) = match key.verdict() {
                Some(verdict) => (verdict.origin().name(), plain(verdict.evidence())),
                None => ("undecided", String::new()),
            };
            let value = key.number().map_or_else(|| plain(key.value()), |number| number.to_string());
            say(format_args!("key\t{path}\t{}\t{value}\t{origin}\t{evidence}", plain(key.name())));
        }
        for binding in module.bindings() {
            let status = format!("{:?}", binding.status());
            let (Some(site), Some(key)) = (binding.site(), binding.key()) else {
                say(format_args!("site\t{path}\t-\t-\t-\t-\t-\t{status}\t-"));
                continue;
            };
            // SAFETY: a site that the runtime reports lies in readable text.
            let bytes = unsafe { std::slice::from_raw_parts(site.address as *const u8, site.length.into()) };
            say(format_args!(
                "site\t{path}\t{:#x}\t{}\t{}\t{}\t{}\t{status}\t{}",
                site.address as usize - module.base(),
                invar::kind_name(site.kind),
                plain(key.name()),
                site.value,
                site.length,
                hex(bytes)
            ));
        }
    });
    for (path, first, last) in differences() {
        say(format_args!("differs\t{path}\t{first:#x}\t{last:#x}"));
    }
    say(format_args!("end"));
}

/// Where the executable memory of this process is not what its files hold: path, first and last offset.
fn differences() -> Vec<(String, usize, usize)> {
    let mut found = Vec::<(String, usize, usize)>::new();
    // Where there is no /proc, nobody can tell.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        // START-END rwxp OFFSET DEVICE INODE PATH
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [range, protection, offset, _, _, path] = fields[..] else { continue };
        if !protection.contains('x') || !path.starts_with('/') {
            continue;
        }
        assert!(!protection.contains('w'), "writable and executable: {line}");
        let number = |text| usize::from_str_radix(text, 16).expect("a hexadecimal number");
        let (start, end) = range.split_once('-').expect("two addresses");
        let (start, end, offset) = (number(start), number(end), number(offset));
        // SAFETY: mapped, and readable unless this system maps text execute-only.
        let memory = unsafe { std::slice::from_raw_parts(start as *const u8, end - start) };
        // One that cannot be seen from here, as from another root.
        let Ok(file) = std::fs::read(path) else { continue };
        for (at, (memory, file)) in memory.iter().zip(file.iter().skip(offset)).enumerate() {
            let at = offset + at;
            match found.last_mut() {
                _ if memory == file => {}
                Some((same, _, last)) if same == path && *last + 1 == at => *last = at,
                _ => found.push((path.to_owned(), at, at)),
            }
        }
    }
    found
}

/// A damaged table may name anything.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "?")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn say(line: impl Display) {
    writeln!(std::io::stdout(), "{line}").expect("standard output");
}
