//! Functions with versions, beside the crate `multiversion` and beside the version alone: lines, bytes of code, and time.

use goblin::elf::Elf;
use invar_measure::{Batch, Part, Table, alternate, calibrate, per_operation};
use std::arch::x86_64::{_mm_clflush, _mm_lfence, _mm_mfence, _rdtsc};
use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A function that is called through a pointer, whatever is in front of its versions: so the caller does the same for all.
type Call = unsafe fn(&[u8]) -> usize;

// What follows is also counted by lines, a module each. Of each body only a number differs, so that no two are made one.

mod attribute {
    #[invar::multiversion(avx2, sse4.2)]
    pub(super) fn count(text: &[u8]) -> usize {
        text.iter().filter(|&&byte| byte == b'a').count()
    }

    #[invar::multiversion(avx2, sse4.2)]
    pub(super) fn length(text: &[u8]) -> usize {
        text.len() + b'a' as usize
    }
}

mod dispatch {
    invar::dispatch! {
        pub(super) fn count(text: &[u8]) -> usize {
            invar::cpu::AVX2 => #[target_feature(enable = "avx2")] count_avx2,
            invar::cpu::SSE4_2 => #[target_feature(enable = "sse4.2")] count_sse42,
            _ => count_anywhere,
        }
    }

    #[target_feature(enable = "avx2")]
    fn count_avx2(text: &[u8]) -> usize {
        count_anywhere(text)
    }

    #[target_feature(enable = "sse4.2")]
    fn count_sse42(text: &[u8]) -> usize {
        count_anywhere(text)
    }

    #[inline(always)]
    fn count_anywhere(text: &[u8]) -> usize {
        text.iter().filter(|&&byte| byte == b'b').count()
    }

    invar::dispatch! {
        pub(super) fn length(text: &[u8]) -> usize {
            invar::cpu::AVX2 => #[target_feature(enable = "avx2")] length_avx2,
            invar::cpu::SSE4_2 => #[target_feature(enable = "sse4.2")] length_sse42,
            _ => length_anywhere,
        }
    }

    #[target_feature(enable = "avx2")]
    fn length_avx2(text: &[u8]) -> usize {
        length_anywhere(text)
    }

    #[target_feature(enable = "sse4.2")]
    fn length_sse42(text: &[u8]) -> usize {
        length_anywhere(text)
    }

    #[inline(always)]
    fn length_anywhere(text: &[u8]) -> usize {
        text.len() + b'b' as usize
    }
}

mod indirect {
    #[multiversion::multiversion(targets("x86_64+avx2", "x86_64+sse4.2"), dispatcher = "indirect")]
    pub(super) fn count(text: &[u8]) -> usize {
        text.iter().filter(|&&byte| byte == b'c').count()
    }

    #[multiversion::multiversion(targets("x86_64+avx2", "x86_64+sse4.2"), dispatcher = "indirect")]
    pub(super) fn length(text: &[u8]) -> usize {
        text.len() + b'c' as usize
    }
}

mod direct {
    #[multiversion::multiversion(targets("x86_64+avx2", "x86_64+sse4.2"), dispatcher = "direct")]
    pub(super) fn count(text: &[u8]) -> usize {
        text.iter().filter(|&&byte| byte == b'd').count()
    }

    #[multiversion::multiversion(targets("x86_64+avx2", "x86_64+sse4.2"), dispatcher = "direct")]
    pub(super) fn length(text: &[u8]) -> usize {
        text.len() + b'd' as usize
    }
}

/// The version that all of them choose here, with nothing in front of it.
mod alone {
    #[target_feature(enable = "avx2")]
    pub(super) fn count(text: &[u8]) -> usize {
        text.iter().filter(|&&byte| byte == b'e').count()
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn length(text: &[u8]) -> usize {
        text.len() + b'e' as usize
    }
}

const NAMES: [&str; 5] =
    ["the version alone", "invar::multiversion", "dispatch! by hand", "multiversion, indirect", "multiversion, direct"];
const MODULES: [&str; 4] = ["attribute", "dispatch", "indirect", "direct"];

pub(crate) fn run() -> io::Result<()> {
    if !invar::cpu::AVX2.get() {
        println!("This CPU has no AVX2, which the version to compare with needs.");
        return Ok(());
    }
    lines_and_bytes()?;

    let text: [u8; 64] = std::array::from_fn(|at| b"abcde"[at % 5]);
    let count: [Call; 5] = [alone::count, attribute::count, dispatch::count, indirect::count, direct::count];
    let length: [Call; 5] = [alone::length, attribute::length, dispatch::length, indirect::length, direct::length];
    let all = [count, length].concat();
    for call in &count {
        // SAFETY: this CPU has AVX2, for which the one is compiled, and the others are safe.
        let found = unsafe { call(&text) };
        assert!((12..=13).contains(&found), "{found}");
    }
    let mut batches: Vec<_> = all.iter().map(|&call| warm(call, &text)).collect();
    let Ok(samples) = alternate(Duration::from_secs(8), &mut batches);
    let titles = ["a count in 64 bytes, warm, ns", "a length, warm, ns"];
    println!("{}", Table::of(&samples, &parts(titles), &[]));

    let program = program();
    let mut batches: Vec<_> = all.iter().map(|&call| cold(call, &text, &program)).collect();
    let Ok(samples) = alternate(Duration::from_secs(16), &mut batches);
    let titles = ["a count in 64 bytes, cold, ns", "a length, cold, ns"];
    print!("{}", Table::of(&samples, &parts(titles), &[NOTE]));
    Ok(())
}

const NOTE: &str = "\
Cold: before each call all code and data of the program is flushed from every cache. Its time is that from
fence to fence. Branches are predicted as they were before.
indirect: the crate's default; direct: its default for generic functions.";

fn parts<'a>([count, length]: [&'a str; 2]) -> [Part<'a>; 2] {
    [Part { title: count, names: &NAMES, first: 0 }, Part { title: length, names: &NAMES, first: NAMES.len() }]
}

/// What is written, and what it becomes.
fn lines_and_bytes() -> io::Result<()> {
    let source = include_str!("multiversion.rs");
    let file = std::fs::read("/proc/self/exe")?;
    let elf = Elf::parse(&file).map_err(io::Error::other)?;
    println!("{:33}{:>7}{:>15}", "both functions", "lines", "code, bytes");
    for (name, module) in NAMES[1..].iter().zip(MODULES) {
        let begin = source.find(&format!("\nmod {module} {{\n")).expect("a module");
        let inside = source[begin..].split("\n}\n").next().expect("its end").lines().skip(2);
        let lines = inside.filter(|line| !line.trim().is_empty()).count();
        // As a path is mangled, in the one way or the other.
        let is_ours = |symbol: &str| symbol.contains(&format!("12multiversion{}{module}", module.len()));
        let functions = elf.syms.iter().filter(|symbol| symbol.is_function());
        let ours = functions.filter(|symbol| elf.strtab.get_at(symbol.st_name).is_some_and(is_ours));
        let bytes: u64 = ours.map(|symbol| symbol.st_size).sum();
        println!("{name:33}{lines:>7}{bytes:>15}");
    }
    println!("\nWith all versions. Beside the code, each site has a record of 16 bytes, of which there are two for a");
    println!("function, and each function of the crate has a pointer or a number.\n");
    Ok(())
}

fn warm<'a>(call: Call, text: &'a [u8]) -> Batch<'a> {
    let run = move |count| {
        per_operation(count, || {
            for _ in 0..count {
                // SAFETY: as above.
                black_box(unsafe { black_box(call)(black_box(text)) });
            }
        })
    };
    let count = calibrate(run);
    Box::new(move || Ok(run(count)))
}

/// Eight calls, each after everything was flushed.
fn cold<'a>(call: Call, text: &'a [u8], program: &'a [Range<usize>]) -> Batch<'a> {
    Box::new(move || {
        let mut times = [0; 8].map(|_: u64| {
            for line in program.iter().flat_map(|part| part.clone().step_by(64)) {
                // SAFETY: memory of this program, which keeps its values.
                unsafe { _mm_clflush(line as *const u8) };
            }
            // What times is not timed.
            for at in [0, 64, TIMED - 1] {
                // SAFETY: text goes on for longer than this behind any function of a program with std in it.
                unsafe { (timed as *const u8).add(at).read_volatile() };
            }
            timed(call, text)
        });
        times.sort_unstable();
        Ok(times[2..6].iter().sum::<u64>() as f64 / 4.0 * nanoseconds_a_tick())
    })
}

/// How long `timed` is.
const TIMED: usize = 80;

#[inline(never)]
fn timed(call: Call, text: &[u8]) -> u64 {
    // SAFETY: the instructions exist on every x86-64 CPU and touch no memory; the call as above.
    unsafe {
        _mm_mfence();
        _mm_lfence();
        let before = _rdtsc();
        _mm_lfence();
        black_box(call(text));
        _mm_lfence();
        _rdtsc().wrapping_sub(before)
    }
}

fn nanoseconds_a_tick() -> f64 {
    static TICK: OnceLock<f64> = OnceLock::new();
    *TICK.get_or_init(|| {
        // SAFETY: as above.
        let ticks = || unsafe { _rdtsc() };
        let (started, first) = (Instant::now(), ticks());
        std::thread::sleep(Duration::from_millis(50));
        started.elapsed().as_nanos() as f64 / (ticks() - first) as f64
    })
}

/// The memory of this program's own code and data, by its program headers.
fn program() -> Vec<Range<usize>> {
    // SAFETY: a question; the kernel says where the headers are, and how many.
    let headers = unsafe {
        let [address, count] = [libc::AT_PHDR, libc::AT_PHNUM].map(|what| libc::getauxval(what) as usize);
        std::slice::from_raw_parts(address as *const libc::Elf64_Phdr, count)
    };
    let of = |kind| headers.iter().filter(move |header| header.p_type == kind);
    let own = of(libc::PT_PHDR).next().expect("the headers' own");
    let base = (headers.as_ptr() as usize).wrapping_sub(own.p_vaddr as usize);
    of(libc::PT_LOAD)
        .map(|part| {
            let begin = base.wrapping_add(part.p_vaddr as usize);
            begin..begin + part.p_memsz as usize
        })
        .collect()
}
