//! Sockets with abstract names, unix(7).
#![allow(unsafe_code)]

use super::file::File;
use super::raw::{Errno, Result, call, retry};
use super::time::{now, sleep};

/// A socket that others connect to, closed on drop.
pub(crate) struct Listener(File);

/// Somebody who has connected.
pub(crate) struct Peer(File);

impl Listener {
    /// With this abstract name.
    pub(crate) fn new(name: &[u8]) -> Result<Self> {
        let kind = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as usize;
        // SAFETY: makes a descriptor, which is ours.
        let socket = File(unsafe { call(libc::SYS_socket, [libc::AF_UNIX as usize, kind, 0]) }?);
        let mut address = libc::sockaddr_un { sun_family: libc::AF_UNIX as _, sun_path: [0; 108] };
        // The first byte is a NUL: the name is none of a file.
        for (to, from) in address.sun_path[1..].iter_mut().zip(name) {
            *to = *from as _;
        }
        let length = core::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len().min(107);
        // SAFETY: the kernel reads the address.
        unsafe { call(libc::SYS_bind, [socket.0, &raw const address as usize, length]) }?;
        // SAFETY: our own descriptor.
        unsafe { call(libc::SYS_listen, [socket.0, 8]) }?;
        Ok(Self(socket))
    }

    /// Waits for somebody. Where there is no descriptor or memory at the moment, tries again later.
    pub(crate) fn accept(&self) -> Result<Peer> {
        loop {
            let args = [self.0.0, 0, 0, libc::SOCK_CLOEXEC as usize];
            // SAFETY: makes a descriptor, which is ours.
            match retry(|| unsafe { call(libc::SYS_accept4, args) }) {
                Err(Errno(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::ECONNABORTED)) => {
                    sleep(100_000_000);
                }
                result => return result.map(|descriptor| Peer(File(descriptor))),
            }
        }
    }
}

/// The user that the kernel names in the place of all whom a user namespace does not know (`/proc/sys/kernel/overflowuid`, proc(5)).
const ANYBODY: libc::uid_t = 65534;

impl Peer {
    /// Whether it is a process of the user of this one, or of root. Who seems to be [`ANYBODY`] may be.
    pub(crate) fn is_of_same_user(&self) -> bool {
        let mut credentials = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: 0 };
        let mut length = size_of_val(&credentials) as libc::socklen_t;
        let args = [
            self.0.0,
            libc::SOL_SOCKET as usize,
            libc::SO_PEERCRED as usize,
            &raw mut credentials as usize,
            &raw mut length as usize,
        ];
        // SAFETY: the kernel writes as many bytes as there are.
        let asked = unsafe { call(libc::SYS_getsockopt, args) };
        // SAFETY: no arguments, no effects.
        let own = unsafe { call(libc::SYS_geteuid, []) };
        let is_own = |own| own as libc::uid_t == credentials.uid && credentials.uid != ANYBODY;
        asked.is_ok() && (credentials.uid == 0 || own.is_ok_and(is_own))
    }

    /// Reads what it sends, to the end, for some two seconds at most; `None` if there is no end or no room for it.
    pub(crate) fn read<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let second = libc::timeval { tv_sec: 1, tv_usec: 0 };
        let args = [
            self.0.0,
            libc::SOL_SOCKET as usize,
            libc::SO_RCVTIMEO as usize,
            &raw const second as usize,
            size_of_val(&second),
        ];
        // SAFETY: the kernel reads one `timeval`.
        let _ = unsafe { call(libc::SYS_setsockopt, args) };
        let (begun, mut length, mut rest) = (now(), 0, [0; 256]);
        while now() - begun < 1_000_000_000 {
            // Bytes that are not read would have the kernel take the answer back.
            let rest = if length < buffer.len() { &mut buffer[length..] } else { &mut rest[..] };
            let args = [self.0.0, rest.as_mut_ptr() as usize, rest.len()];
            // SAFETY: the kernel writes as many bytes as there is room.
            match retry(|| unsafe { call(libc::SYS_read, args) }) {
                Ok(0) => return buffer.get(..length),
                Ok(read) => length += read,
                Err(_) => break,
            }
        }
        None
    }

    /// Sends a few bytes, if it is still there.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as usize;
        // SAFETY: the kernel reads as many bytes as there are.
        let _ = unsafe { call(libc::SYS_sendto, [self.0.0, bytes.as_ptr() as usize, bytes.len(), flags, 0, 0]) };
    }
}
