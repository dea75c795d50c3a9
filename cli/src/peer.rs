//! Which process is at the other end of a socket, unix(7).
#![allow(unsafe_code)] // a question to the kernel that std does not ask

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// The process that listened where this socket was connected, by its number here; 0 if it has none here.
pub(crate) fn process(stream: &UnixStream) -> io::Result<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of_val(&credentials) as libc::socklen_t;
    let (socket, place) = (stream.as_raw_fd(), (&raw mut credentials).cast());
    // SAFETY: the kernel writes as many bytes as there are.
    match unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut length) } {
        0 => Ok(credentials.pid as u32),
        _ => Err(io::Error::last_os_error()),
    }
}
