//! Files.
#![allow(unsafe_code)]

use super::raw::{Errno, Result, call, retry};
use core::ffi::CStr;

/// An open file, closed on drop.
pub(crate) struct File(pub(super) usize);

impl File {
    /// Opens `path`, which ends in NUL, with `O_CLOEXEC` and `flags`; a created file has mode 0666 less the umask.
    pub(crate) fn open(path: &[u8], flags: i32) -> Result<Self> {
        if path.last() != Some(&0) {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, (flags | libc::O_CLOEXEC) as usize, 0o666];
        // SAFETY: `path` ends in NUL.
        unsafe { call(libc::SYS_openat, args) }.map(Self)
    }

    /// Another descriptor of an open file.
    #[cfg(feature = "capi")]
    pub(crate) fn duplicate(descriptor: i32) -> Option<Self> {
        // SAFETY: makes a descriptor, which is ours then.
        let copy = unsafe { call(libc::SYS_fcntl, [descriptor as usize, libc::F_DUPFD_CLOEXEC as usize, 0]) };
        copy.ok().map(Self)
    }

    /// Makes a file that only its owner may use; one that exists is an error.
    #[cfg(feature = "profile")]
    pub(crate) fn create(path: &[u8]) -> Result<Self> {
        if path.last() != Some(&0) {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, flags as usize, 0o600];
        // SAFETY: `path` ends in NUL.
        unsafe { call(libc::SYS_openat, args) }.map(Self)
    }

    /// Gives a new file this length, all zeros, and room for it: a page of a mapped file that finds none later is a SIGBUS.
    #[cfg(feature = "profile")]
    pub(crate) fn reserve(&self, bytes: usize) -> Result<()> {
        may_write(bytes)?;
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
        // On the stack: in the module's own memory they would be a mapping more for each library that is loaded.
        let zeros = [0_u8; 2048];
        while bytes > 0 {
            let args = [self.0, zeros.as_ptr() as usize, bytes.min(zeros.len())];
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
        let _ = unsafe { call(libc::SYS_fcntl, [self.0, libc::F_SETFL as usize, libc::O_APPEND as usize]) };
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        // SAFETY: the kernel writes at most `len` bytes to the buffer.
        retry(|| unsafe { call(libc::SYS_read, [self.0, buffer.as_mut_ptr() as usize, buffer.len()]) })
    }

    /// Reads at `offset`; less than asked for at the end of the file.
    #[inline(never)]
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: usize) -> Result<usize> {
        let args = [self.0, buffer.as_mut_ptr() as usize, buffer.len(), offset, 0, 0];
        // SAFETY: the kernel writes at most `len` bytes to the buffer.
        retry(|| unsafe { call(libc::SYS_pread64, args) })
    }

    /// The length of a regular file.
    pub(crate) fn length(&self) -> Result<usize> {
        const SEEK_END: usize = 2;
        // SAFETY: moves the place of our own descriptor, which nobody reads by.
        unsafe { call(libc::SYS_lseek, [self.0, 0, SEEK_END]) }
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
        let create = |flags| unsafe { call(libc::SYS_memfd_create, [name.as_ptr() as usize, flags]) };
        let file = match create(FLAGS | MFD_EXEC) {
            Err(Errno(libc::EINVAL)) => create(FLAGS),
            created => created,
        }
        .map(Self)?;
        may_write(bytes.len())?;
        let mut left = bytes;
        while !left.is_empty() {
            // SAFETY: the kernel only reads the bytes.
            let write = || unsafe { call(libc::SYS_write, [file.0, left.as_ptr() as usize, left.len()]) };
            match retry(write)? {
                0 => return Err(Errno(libc::EIO)),
                written => left = &left[written.min(left.len())..],
            }
        }
        // SAFETY: our own file.
        unsafe { call(libc::SYS_fcntl, [file.0, libc::F_ADD_SEALS as usize, SEALS]) }?;
        Ok(file)
    }
}

/// An error where a file of so many bytes would bring a signal, by a limit of the process.
#[cold]
fn may_write(bytes: usize) -> Result<()> {
    let mut limit = libc::rlimit64 { rlim_cur: libc::RLIM64_INFINITY, rlim_max: libc::RLIM64_INFINITY };
    let args = [0, libc::RLIMIT_FSIZE as usize, 0, &raw mut limit as usize];
    // SAFETY: fills in one rlimit.
    let _ = unsafe { call(libc::SYS_prlimit64, args) };
    if limit.rlim_cur < bytes as u64 { Err(Errno(libc::EFBIG)) } else { Ok(()) }
}

impl Drop for File {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours, and not used again.
        let _ = unsafe { call(libc::SYS_close, [self.0]) };
    }
}

/// Removes a file, if it is there.
#[cfg(feature = "profile")]
pub(crate) fn remove(path: &[u8]) {
    if path.last() == Some(&0) {
        // SAFETY: `path` ends in NUL.
        let _ = unsafe { call(libc::SYS_unlinkat, [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0]) };
    }
}
