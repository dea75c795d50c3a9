//! Setting switches from outside: `invar set PID NAME=VALUE` asks the process over a socket, where the program wants that.
//!
//! The socket is one of the abstract names `invar/PID/NUMBER`, which end with the socket. The request is pairs of a name and a
//! value, each with a NUL behind it, up to the end of what is sent; the answer is one line of words whose first one says how to take it.
#![allow(unsafe_code)]

use crate::bind::MOST;
use crate::switch::{self, NotSet, Setting};
use crate::sys::{self, Listener, Peer};
use crate::text::{Sink, Text};
use core::convert::Infallible;
use core::ffi::CStr;

/// The longest request, in bytes.
const LONGEST: usize = 4096;

/// Lets other processes of the same user, and root, set this process's switches: `invar set PID NAME=VALUE`. It returns only if
/// that cannot be had, with the kernel's errno; so give it a thread.
///
/// `allow` is asked for each switch and value; where it says no to one, nothing is set. A process with raised privileges
/// (`AT_SECURE`) gets `EPERM`: its user may be another one than whom it acts for.
///
/// ```no_run
/// std::thread::spawn(|| invar::serve(|switch, _| switch.starts_with("myprogram.")));
/// ```
///
/// The process is found by a socket with an abstract name, so from its own network namespace only. Who connects is known by the
/// kernel (`SO_PEERCRED`, unix(7)); user 65534 is anybody, in whose place the kernel names it, and sets nothing. A request may take a second; requests are served one after the other.
///
/// # Errors
///
/// The errno of the system call that was refused: socket(2), bind(2), listen(2), accept4(2).
pub fn serve(mut allow: impl FnMut(&str, &str) -> bool) -> Result<Infallible, i32> {
    serve_by(&mut |name, value| match (name.to_str(), value.to_str()) {
        (Ok(name), Ok(value)) => allow(name, value),
        _ => false,
    })
}

/// Whether a switch may be set to a value, by their names.
type Allow<'a> = dyn FnMut(&CStr, &CStr) -> bool + 'a;

/// [`serve`] for libinvar.
#[cold]
pub(crate) fn serve_by(allow: &mut Allow<'_>) -> Result<Infallible, i32> {
    if sys::auxiliary(libc::AT_SECURE) != 0 {
        return Err(libc::EPERM);
    }
    let errno = |sys::Errno(errno)| errno;
    let listener = Listener::new(name().as_bytes()).map_err(errno)?;
    loop {
        let peer = match listener.accept() {
            Ok(peer) => peer,
            Err(sys::Errno(why)) => {
                if matches!(why, libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EOPNOTSUPP) {
                    // The program has closed what was not its own. By now the number may be that of something else.
                    core::mem::forget(listener);
                }
                return Err(why);
            }
        };
        let answer = answer(&peer, allow);
        peer.write(answer.as_bytes());
    }
}

/// `invar/PID/NUMBER`: a process has more than one, if it wants, and another one in another PID namespace none of the same name.
fn name() -> Text<64> {
    let mut name = Text::new();
    name.text("invar/").number(sys::process_id() as i64).text("/").number(sys::now() as i64);
    name
}

fn answer(peer: &Peer, allow: &mut Allow<'_>) -> Text<256> {
    let mut answer = Text::new();
    if !peer.is_of_same_user() {
        answer.text("denied for other users than its own");
        return answer;
    }
    let mut request = [0; LONGEST];
    let mut wanted = [Setting::named("", ""); MOST];
    let Some(wanted) = peer.read(&mut request).and_then(|request| parsed(request, &mut wanted, allow)) else {
        answer.text("denied the program does not allow it, or the request is none");
        return answer;
    };
    match switch::set(wanted) {
        Ok(set) => answer.text("set ").number(set.bound.into()).text(" ").number(set.checked.into()),
        Err(NotSet::Unknown) => answer.text("unknown no such switch is decided"),
        Err(NotSet::NoValue) => answer.text("value the switch has no such value"),
        Err(NotSet::Foreign(site)) => {
            answer.text("refused somebody else has changed the code at ");
            (&mut answer as &mut dyn Sink).hex(site as u64);
            &mut answer
        }
        Err(NotSet::InSignalHandler) => {
            answer.text("refused the loader is at work, or was when this process was forked")
        }
        Err(NotSet::Refused(reason, stale)) => {
            answer.text("refused ").text(reason.describe());
            if let Some(detail) = reason.detail() {
                answer.text(" ").number(detail.into());
            }
            if stale > 0 {
                answer.text("; sites that could not be taken back: ").number(stale.into());
            }
            &mut answer
        }
        Err(NotSet::TooMany) => answer.text("refused too many at once"),
    };
    answer
}

/// The settings of a request, if it is one and all of them are allowed.
fn parsed<'a, 'w>(
    request: &'a [u8],
    wanted: &'w mut [Setting<'a>; MOST],
    allow: &mut Allow<'_>,
) -> Option<&'w [Setting<'a>]> {
    let mut rest = request;
    let mut next = || {
        let text = CStr::from_bytes_until_nul(rest).ok()?;
        rest = &rest[text.to_bytes_with_nul().len()..];
        Some(text)
    };
    let mut count = 0;
    while let Some(name) = next() {
        let value = next()?;
        *wanted.get_mut(count)? = Setting::by_names(name.to_bytes(), value.to_bytes());
        count += 1;
        allow(name, value).then_some(())?;
    }
    // Nothing is left behind the last NUL.
    request.ends_with(b"\0").then_some(&wanted[..count])
}
