//! Files, children and waits, tried on this system.
#![allow(unsafe_code)]

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::string::String;
use std::sync::mpsc::channel;
use std::{format, fs, thread, vec, vec::Vec};

#[test]
fn an_error_has_its_number() {
    assert_eq!(File::open(b"/nowhere/at/all\0", libc::O_RDONLY).err(), Some(Errno(libc::ENOENT)));
    assert_eq!(File::open(b"/dev/null", libc::O_RDONLY).err(), Some(Errno(libc::ENAMETOOLONG)), "no end");
    assert_eq!(File::open(b"", libc::O_RDONLY).err(), Some(Errno(libc::ENAMETOOLONG)), "no end");
    assert_eq!(File::create(b"/dev/null").err(), Some(Errno(libc::ENAMETOOLONG)), "no end");
    assert_eq!(File::create(b"/dev/null\0").err(), Some(Errno(libc::EEXIST)));
    // SAFETY: no such call, and a call without an error.
    unsafe {
        assert_eq!(call(100_000, [0; 6]), Err(Errno(libc::ENOSYS)));
        assert_eq!(call(libc::SYS_getpid, []), Ok(std::process::id() as usize));
    }
}

#[test]
fn a_file_is_its_owners_and_has_the_room_that_was_asked_for() {
    struct Gone(std::path::PathBuf);
    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }
    let path = Gone(std::env::temp_dir().join(format!("invar-sys-{}", std::process::id())));
    let name = format!("{}\0", path.0.display());
    let file = File::create(name.as_bytes()).unwrap();
    assert_eq!(path.0.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    file.reserve(5000).unwrap();
    assert_eq!(path.0.metadata().unwrap().len(), 5000);
    let mapped = keep(Some(&file), 5000).unwrap();
    // SAFETY: the mapping, which stays.
    unsafe { (mapped as *mut u8).add(4999).write_volatile(7) };
    assert_eq!(fs::read(&path.0).unwrap(), [vec![0; 4999], vec![7]].concat());
    remove(&name.as_bytes()[..name.len() - 1]);
    assert!(path.0.exists(), "no end");
    remove(name.as_bytes());
    assert!(!path.0.exists());
}

/// Neither as a file nor to a program, whatever core(5) says of this system.
#[test]
fn a_child_can_leave_no_core() {
    let has_none = child(drop, |_| {
        let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
        let args = [0, libc::RLIMIT_CORE as usize, 0, &raw mut limit as usize];
        // SAFETY: fills in one limit, and asks for a flag.
        let dumpable = unsafe {
            call(libc::SYS_prlimit64, args).expect("the limit");
            call(libc::SYS_prctl, [libc::PR_GET_DUMPABLE as usize, 0, 0, 0, 0, 0])
        };
        (limit.rlim_cur == 1 || limit.rlim_cur == 0 && dumpable == Ok(0)).into()
    });
    assert_eq!(has_none, Ok(Some(1)));
}

#[test]
fn clocks_are_those_of_the_kernel() {
    let libcs = |clock| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: fills in one timespec.
        unsafe { libc::clock_gettime(clock, &mut time) };
        std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32).as_nanos() as u64
    };
    for (clock, ours) in [(libc::CLOCK_MONOTONIC, now as fn() -> u64), (libc::CLOCK_THREAD_CPUTIME_ID, thread_time)] {
        let (before, time, after) = (libcs(clock), ours(), libcs(clock));
        assert!(before <= time && time <= after, "{before} {time} {after}");
    }
}

#[test]
fn this_process_is_known() {
    assert_eq!(process_id(), std::process::id().into());
    // SAFETY: no effects.
    assert_eq!(page_size(), unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize);
    let mut buffer = [0; 1024];
    let path = String::from_utf8(program_path(&mut buffer).to_vec()).unwrap();
    assert_eq!(std::env::current_exe().unwrap(), std::path::Path::new(&path));
    assert_eq!(program_path(&mut [0; 5]).len(), 5, "cut off");
}

#[test]
fn threads_are_listed_by_their_numbers() {
    let (tell, told) = channel();
    let (ends, waits): (Vec<_>, Vec<_>) = (0..40).map(|_| channel::<()>()).unzip();
    let threads: Vec<_> = waits
        .into_iter()
        .map(|wait| {
            let tell = tell.clone();
            let named = thread::Builder::new().name("a ) b".into());
            let run = move || {
                tell.send(thread_id()).unwrap();
                _ = wait.recv();
            };
            named.spawn(run).unwrap()
        })
        .collect();
    let numbers: Vec<u32> = threads.iter().map(|_| told.recv().unwrap()).collect();
    let mut listed = vec![];
    each_thread(|number| listed.push(number)).unwrap();
    assert!(numbers.iter().all(|number| listed.contains(number)), "{numbers:?} {listed:?}");
    assert!(listed.contains(&std::process::id()) && !listed.contains(&0), "the first thread's is the process's");
    assert!(super::threads().unwrap() > 40);

    // Their files are found, and tell when they sleep; this one does not.
    let mut name = [0; 16];
    let length = open_of_thread(numbers[0], b"/comm\0").unwrap().read(&mut name).unwrap();
    assert_eq!(&name[..length], b"a ) b\n");
    let start = std::time::Instant::now();
    while !numbers.iter().all(|&number| asleep(number)) {
        assert!(start.elapsed().as_secs() < 300, "they do nothing else");
        thread::yield_now();
    }
    assert!(!asleep(thread_id()) && !asleep(u32::MAX));
    drop(ends);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_number_ends_where_its_digits_do() {
    let texts: [&[u8]; 5] = [b"", b"x1", b"0", b"42\0 7", b"4294967295/"];
    assert_eq!(texts.map(number), [0, 0, 0, 42, u32::MAX]);
}

#[test]
fn a_page_is_blank_in_a_child() {
    let page = blank_after_fork().unwrap() as *mut u64;
    // SAFETY: our own page; the child makes system calls only.
    unsafe {
        page.write_volatile(5);
        let child = libc::fork();
        if child == 0 {
            libc::_exit(page.read_volatile() as i32);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status), page.read_volatile()), (true, 0, 5));
    }
}
