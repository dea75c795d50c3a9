//! The file with the counts has its room when it is made, whatever the file system can do; where there is none, nothing is
//! counted, and the program runs as without.

mod common;

use common::refuse::filter;
use common::{Build, Tale, Temporary, command, run, sites, tale, test};
use std::ffi::CString;
use std::io::{Error, Result};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::ptr::null;

fn main() -> ExitCode {
    let small = || sites().or_else(no_small_file_system);
    run([
        test("room without fallocate", sites(), room_without_fallocate),
        test("a file system that is full", small(), || no_room(None)),
        test("a file system that is full, without fallocate", small(), || no_room(Some(libc::EOPNOTSUPP))),
    ])
}

/// As docs/profile.md has it.
const SIZE: u64 = 852_224;

/// Runs a program that counts in this file, prepared so.
fn counted(path: &Path, prepare: impl FnMut() -> Result<()> + Send + Sync + 'static) -> Tale {
    let mut command = command(Build::release().program("story"));
    command.env("INVAR_KEYS", "slice=force").env("INVAR_SLICE", "profile").env("INVAR_PROFILE", path);
    // SAFETY: the child makes system calls only, on memory that is there.
    tale(unsafe { command.pre_exec(prepare) })
}

/// A file system that cannot reserve, or a filter that does not let it.
fn without_fallocate(errno: i32) -> Result<()> {
    filter(libc::SYS_fallocate, None, libc::SECCOMP_RET_ERRNO | errno as u32)
}

fn room_without_fallocate() {
    [libc::EOPNOTSUPP, libc::ENOSYS, libc::EPERM].into_iter().for_each(room_by_writing);
}

fn room_by_writing(errno: i32) {
    let file = Temporary::path("profile");
    let tale = counted(&file.0, move || without_fallocate(errno));
    let key = tale.program().key("slice.counting");
    assert_eq!((&*key.value, &key.evidence), ("profile", &format!("in {}", file.0.display())));
    let data = file.0.metadata().expect("the file");
    assert_eq!(data.len(), SIZE);
    assert!(data.blocks() * 512 >= SIZE, "errno {errno}: only {} blocks are there", data.blocks());
}

/// A small file system in this folder, for the calling process and its children only.
fn mount_small(folder: &CString) -> Result<()> {
    let zero = |result| if result == 0 { Ok(()) } else { Err(Error::last_os_error()) };
    let (kind, size) = (c"tmpfs".as_ptr(), c"size=256k".as_ptr());
    // SAFETY: texts that end in NUL. The mount is gone with the last process that has this view.
    unsafe {
        zero(libc::unshare(libc::CLONE_NEWNS))?;
        zero(libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null()))?;
        zero(libc::mount(kind, folder.as_ptr(), kind, 0, size.cast()))
    }
}

/// A folder that is gone at the end of the test.
struct Folder(Temporary, CString);

impl Folder {
    fn new() -> Self {
        let folder = Temporary::path("small");
        std::fs::create_dir(&folder.0).expect("a folder");
        let path = CString::new(folder.0.as_os_str().as_bytes()).expect("a path");
        Self(folder, path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir(&self.0.0);
    }
}

/// Why there is no such file system here, from a try.
fn no_small_file_system() -> Option<String> {
    let Folder(_, path) = &Folder::new();
    let (mut command, path) = (Command::new("true"), path.clone());
    // SAFETY: as in `counted`.
    let tried = unsafe { command.pre_exec(move || mount_small(&path)) }.status();
    tried.err().map(|error| format!("a small file system cannot be mounted: {error}"))
}

fn no_room(refused: Option<i32>) {
    let folder = Folder::new();
    let (file, path) = (folder.0.0.join("profile"), folder.1.clone());
    let tale = counted(&file, move || {
        mount_small(&path)?;
        refused.map_or(Ok(()), without_fallocate)
    });
    let key = tale.program().key("slice.counting");
    let expected = format!("in {}: cannot be made, errno {}", file.display(), libc::ENOSPC);
    assert_eq!((&*key.value, &*key.origin, &key.evidence), ("off", "failed", &expected));
}
