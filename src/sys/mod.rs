//! The kernel, as far as the runtime needs it: raw system calls, so that nothing that interposes on libc is run
//! from a constructor, and `errno` stays as it was.
#![allow(unsafe_code)]

use crate::text::{Sink, Text};
use core::ffi::CStr;
use core::ops::Range;
#[cfg(feature = "timeslice")]
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};
use invar_arch as arch;

/// A kernel error number, 1 to 4095.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// # Safety
///
/// The call with these arguments must be sound.
pub(crate) unsafe fn call(number: libc::c_long, args: [usize; 6]) -> Result<usize> {
    // SAFETY: as the caller vouches.
    let result = unsafe { arch::syscall(number as usize, args) };
    if (-4095..0).contains(&result) { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

/// mmap(2): on 32-bit machines it would take its arguments in memory, or does not exist.
#[cfg(not(target_pointer_width = "32"))]
const SYS_MMAP: libc::c_long = libc::SYS_mmap;
/// mmap2(2), which counts the offset in pages: none is used here.
#[cfg(target_pointer_width = "32")]
const SYS_MMAP: libc::c_long = libc::SYS_mmap2;

/// An open file, closed on drop.
pub(crate) struct File(usize);

impl File {
    /// Opens `path`, which ends in NUL, with `O_CLOEXEC` and `flags`; a created file has mode 0666 less the umask.
    pub(crate) fn open(path: &[u8], flags: i32) -> Result<Self> {
        if path.last() != Some(&0) {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, (flags | libc::O_CLOEXEC) as usize, 0o666, 0, 0];
        // SAFETY: `path` ends in NUL.
        unsafe { call(libc::SYS_openat, args) }.map(Self)
    }

    /// Another descriptor of an open file.
    #[cfg(feature = "capi")]
    pub(crate) fn duplicate(descriptor: i32) -> Option<Self> {
        // SAFETY: makes a descriptor, which is ours then.
        let copy = unsafe { call(libc::SYS_fcntl, [descriptor as usize, libc::F_DUPFD_CLOEXEC as usize, 0, 0, 0, 0]) };
        copy.ok().map(Self)
    }

    /// Makes a file that only its owner may use; one that exists is an error.
    #[cfg(feature = "profile")]
    pub(crate) fn create(path: &[u8]) -> Result<Self> {
        if path.last() != Some(&0) {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, flags as usize, 0o600, 0, 0];
        // SAFETY: `path` ends in NUL.
        unsafe { call(libc::SYS_openat, args) }.map(Self)
    }

    /// Gives a new file this length, all zeros, and room for it: a page of a mapped file that finds none later is a SIGBUS.
    #[cfg(feature = "profile")]
    pub(crate) fn reserve(&self, bytes: usize) -> Result<()> {
        let mut limit = libc::rlimit64 { rlim_cur: libc::RLIM64_INFINITY, rlim_max: libc::RLIM64_INFINITY };
        let args = [0, libc::RLIMIT_FSIZE as usize, 0, &raw mut limit as usize, 0, 0];
        // SAFETY: fills in one rlimit.
        let _ = unsafe { call(libc::SYS_prlimit64, args) };
        // What goes beyond it gets a signal as well.
        if limit.rlim_cur < bytes as u64 {
            return Err(Errno(libc::EFBIG));
        }
        // Offset and length: where a register holds half of each, they are two registers each, the lower half first.
        let args =
            if cfg!(target_pointer_width = "32") { [self.0, 0, 0, 0, bytes, 0] } else { [self.0, 0, 0, bytes, 0, 0] };
        // SAFETY: our own descriptor.
        match retry(|| unsafe { call(libc::SYS_fallocate, args) }) {
            // A file system that cannot, as ext2, NFS before 4.2 and many of FUSE's, or a filter that does not know the call.
            Err(Errno(libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM)) => self.fill(bytes),
            result => result.map(drop),
        }
    }

    /// Writes as many zeros: for what is written there is room, or else an error.
    #[cfg(feature = "profile")]
    fn fill(&self, mut bytes: usize) -> Result<()> {
        static ZEROS: [u8; 4096] = [0; 4096];
        while bytes > 0 {
            let args = [self.0, ZEROS.as_ptr() as usize, bytes.min(ZEROS.len()), 0, 0, 0];
            // SAFETY: the kernel only reads the zeros.
            match retry(|| unsafe { call(libc::SYS_write, args) })? {
                0 => return Err(Errno(libc::EIO)),
                written => bytes -= written,
            }
        }
        Ok(())
    }

    /// Lets writes wait for the reader, in a file that was opened with `O_NONBLOCK`.
    #[cfg(feature = "report")]
    pub(crate) fn wait_for_readers(&self) {
        // SAFETY: changes flags of our own descriptor.
        let _ = unsafe { call(libc::SYS_fcntl, [self.0, libc::F_SETFL as usize, libc::O_APPEND as usize, 0, 0, 0]) };
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        // SAFETY: the kernel writes at most `len` bytes to the buffer.
        retry(|| unsafe { call(libc::SYS_read, [self.0, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) })
    }

    /// Reads at `offset`; less than asked for at the end of the file.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: usize) -> Result<usize> {
        let args = [self.0, buffer.as_mut_ptr() as usize, buffer.len(), offset, 0, 0];
        // SAFETY: the kernel writes at most `len` bytes to the buffer.
        retry(|| unsafe { call(libc::SYS_pread64, args) })
    }

    /// The length of a regular file.
    pub(crate) fn length(&self) -> Result<usize> {
        const SEEK_END: usize = 2;
        // SAFETY: moves the place of our own descriptor, which nobody reads by.
        unsafe { call(libc::SYS_lseek, [self.0, 0, SEEK_END, 0, 0, 0]) }
    }

    pub(crate) fn descriptor(&self) -> usize {
        self.0
    }

    /// A file without a name that has these bytes for ever: nobody can change it any more.
    pub(crate) fn sealed(name: &CStr, bytes: &[u8]) -> Result<Self> {
        /// Linux 6.3; older kernels take every memfd for one that may be executed.
        const MFD_EXEC: usize = 0x10;
        const FLAGS: usize = (libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) as usize;
        const SEALS: usize =
            (libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE) as usize;
        // SAFETY: the name ends in NUL.
        let create = |flags| unsafe { call(libc::SYS_memfd_create, [name.as_ptr() as usize, flags, 0, 0, 0, 0]) };
        let file = match create(FLAGS | MFD_EXEC) {
            Err(Errno(libc::EINVAL)) => create(FLAGS),
            created => created,
        }
        .map(Self)?;
        let mut left = bytes;
        while !left.is_empty() {
            // SAFETY: the kernel only reads the bytes.
            let write = || unsafe { call(libc::SYS_write, [file.0, left.as_ptr() as usize, left.len(), 0, 0, 0]) };
            match retry(write)? {
                0 => return Err(Errno(libc::EIO)),
                written => left = &left[written.min(left.len())..],
            }
        }
        // SAFETY: our own file.
        unsafe { call(libc::SYS_fcntl, [file.0, libc::F_ADD_SEALS as usize, SEALS, 0, 0, 0]) }?;
        Ok(file)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours, and not used again.
        let _ = unsafe { call(libc::SYS_close, [self.0, 0, 0, 0, 0, 0]) };
    }
}

/// Writes a line for people, in parts, to standard error.
#[cold]
#[inline(never)]
pub(crate) fn complain(parts: &[&[u8]]) {
    let mut line = Text::<1024>::new();
    line.put(b"invar: ");
    parts.iter().for_each(|part| (&mut line as &mut dyn Sink).plain(part));
    print(None, line.as_bytes());
    print(None, b"\n");
}

/// Of a set of signals, as the kernel has it.
const SET_BYTES: usize = size_of::<u64>();

/// Writes all of `bytes` to the file, or to standard error; returns false if they are not taken. The process gets no
/// signal for that: it may have been started with a pipe that nobody reads, and it did not ask to write.
#[cold]
pub(crate) fn print(file: Option<&File>, mut bytes: &[u8]) -> bool {
    static SIGNALS: u64 = 1 << (libc::SIGPIPE - 1) | 1 << (libc::SIGXFSZ - 1);
    static AT_ONCE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let descriptor = file.map_or(libc::STDERR_FILENO as usize, |file| file.0);
    let _silence = Silence::begin(&SIGNALS);
    while !bytes.is_empty() {
        // SAFETY: the kernel reads the bytes.
        match retry(|| unsafe { call(libc::SYS_write, [descriptor, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) }) {
            Ok(written) if written > 0 => bytes = &bytes[written.min(bytes.len())..],
            Err(Errno(libc::EPIPE | libc::EFBIG)) => {
                // The signal that this write brought.
                let args = [&raw const SIGNALS as usize, 0, &raw const AT_ONCE as usize, SET_BYTES, 0, 0];
                // SAFETY: the kernel reads a set and a time.
                let _ = unsafe { call(libc::SYS_rt_sigtimedwait, args) };
                break;
            }
            _ => break,
        }
    }
    bytes.is_empty()
}

fn retry(mut operation: impl FnMut() -> Result<usize>) -> Result<usize> {
    loop {
        match operation() {
            Err(Errno(libc::EINTR)) => continue,
            result => return result,
        }
    }
}

/// The number of threads of this process, if the kernel tells.
#[cold]
pub(crate) fn threads() -> Result<u32> {
    // Linux, include/uapi/linux/stat.h: 256 bytes, in whose fifth word the number of links is. Old versions of the libc crate
    // do not have it with musl.
    const STATX_NLINK: usize = 4;
    let mut status = [0_u32; 64];
    let path = c"/proc/self/task";
    let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0, STATX_NLINK, status.as_mut_ptr() as usize, 0];
    // SAFETY: `path` ends in NUL; the kernel fills in one `struct statx`.
    unsafe { call(libc::SYS_statx, args) }?;
    // Linux fs/proc/base.c, proc_task_getattr: two links and one for each thread.
    status[4].checked_sub(2).filter(|&threads| threads > 0).ok_or(Errno(libc::ENOSYS))
}

/// The decimal number with which the text begins; 0 if there is none.
#[cfg(feature = "timeslice")]
pub(crate) fn number(text: &[u8]) -> u32 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u32, byte| number.wrapping_mul(10).wrapping_add((byte - b'0').into()))
}

/// The numbers of this process's threads, those that start or end meanwhile perhaps.
#[cfg(feature = "timeslice")]
pub(crate) fn each_thread(mut each: impl FnMut(u32)) -> Result<()> {
    let folder = File::open(b"/proc/self/task\0", libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut buffer = [0_u64; 128];
    loop {
        let args = [folder.0, buffer.as_mut_ptr() as usize, size_of_val(&buffer), 0, 0, 0];
        // SAFETY: the kernel writes at most as many bytes to the buffer.
        let length = unsafe { call(libc::SYS_getdents64, args) }?;
        if length == 0 {
            return Ok(());
        }
        // SAFETY: as bytes, which all of it is.
        let mut entries = unsafe { core::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length) };
        // getdents64(2): two numbers of eight bytes, the length of the entry in two, a type, the name and a NUL.
        while let Some(entry) = entries.get(16..18).map(|length| u16::from_le_bytes([length[0], length[1]]) as usize) {
            let thread = number(&entries[19..]);
            if thread != 0 {
                each(thread);
            }
            entries = entries.get(entry.max(1)..).unwrap_or_default();
        }
    }
}

/// Anonymous memory, zero at first, given back on drop.
pub(crate) struct Scratch {
    address: usize,
    bytes: usize,
}

impl Scratch {
    pub(crate) fn new(bytes: usize) -> Result<Self> {
        Self::mapped(bytes, libc::MAP_PRIVATE)
    }

    /// The same memory in a child process.
    #[cfg(feature = "timeslice")]
    pub(crate) fn shared(bytes: usize) -> Result<Self> {
        Self::mapped(bytes, libc::MAP_SHARED)
    }

    fn mapped(bytes: usize, flags: i32) -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = flags | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping where nothing is mapped.
        let address = unsafe { call(SYS_MMAP, [0, bytes, protection as usize, flags as usize, usize::MAX, 0]) }?;
        Ok(Self { address, bytes })
    }

    /// Where it is: at the beginning of a page.
    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// The memory as bytes.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: our own mapping, initialised by the kernel, borrowed as long as the slice lives.
        unsafe { core::slice::from_raw_parts_mut(self.address as *mut u8, self.bytes) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: our own mapping; slices of it borrow `self`.
        let _ = unsafe { call(libc::SYS_munmap, [self.address, self.bytes, 0, 0, 0, 0]) };
    }
}

/// Memory that is never given back, zero at first: a file's, or the process's own.
#[cfg(feature = "profile")]
pub(crate) fn keep(file: Option<&File>, bytes: usize) -> Result<usize> {
    let (flags, descriptor) = match file {
        Some(file) => (libc::MAP_SHARED, file.0),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, usize::MAX),
    };
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping where nothing is mapped.
    unsafe { call(SYS_MMAP, [0, bytes, protection as usize, flags as usize, descriptor, 0]) }
}

/// A page of the process's own that is zero again in each child of `fork`: Linux 4.14.
#[cfg(feature = "profile")]
pub(crate) fn blank_after_fork() -> Result<usize> {
    const MADV_WIPEONFORK: usize = 18;
    let page = keep(None, page_size())?;
    // SAFETY: our own page, of which nobody relies on anything.
    unsafe { call(libc::SYS_madvise, [page, page_size(), MADV_WIPEONFORK, 0, 0, 0]) }.map(|_| page)
}

/// Removes a file, if it is there.
#[cfg(feature = "profile")]
pub(crate) fn remove(path: &[u8]) {
    if path.last() == Some(&0) {
        // SAFETY: `path` ends in NUL.
        let _ = unsafe { call(libc::SYS_unlinkat, [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0, 0, 0, 0]) };
    }
}

/// Lets signals of the calling thread wait, as long as it is there.
pub(crate) struct Silence(u64);

impl Silence {
    /// For the signals of this set, as the kernel has it.
    #[inline(never)]
    pub(crate) fn begin(signals: &u64) -> Result<Self> {
        let mut before = 0_u64;
        let args = [libc::SIG_BLOCK as usize, &raw const *signals as usize, &raw mut before as usize, SET_BYTES, 0, 0];
        // SAFETY: the kernel reads one set and writes one.
        unsafe { call(libc::SYS_rt_sigprocmask, args) }.map(|_| Self(before))
    }
}

impl Drop for Silence {
    #[inline(never)]
    fn drop(&mut self) {
        let args = [libc::SIG_SETMASK as usize, &raw const self.0 as usize, 0, SET_BYTES, 0, 0];
        // SAFETY: the kernel reads one set.
        let _ = unsafe { call(libc::SYS_rt_sigprocmask, args) };
    }
}

/// Changes the protection of whole pages.
///
/// # Safety
///
/// Whatever runs on or reads these pages meanwhile must be able to do so under `protection`.
pub(crate) unsafe fn protect(start: usize, length: usize, protection: i32) -> Result<()> {
    // SAFETY: as the caller vouches.
    unsafe { call(libc::SYS_mprotect, [start, length, protection as usize, 0, 0, 0]) }.map(drop)
}

/// Whether the process may read all of this, which is no longer than a few pages: the kernel tries, and there is no fault.
#[cold]
#[inline(never)]
pub(crate) fn is_readable(address: usize, length: usize) -> bool {
    let page = page_size();
    let mut at = address & !(page - 1);
    // The kernel takes a null pointer for no set.
    if at == 0 {
        return false;
    }
    while at < address.saturating_add(length) {
        // SAFETY: Linux, kernel/signal.c, rt_sigprocmask: copies a set of eight bytes from there, then refuses a first
        // argument that it does not know. Changes nothing.
        if unsafe { call(libc::SYS_rt_sigprocmask, [usize::MAX, at, 0, size_of::<u64>(), 0, 0]) }
            == Err(Errno(libc::EFAULT))
        {
            return false;
        }
        at += page;
    }
    true
}

/// Private pages of a file, writable or executable, somewhere. The kernel counts no memory for those that are never written.
pub(crate) fn map_file(file: &File, offset: usize, length: usize, protection: i32) -> Result<usize> {
    let flags = (libc::MAP_PRIVATE | libc::MAP_NORESERVE) as usize;
    // As mmap2 counts it, where that is the call.
    let offset = if cfg!(target_pointer_width = "32") { offset >> 12 } else { offset };
    // SAFETY: a new mapping where nothing is mapped.
    unsafe { call(SYS_MMAP, [0, length, protection as usize, flags, file.0, offset]) }
}

/// Unmaps whole pages.
///
/// # Safety
///
/// Nobody may use them any more.
pub(crate) unsafe fn unmap(start: usize, length: usize) {
    // SAFETY: as the caller vouches.
    let _ = unsafe { call(libc::SYS_munmap, [start, length, 0, 0, 0, 0]) };
}

/// Pages of a file that can be read and executed. They are unmapped on drop.
pub(crate) struct Mapping {
    start: usize,
    length: usize,
}

impl Mapping {
    pub(crate) fn of_file(file: &File, offset: usize, length: usize) -> Result<Self> {
        let start = map_file(file, offset, length, libc::PROT_READ | libc::PROT_EXEC)?;
        Ok(Self { start, length })
    }

    pub(crate) fn start(&self) -> usize {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own pages, whose owner is gone.
        unsafe { unmap(self.start, self.length) };
    }
}

/// Linux 5.14.
const MADV_POPULATE_READ: usize = 22;
const MADV_POPULATE_WRITE: usize = 23;

/// Makes private copies of writable pages at once. An error if they cannot be had, where to touch them would be a signal.
///
/// # Safety
///
/// The pages must be writable, and nobody may write to them meanwhile.
pub(crate) unsafe fn populate_for_writing(start: usize, length: usize) -> Result<()> {
    // SAFETY: changes no content.
    match unsafe { call(libc::SYS_madvise, [start, length, MADV_POPULATE_WRITE, 0, 0, 0]) } {
        Err(Errno(libc::EINVAL | libc::ENOSYS | libc::EPERM)) => {
            for page in (start..start + length).step_by(page_size()) {
                let byte = page as *mut u8;
                // SAFETY: as the caller vouches. It stays what it was.
                unsafe { byte.write_volatile(byte.read_volatile()) };
            }
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Whether the process may read all of these pages, of which the kernel is asked at once, if it can be.
#[cold]
pub(crate) fn can_be_read(pages: &Range<usize>) -> bool {
    // SAFETY: reads pages, or none.
    let populate = |start, length| unsafe { call(libc::SYS_madvise, [start, length, MADV_POPULATE_READ, 0, 0, 0]) };
    // An emulator may say yes to advice that it does not know. There is never anything at address 0.
    let is_known = populate(0, page_size()) == Err(Errno(libc::ENOMEM));
    // What is for execution alone by its mapping, many a CPU reads all the same.
    is_known && populate(pages.start, pages.len()).is_ok() || is_readable(pages.start, pages.len())
}

/// An entry of the auxiliary vector; 0 if there is none.
pub(crate) fn auxiliary(entry: libc::c_ulong) -> u64 {
    // SAFETY: reads libc's copy of the vector.
    unsafe { libc::getauxval(entry) as u64 }
}

/// Nanoseconds on the monotonic clock.
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills in one timespec (by way of the vDSO where there is one).
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(any(feature = "report", feature = "profile"))]
pub(crate) fn process_id() -> u64 {
    // SAFETY: no arguments, no effects.
    unsafe { call(libc::SYS_getpid, [0; 6]) }.unwrap_or(0) as u64
}

/// All signals, kept from the calling thread until this is dropped.
#[cfg(feature = "timeslice")]
pub(crate) struct Blocked(u64);

#[cfg(feature = "timeslice")]
impl Blocked {
    /// By the kernel's own call: libc's keeps two signals for itself, whose handlers are libc's.
    pub(crate) fn all() -> Result<Self> {
        let mut before = 0;
        set_mask(&u64::MAX, &mut before).map(|()| Self(before))
    }
}

#[cfg(feature = "timeslice")]
impl Drop for Blocked {
    fn drop(&mut self) {
        let _ = set_mask(&self.0, &mut 0);
    }
}

#[cfg(feature = "timeslice")]
fn set_mask(mask: &u64, before: &mut u64) -> Result<()> {
    let (mask, before) = ((&raw const *mask) as usize, (&raw mut *before) as usize);
    // SAFETY: the kernel reads one set of 64 signals and writes another.
    unsafe { call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, mask, before, size_of::<u64>(), 0, 0]) }
        .map(drop)
}

/// How long to sleep before looking again whether another process or thread did something, in nanoseconds: less than the
/// timer's slack that the kernel adds.
#[cfg(feature = "timeslice")]
pub(crate) const REST: u32 = 10_000;

/// What a child process and its parent tell each other, in memory that both have.
#[cfg(feature = "timeslice")]
pub(crate) struct Talk {
    introduced: AtomicU32,
    /// The work's result and one; 0 before it came to its end.
    answer: AtomicU32,
}

#[cfg(feature = "timeslice")]
impl Talk {
    /// In the child: waits until the parent has introduced it; `false` if that takes too long, as where the parent is gone.
    pub(crate) fn is_introduced(&self) -> bool {
        const LIMIT: u64 = 1_000_000_000;
        let begun = now();
        while self.introduced.load(Acquire) == 0 {
            if now() - begun > LIMIT {
                return false;
            }
            sleep(REST);
        }
        true
    }
}

/// Runs `work`, which may only make system calls, in a child process, and waits; returns its result, or `None` if the child was
/// killed. `introduce` is called with the child's number in the parent.
///
/// The child leaves no trace. It shares no memory but what is mapped so, and has one thread. Its exit signal is 0: the program
/// gets no SIGCHLD, and its wait calls do not see the child, but for those that ask for all (`__WALL`). Signals are blocked in
/// it, so that no handler of the program runs twice; in the calling thread, until the child is gone. It leaves no core.
#[cfg(feature = "timeslice")]
#[cold]
pub(crate) fn child(introduce: impl FnOnce(usize), work: impl FnOnce(&Talk) -> i32) -> Result<Option<i32>> {
    let mut memory = Scratch::shared(size_of::<Talk>())?;
    // SAFETY: aligned as a mapping is; zeros are a value, and so is whatever its atomics hold.
    let talk: &Talk = unsafe { &*memory.bytes().as_ptr().cast() };
    let _blocked = Blocked::all()?;
    // SAFETY: shares no memory. The child makes system calls only, so it does not matter which locks were held.
    match unsafe { call(libc::SYS_clone, [0; 6]) }? {
        0 => {
            leave_no_core();
            let answer = work(talk) as u32;
            talk.answer.store(answer.wrapping_add(1), Release);
            exit(0)
        }
        child => {
            introduce(child);
            talk.introduced.store(1, Release);
            see_off(child)?;
        }
    }
    Ok(talk.answer.load(Acquire).checked_sub(1).map(|answer| answer as i32))
}

/// Keeps a child process from leaving a core, in which all memory of the program would be, where a filter kills it.
///
/// By a limit of one byte, since the call is none that is tried here: a filter that kills for one of these does not have to
/// let others pass that look like it. Less than a page goes to no file, and one byte, other than none, to no program either
/// (Linux, fs/coredump.c: `min_coredump`, "RLIMIT_CORE is set to 1"). Where cores are ruled out for good, so that the limit cannot
/// be raised to that, a program could still be given one: then by a flag of the child's memory, and `prctl`.
#[cfg(feature = "timeslice")]
#[cold]
fn leave_no_core() {
    static ONE: libc::rlimit64 = libc::rlimit64 { rlim_cur: 1, rlim_max: 1 };
    let args = [0, libc::RLIMIT_CORE as usize, &raw const ONE as usize, 0, 0, 0];
    // SAFETY: the kernel reads two numbers.
    if unsafe { call(libc::SYS_prlimit64, args) }.is_err() {
        // SAFETY: changes a flag of the child's own memory.
        let _ = unsafe { call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Waits until the child has ended.
#[cfg(feature = "timeslice")]
fn see_off(child: usize) -> Result<()> {
    loop {
        match wait(child, libc::WUNTRACED) {
            // By a signal to all of the process's group, which nothing can block. This process had it as well, and runs again.
            Ok(Some(status)) if libc::WIFSTOPPED(status) => {
                // SAFETY: our own child, which is there until it is waited for.
                unsafe { call(libc::SYS_kill, [child, libc::SIGCONT as usize, 0, 0, 0, 0]) }?;
            }
            // ECHILD: it is gone, and somebody waited for any.
            Ok(_) | Err(Errno(libc::ECHILD)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Waits until this child, or traced thread, ends or stops; returns its status, as wait(2) has it. With `WNOHANG` among the
/// flags it does not wait, and there may be none.
#[cfg(feature = "timeslice")]
pub(crate) fn wait(child: usize, flags: i32) -> Result<Option<i32>> {
    let mut status = 0_i32;
    let args = [child, &raw mut status as usize, (libc::__WALL | flags) as usize, 0, 0, 0];
    // SAFETY: fills in one number.
    retry(|| unsafe { call(libc::SYS_wait4, args) }).map(|child| (child != 0).then_some(status))
}

/// Opens `/proc/THREAD` and this behind it, a slash and up to six letters and a NUL, for a thread of any process.
#[cfg(feature = "timeslice")]
pub(crate) fn open_of_thread(thread: u32, file: &[u8]) -> Result<File> {
    let mut path = *b"/proc/0000000000.......\0";
    let mut rest = thread;
    for digit in path[6..16].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // The kernel takes no number that begins with 0.
    let zeros = path[6..16].iter().take_while(|&&digit| digit == b'0').count();
    path.copy_within(0..6, zeros);
    path[16..].iter_mut().zip(file).for_each(|(to, from)| *to = *from);
    File::open(&path[zeros..], libc::O_RDONLY)
}

/// Whether a thread, of this process or its parent, waits in a system call.
#[cfg(feature = "timeslice")]
pub(crate) fn asleep(thread: u32) -> bool {
    // proc_pid_stat(5): number, name in parentheses, state. The name has 15 bytes at most.
    let mut start = [0; 64];
    let read = open_of_thread(thread, b"/stat\0").and_then(|file| file.read(&mut start));
    let name_end = start[..read.unwrap_or(0)].iter().rposition(|&byte| byte == b')');
    name_end.and_then(|end| start.get(end + 2)).is_some_and(|state| b"SD".contains(state))
}

/// The calling thread's number.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: no arguments, no effects.
    unsafe { call(libc::SYS_gettid, [0; 6]) }.unwrap_or(0) as u32
}

/// The calling thread's CPU time, in nanoseconds. A system call.
#[cfg(feature = "profile")]
pub(crate) fn thread_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let args = [libc::CLOCK_THREAD_CPUTIME_ID as usize, &raw mut time as usize, 0, 0, 0, 0];
    // SAFETY: fills in one timespec.
    let _ = unsafe { call(libc::SYS_clock_gettime, args) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The path of the program; empty where it is not known.
#[cfg(feature = "profile")]
pub(crate) fn program_path(buffer: &mut [u8]) -> &[u8] {
    let path = c"/proc/self/exe";
    let folder = libc::AT_FDCWD as usize;
    let args = [folder, path.as_ptr() as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0];
    // SAFETY: the path ends in NUL; the kernel writes at most as many bytes to the buffer.
    let length = unsafe { call(libc::SYS_readlinkat, args) }.unwrap_or(0);
    &buffer[..length.min(buffer.len())]
}

/// Ends the process at once, all threads.
pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: does not return.
        let _ = unsafe { call(libc::SYS_exit_group, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Sleeps. A signal's handler makes it no shorter, and many of them make it no longer: what is left of a sleep, as the kernel
/// says it, includes the timer's slack, but a time on the clock does not (Linux, kernel/time/hrtimer.c).
pub(crate) fn sleep(nanoseconds: u32) {
    let end = now() + u64::from(nanoseconds);
    #[cfg(target_pointer_width = "64")] // elsewhere the call has several numbers
    {
        const SECOND: u64 = 1_000_000_000;
        let time = libc::timespec { tv_sec: (end / SECOND) as _, tv_nsec: (end % SECOND) as _ };
        let [clock, absolute] = [libc::CLOCK_MONOTONIC as usize, libc::TIMER_ABSTIME as usize];
        // SAFETY: reads one timespec.
        let _ =
            retry(|| unsafe { call(libc::SYS_clock_nanosleep, [clock, absolute, &raw const time as usize, 0, 0, 0]) });
    }
    #[cfg(not(target_pointer_width = "64"))]
    while now() < end {
        // SAFETY: no arguments, and no effect but that others run first.
        let _ = unsafe { call(libc::SYS_sched_yield, [0; 6]) };
    }
}

/// Waits for another thread, by naps, until it has `done` that; `false` if it has not after as many nanoseconds.
#[cold]
#[inline(never)]
pub(crate) fn wait_until(longest: u64, done: &mut dyn FnMut() -> bool) -> bool {
    let begun = now();
    let mut nap = 1_000;
    while !done() {
        if now() - begun >= longest {
            return false;
        }
        sleep(nap);
        // Not much longer than it takes the other thread, and 20 times in a second at least.
        nap = (nap + nap / 2).min(50_000_000);
    }
    true
}

/// Bytes in a page.
pub(crate) fn page_size() -> usize {
    match auxiliary(libc::AT_PAGESZ) as usize {
        size if size.is_power_of_two() => size,
        _ => 4096,
    }
}

#[cfg(test)]
mod readable {
    use super::*;

    #[test]
    fn what_can_be_read_is_told_without_a_fault() {
        let page = page_size();
        let mut memory = Scratch::new(3 * page).unwrap();
        let start = memory.bytes().as_ptr() as usize;
        assert!(is_readable(start, 3 * page) && is_readable(start + page - 1, 2) && is_readable(start, 1));
        assert!(is_readable(page_size as fn() -> usize as usize, 1), "code can be read");
        // SAFETY: our own page, that nobody looks at.
        unsafe { protect(start + page, page, libc::PROT_NONE) }.unwrap();
        assert!(is_readable(start, page) && is_readable(start + 2 * page, page));
        assert!(!is_readable(start, page + 1) && !is_readable(start + page, 1) && !is_readable(start, 3 * page));
        assert!(!is_readable(0, 1) && !is_readable(usize::MAX, 1) && !is_readable(usize::MAX - page, 2 * page));
    }
}

#[cfg(all(test, feature = "profile"))]
mod tests {
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
            assert_eq!(call(libc::SYS_getpid, [0; 6]), Ok(std::process::id() as usize));
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
            let args = [0, libc::RLIMIT_CORE as usize, 0, &raw mut limit as usize, 0, 0];
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
        for (clock, ours) in [(libc::CLOCK_MONOTONIC, now as fn() -> u64), (libc::CLOCK_THREAD_CPUTIME_ID, thread_time)]
        {
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
}
