//! A program with two versions of invar in it: `invar`, and `new`, which its library has too.

#[allow(dead_code)] // not all of it is used here
#[path = "../witness/src/lib.rs"]
mod witness;

use std::ffi::CString;

invar::key! { #[name = "versions.first"] static FIRST: bool = |_| { witness::probing("first", "program"); Ok(SECOND.get()) }; }
new::key! { #[name = "versions.second"] static SECOND: bool = |_| { witness::probing("second", "program"); Ok(THIRD.get()) }; }
invar::key! { #[name = "versions.third"] static THIRD: bool = |_| { witness::probing("third", "program"); Ok(true) }; }

// A cycle.
invar::key! { #[name = "versions.ping"] static PING: bool = |_| Ok(!PONG.get()); }
new::key! { #[name = "versions.pong"] static PONG: bool = |_| Ok(!PING.get()); }

// One by way of the library, whose probe calls what this gives it.
invar::key! {
    #[name = "versions.opens"]
    static OPENS: bool = |_| {
        let asked = ask as extern "C" fn() -> bool as usize;
        // SAFETY: no other thread is there that could look at the environment.
        unsafe { std::env::set_var("VERSIONS_ASK", asked.to_string()) };
        let path = CString::new(std::env::var("VERSIONS_LIBRARY").expect("a library")).expect("a path");
        // SAFETY: runs the library's constructors, which is what is wanted.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        Ok(!library.is_null())
    };
}

extern "C" fn ask() -> bool {
    OPENS.get()
}

#[inline(never)]
fn sections() -> u32 {
    let mut sections = 0;
    {
        let _slice = invar::timeslice::enter();
        sections += 1;
    }
    let _slice = new::timeslice::enter();
    sections + 1
}

fn main() {
    witness::chose("first", invar::branch!(FIRST), &FIRST);
    witness::agree("second", new::branch!(SECOND).into(), SECOND.get().into());
    witness::chose("third", invar::branch!(THIRD), &THIRD);
    witness::chose("ping", invar::branch!(PING), &PING);
    witness::agree("pong", new::branch!(PONG).into(), PONG.get().into());
    witness::chose("opens", invar::branch!(OPENS), &OPENS);
    witness::result("sections", sections());
    let mut seen = [0; 3];
    new::report().modules(|module| {
        seen = [seen[0] + 1, seen[1] + module.sites(), seen[2] + module.bound()];
    });
    witness::result("the new version sees", format_args!("{seen:?}"));
    witness::tell();
}
