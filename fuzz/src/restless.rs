//! A process that does not rest: it changes parts of a module in its memory, and maps and unmaps others, until it is ended.
//! `tests/process.rs` looks at it meanwhile, and says which file and which parts, each by its start and its length.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::Duration;

const LENGTH: usize = 4096;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("the file of a module");
    let numbers: Vec<usize> = arguments.map(|number| number.parse().expect("a number")).collect();
    let module = std::fs::read(&path).expect("the module");
    let file = File::open(&path).expect("the module");
    // SAFETY: whoever started this process ends it; if that is gone, nobody else would.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let first = map(Some(&file));
    println!("ready");
    std::io::stdout().flush().expect("somebody listens");

    std::thread::spawn(move || {
        let mut is_file = false;
        loop {
            is_file = !is_file;
            let second = map(is_file.then_some(&file));
            if !is_file {
                store(second, 0, &module);
            }
            std::thread::sleep(Duration::from_millis(3));
            // SAFETY: mapped above, and nobody else has it.
            unsafe { libc::munmap(second.cast(), LENGTH) };
        }
    });
    let original = std::fs::read(&path).expect("the module");
    // Numerical Recipes, "An Even Quicker Generator"; each number's upper bits.
    let mut seed = 1_u32;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    loop {
        for _ in 0..next(200) {
            let part = &numbers[2 * next(numbers.len() / 2)..];
            let place = part[0] + next(part[1]);
            let byte = [0, 1, 2, 0xff, next(256) as u8][next(5)];
            store(first, place, &[byte]);
            std::thread::sleep(Duration::from_micros(next(50) as u64));
        }
        store(first, 0, &original);
        std::thread::sleep(Duration::from_millis(next(12) as u64));
    }
}

/// A page that may be executed: the file's, or nobody's.
fn map(file: Option<&File>) -> *mut u8 {
    let (flags, descriptor) = match file {
        Some(file) => (libc::MAP_PRIVATE, file.as_raw_fd()),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
    };
    let rights = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: a new mapping.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), LENGTH, rights, flags, descriptor, 0) };
    assert!(page != libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    page.cast()
}

/// Stores bytes one by one, since somebody else looks.
fn store(page: *mut u8, place: usize, bytes: &[u8]) {
    assert!(place + bytes.len() <= LENGTH);
    for (at, &byte) in bytes.iter().enumerate() {
        // SAFETY: in the page, which stays mapped meanwhile, and which only this thread writes to.
        unsafe { page.add(place + at).write_volatile(byte) };
    }
}
