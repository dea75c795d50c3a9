//! On a kernel that grants: what is decided with which C library, what comes of sections, what filters do.
//!
//! One boot for each kernel runs the jobs of all these tests, and only once one of them asks. Without QEMU or a kernel
//! they are shown as ignored, with the reason.
#![allow(unreachable_pub)] // this is one program
#![forbid(unsafe_code)]

mod binder;
mod c;
mod calls;
mod doctor;
mod ends;
mod enrol;
mod grants;
mod guard;
mod inside;
mod kernels;
mod libcs;
mod machine;
mod matrix;
mod places;
mod preload;
mod profile;
mod programs;
mod riscv;
mod seccomp;
mod strict;
mod unmodified;

use invar_guest::cache::{HOW, KERNEL};
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    // In this order two kernels are busy most of the time.
    let tests = [
        machine::tests(),
        matrix::tests(),
        doctor::tests(),
        enrol::tests(),
        c::tests(),
        calls::tests(),
        ends::tests(),
        strict::tests(),
        inside::tests(),
        preload::tests(),
        profile::tests(),
        binder::tests(),
        places::tests(),
        seccomp::tests(),
        guard::tests(),
        grants::tests(),
        unmodified::tests(),
        riscv::tests(),
    ];
    let tests: Vec<_> = tests.into_iter().flatten().collect();
    let arguments = Arguments::from_args();
    if invar_arch::PATCHES && !arguments.list && tests.iter().any(Trial::has_ignored_flag) {
        println!(
            "\nTo have what is skipped: apt-get install qemu-system-x86, then {HOW}; {KERNEL}=FILE is a ready kernel."
        );
    }
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// A test, or its place in the list if something is `missing` that it needs.
fn test(name: impl Into<String>, missing: Option<String>, body: impl FnOnce() + Send + 'static) -> Trial {
    let is_missing = missing.is_some();
    let kind = missing.map_or(String::new(), |reason| format!("skipped: {reason}"));
    let trial = Trial::test(name, || {
        body();
        Ok(())
    });
    trial.with_kind(kind).with_ignored_flag(is_missing)
}
