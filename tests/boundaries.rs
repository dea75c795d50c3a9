//! A site is exchanged while a thread stands in it: at every instruction of every form, with every set of flags, against every
//! other form of the site. A tracer steps a process through the first form, puts the second in its place, and goes on.
//!
//! A uprobe at a site's begin does the same: it executes the file's first instruction, and goes on behind it.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports))]

mod common;

use common::refuse::{Refused, refuse};
use common::trace::no_tracing;
use common::{command, must, run, sites, test};
use invar_abi::x86_64::{bound, checked, constant};
use invar_abi::{Kind, Site};
use std::process::ExitCode;

fn main() -> ExitCode {
    let missing = || sites().or_else(no_tracing).or_else(no_stepping);
    run([
        test("where the system refuses, the tests are skipped", missing(), refusals_are_shown),
        test("every form at every boundary of every other", missing(), every_form_at_every_boundary),
        test("every value at every boundary of every other", missing(), every_value_at_every_boundary),
        test("every select at every boundary", missing(), every_select_at_every_boundary),
        test("every constant at every boundary", missing(), every_constant_at_every_boundary),
        test("forms that do not keep the boundary are seen", missing(), wrong_forms_are_seen),
    ])
}

/// Why no text can be stepped through and exchanged here, from a try.
#[cfg(target_arch = "x86_64")]
fn no_stepping() -> Option<String> {
    stepping::Stepped::start().err()
}
#[cfg(not(target_arch = "x86_64"))]
fn no_stepping() -> Option<String> {
    None
}

/// Each test is there, with the reason, among what would be run.
fn refusals_are_shown() {
    for (refused, reason) in [
        (&[Refused::Memfd][..], "memory with a descriptor is refused"),
        (&[Refused::MapShared], "text in shared memory is refused"),
        (&[Refused::Ptrace], "no tracing"),
    ] {
        let mut this = command(std::env::current_exe().expect("this program"));
        refuse(&mut this, refused);
        let said = must(this.arg("--list"));
        let said = String::from_utf8_lossy(&said.stdout);
        let (tests, skipped) = (said.lines().count(), format!("[skipped: {reason}: "));
        assert!(tests >= 6 && said.matches(&skipped).count() == tests, "{refused:?}: {said}");
    }
}

#[cfg(not(target_arch = "x86_64"))]
use elsewhere as every_constant_at_every_boundary;
#[cfg(not(target_arch = "x86_64"))]
use elsewhere as every_form_at_every_boundary;
#[cfg(not(target_arch = "x86_64"))]
use elsewhere as every_select_at_every_boundary;
#[cfg(not(target_arch = "x86_64"))]
use elsewhere as every_value_at_every_boundary;
#[cfg(not(target_arch = "x86_64"))]
use elsewhere as wrong_forms_are_seen;
#[cfg(target_arch = "x86_64")]
use stepping::{
    every_constant_at_every_boundary, every_form_at_every_boundary, every_select_at_every_boundary,
    every_value_at_every_boundary, wrong_forms_are_seen,
};
/// Not called: [`sites`] are missing.
#[cfg(not(target_arch = "x86_64"))]
fn elsewhere() {}

#[cfg(target_arch = "x86_64")]
mod stepping {
    use super::*;
    use libc::user_regs_struct as Registers;
    use std::mem::zeroed;
    use std::ptr::null_mut;

    const PAGE: usize = 4096;
    /// Where in the text a site stands, and where it leads near and far; the data begins a page behind.
    const SITE: usize = 1024;
    const NEAR: usize = SITE + 64;
    const FAR: usize = SITE + 1024;
    /// In the data.
    const STATE: usize = 0;
    const REQUEST: usize = 256;
    const NUMBER: usize = 512;

    /// Intel SDM volume 1, 3.4.3: carry, parity, adjust, zero, sign, overflow.
    const FLAGS: [u64; 6] = [1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 11];

    /// Why a site came to a wrong end.
    type Fault = String;

    /// Where a thread left a site.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Exit {
        Through,
        Target,
    }

    /// A process that is stepped through sites: all that it has of its own are its registers.
    pub(super) struct Stepped {
        child: libc::pid_t,
        start: Registers,
        /// A page of text and one of data, which both processes have; the text is writable in neither place where it runs.
        writable: *mut u8,
        text: u64,
        steps: usize,
        /// The register that a constant is loaded to, as the machine counts them, and what it is to have then.
        loaded: Option<(u8, u64)>,
    }

    impl Stepped {
        fn new() -> Self {
            Self::start().expect("as when the tests were listed")
        }

        pub(super) fn start() -> Result<Self, Fault> {
            let refused = |what: &str| format!("{what} is refused: {}", std::io::Error::last_os_error());
            // SAFETY: new memory; the child, which has one thread, stops and runs nothing else.
            unsafe {
                let file = libc::memfd_create(c"text".as_ptr(), libc::MFD_CLOEXEC);
                if file == -1 || libc::ftruncate(file, 2 * PAGE as i64) != 0 {
                    return Err(refused("memory with a descriptor"));
                }
                let map = |at, length, protection, flags, offset| {
                    let memory = libc::mmap(at, length, protection, libc::MAP_SHARED | flags, file, offset);
                    if memory == libc::MAP_FAILED { Err(refused("text in shared memory")) } else { Ok(memory) }
                };
                let write = libc::PROT_READ | libc::PROT_WRITE;
                let writable = map(null_mut(), 2 * PAGE, write, 0, 0)?.cast::<u8>();
                let text = map(null_mut(), 2 * PAGE, libc::PROT_READ | libc::PROT_EXEC, 0, 0)?;
                map(text.cast::<u8>().add(PAGE).cast(), PAGE, write, libc::MAP_FIXED, PAGE as i64)?;
                libc::close(file);
                let child = libc::fork();
                if child == 0 {
                    libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                    libc::raise(libc::SIGSTOP);
                    libc::_exit(0);
                }
                let mut stepped = Self { child, start: zeroed(), writable, text: text as u64, steps: 0, loaded: None };
                stepped.wait()?;
                assert_eq!(libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, libc::PTRACE_O_EXITKILL), 0);
                stepped.start = stepped.registers();
                Ok(stepped)
            }
        }

        fn wait(&self) -> Result<(), Fault> {
            let mut status = 0;
            // SAFETY: our own child, and a number to fill in.
            assert_eq!(unsafe { libc::waitpid(self.child, &mut status, 0) }, self.child);
            let signal = libc::WSTOPSIG(status);
            let stopped = libc::WIFSTOPPED(status) && matches!(signal, libc::SIGTRAP | libc::SIGSTOP);
            if stopped { Ok(()) } else { Err(format!("signal {signal}")) }
        }

        fn registers(&self) -> Registers {
            // SAFETY: a traced child that has stopped; numbers.
            unsafe {
                let mut registers = zeroed();
                assert_eq!(libc::ptrace(libc::PTRACE_GETREGS, self.child, 0, &raw mut registers), 0);
                registers
            }
        }

        fn set_registers(&self, registers: &Registers) {
            // SAFETY: as above.
            assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SETREGS, self.child, 0, registers) }, 0);
        }

        fn step(&mut self) -> Result<u64, Fault> {
            self.steps += 1;
            // SAFETY: as above.
            assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.child, 0, 0) }, 0);
            self.wait()?;
            Ok(self.registers().rip)
        }

        /// Stores to what the child executes and reads.
        fn put(&self, offset: usize, bytes: &[u8]) {
            assert!(offset + bytes.len() <= 2 * PAGE);
            // SAFETY: in the mapping; the child is stopped.
            unsafe { bytes.as_ptr().copy_to_nonoverlapping(self.writable.add(offset), bytes.len()) };
        }

        fn request(&self) -> u8 {
            // SAFETY: in the mapping.
            unsafe { self.writable.add(PAGE + REQUEST).read() }
        }

        /// How far the request byte is from the child's thread pointer.
        fn request_offset(&self) -> i32 {
            let address = self.text + (PAGE + REQUEST) as u64;
            i32::try_from(address.wrapping_sub(self.start.fs_base) as i64).expect("near the thread pointer")
        }

        fn site(&self, kind: Kind, length: u8, value: u8) -> Site {
            let target = if length > 12 { FAR } else { NEAR };
            Site {
                address: self.text + SITE as u64,
                target: self.text + target as u64,
                state: self.text + (PAGE + STATE) as u64,
                length,
                kind,
                value,
            }
        }

        /// Executes one form up to this place, and another one from there on. `None` if nobody gets there.
        fn exchange(
            &mut self,
            site: &Site,
            [first, second]: [&[u8]; 2],
            boundary: u64,
            flags: u64,
        ) -> Result<Option<Exit>, Fault> {
            self.put(SITE, first);
            let mut registers = self.start;
            (registers.rip, registers.eflags) = (site.address, 0x202 | flags);
            // An interrupted system call is not to be begun again.
            registers.orig_rax = u64::MAX;
            let numbered = [
                &mut registers.rax,
                &mut registers.rbx,
                &mut registers.rcx,
                &mut registers.rdx,
                &mut registers.rsi,
                &mut registers.rdi,
                &mut registers.rbp,
                &mut registers.r8,
                &mut registers.r9,
                &mut registers.r10,
                &mut registers.r11,
                &mut registers.r12,
                &mut registers.r13,
                &mut registers.r14,
                &mut registers.r15,
            ];
            numbered.into_iter().zip(1..).for_each(|(register, number)| *register = number * 0x0123_4567_89ab);
            self.set_registers(&registers);
            let end = site.address + u64::from(site.length);
            let mut at = site.address;
            while at != site.address + boundary {
                if at == end || at == site.target {
                    return Ok(None);
                }
                at = self.step()?;
            }
            self.put(SITE, second);
            for _ in 0..4 {
                if at == end || at == site.target {
                    let mut now = self.registers();
                    if let Some((number, value)) = self.loaded {
                        if now.eflags != registers.eflags {
                            return Err("the flags are others".into());
                        }
                        *register(&mut registers, number) = value;
                    }
                    // The flags are the site's.
                    (now.rip, now.eflags) = (registers.rip, registers.eflags);
                    if format!("{now:?}") != format!("{registers:?}") {
                        return Err("a register has another value".into());
                    }
                    return Ok(Some(if at == end { Exit::Through } else { Exit::Target }));
                }
                at = self.step()?;
            }
            Err(format!("still at {:#x} of the site", at.wrapping_sub(site.address)))
        }

        /// All exchanges of one form for another, with a key of this value; how many there were.
        fn exchanges(&mut self, site: &Site, forms: [&[u8]; 2], value: u8) -> Result<usize, Fault> {
            let mut done = 0;
            self.put(PAGE + STATE, &[value]);
            for boundary in 0..u64::from(site.length) {
                for set in 0..1 << FLAGS.len() {
                    let flags = (0..).zip(FLAGS).filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, flag)| flag).sum();
                    for asked in [0, 1] {
                        self.put(PAGE + REQUEST, &[asked]);
                        let Some(exit) = self.exchange(site, forms, boundary, flags)? else { continue };
                        if !is_right(site, value, [asked, self.request()], exit, boundary == 0) {
                            let request = self.request();
                            return Err(format!(
                                "{exit:?} at {boundary}, flags {flags:#x}, request {asked}, then {request}"
                            ));
                        }
                        done += 1;
                    }
                }
            }
            Ok(done)
        }
    }

    impl Drop for Stepped {
        fn drop(&mut self) {
            // SAFETY: our own child and our own memory.
            unsafe {
                libc::kill(self.child, libc::SIGKILL);
                libc::waitpid(self.child, null_mut(), 0);
                libc::munmap(self.writable.cast(), 2 * PAGE);
                libc::munmap(self.text as usize as *mut _, 2 * PAGE);
            }
        }
    }

    /// Intel SDM volume 2, 3.1.1.1, table 3-1.
    fn register(of: &mut Registers, number: u8) -> &mut u64 {
        match number {
            0 => &mut of.rax,
            1 => &mut of.rcx,
            2 => &mut of.rdx,
            3 => &mut of.rbx,
            4 => &mut of.rsp,
            5 => &mut of.rbp,
            6 => &mut of.rsi,
            7 => &mut of.rdi,
            8 => &mut of.r8,
            9 => &mut of.r9,
            10 => &mut of.r10,
            11 => &mut of.r11,
            12 => &mut of.r12,
            13 => &mut of.r13,
            14 => &mut of.r14,
            15 => &mut of.r15,
            other => panic!("register {other}"),
        }
    }

    /// Whether a thread may leave a site so, with this request before and behind; `whole` if it executed one form alone.
    fn is_right(site: &Site, value: u8, [asked, request]: [u8; 2], exit: Exit, whole: bool) -> bool {
        let falls_through = site.falls_through(value);
        match site.kind {
            Kind::Branch | Kind::Ordered => request == asked && (exit == Exit::Through) == falls_through,
            Kind::Select | Kind::Constant => unreachable!("their forms have no second instruction"),
            // The code at the target does nothing where there is no area; it asks again where there is one. Who has not asked
            // has no benefit, and who has asked twice has asked.
            Kind::SliceEnter if falls_through => request == asked,
            Kind::SliceEnter if whole => exit == Exit::Target || request == 1,
            Kind::SliceEnter => request >= asked,
            Kind::SliceLeave if falls_through => request == asked,
            // No request is left, and who had none any more gives way; the code at the target sees to both.
            Kind::SliceLeave => exit == Exit::Target || request == 0,
            Kind::Pointer => unreachable!("no code"),
        }
    }

    /// Each kind with each length and value, and the forms that it can have then, as bytes.
    fn cases(stepped: &Stepped) -> Vec<(Site, u8, Vec<Vec<u8>>)> {
        let request = stepped.request_offset();
        let lengths = [
            (Kind::Branch, [10, 14], &[0_u8, 1, 63][..]),
            (Kind::Ordered, [10, 14], &[1, 2, 63]),
            (Kind::SliceEnter, [12, 16], &[0]),
            (Kind::SliceLeave, [11, 15], &[0]),
        ];
        let sites = lengths.into_iter().flat_map(|(kind, lengths, values)| {
            lengths.into_iter().flat_map(move |length| values.iter().map(move |&value| (kind, length, value)))
        });
        let all = sites.flat_map(|(kind, length, value)| {
            let site = stepped.site(kind, length, value);
            // Of an ordered one, the values on both sides of its own.
            let others = if kind == Kind::Ordered { vec![value - 1, value + 1] } else { vec![value ^ 1] };
            [value].into_iter().chain(others).map(move |value| (site, value))
        });
        let bytes = |code: Option<invar_abi::Code>| code.expect("a form").write_to(&mut [0; 16]).to_vec();
        all.map(|(site, value)| (site, value, vec![bytes(checked(&site)), bytes(bound(&site, value, request))]))
            .collect()
    }

    pub(super) fn every_form_at_every_boundary() {
        let mut stepped = Stepped::new();
        let (mut exchanges, mut pairs) = (0, 0);
        for (site, value, forms) in cases(&stepped) {
            for [first, second] in [[0, 0], [0, 1], [1, 1], [1, 0]] {
                let pair = [&*forms[first], &forms[second]];
                let done = stepped.exchanges(&site, pair, value);
                let is_branch = !site.kind.is_slice();
                if [first, second] == [1, 0] && is_branch && site.falls_through(value) {
                    // The one pair that the forms do not promise (docs/site-abi.md).
                    assert!(done.is_err_and(|fault| fault.starts_with("Target at 8,")));
                    continue;
                }
                let done = done.unwrap_or_else(|fault| panic!("{fault}: {site:?} = {value}, {pair:x?}"));
                // At its begin, and behind its first instruction unless that is a jump; with each set of flags, and with a request
                // or without.
                let jumps = first == 1 && is_branch && !site.falls_through(value);
                assert_eq!(done, (if jumps { 1 } else { 2 }) * (2 << FLAGS.len()), "{site:?}");
                (exchanges, pairs) = (exchanges + done, pairs + 1);
            }
        }
        println!("{exchanges} exchanges of {pairs} pairs of forms, in {} steps", stepped.steps);
    }

    /// As where a key may have another value later: no thread comes to a place that is in neither form.
    pub(super) fn every_value_at_every_boundary() {
        let mut stepped = Stepped::new();
        for (site, value, forms) in cases(&stepped) {
            let request = stepped.request_offset();
            let mut bytes = [0; 16];
            // One of which the site goes the other way.
            let other = if site.falls_through(value) == (value == site.value) { value ^ 1 } else { site.value };
            let other = if site.kind == Kind::Ordered && site.falls_through(value) { site.value - 1 } else { other };
            let other = bound(&site, other, request).expect("a form").write_to(&mut bytes);
            for boundary in 0..u64::from(site.length) {
                for flags in [0, FLAGS.iter().sum()] {
                    let pair = [&*forms[1], other];
                    stepped.exchange(&site, pair, boundary, flags).unwrap_or_else(|fault| panic!("{fault}: {site:?}"));
                }
            }
        }
    }

    /// A form that no thread comes to stand in, and another in its place.
    fn exchanged(stepped: &mut Stepped, site: &Site, forms: [&[u8]; 2], expected: Exit) {
        for boundary in 0..u64::from(site.length) {
            for set in 0..1 << FLAGS.len() {
                let flags = (0..).zip(FLAGS).filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, flag)| flag).sum();
                let exit = stepped.exchange(site, forms, boundary, flags);
                let exit = exit.unwrap_or_else(|fault| panic!("{fault} at {boundary}: {site:x?} {forms:x?}"));
                // Inside, nobody stands but behind the nop of a constant that is bound: there the checked form loads as well.
                assert!(boundary == 0 || exit.is_none() || exit == Some(expected), "{site:x?} at {boundary}");
                assert!(boundary != 0 || exit == Some(expected), "{site:x?}: {exit:?}");
            }
        }
    }

    pub(super) fn every_select_at_every_boundary() {
        let mut stepped = Stepped::new();
        let bytes = |code: Option<invar_abi::Code>| code.expect("a form").write_to(&mut [0; 16]).to_vec();
        let site = stepped.site(Kind::Select, 9, 2);
        let [unbound, bound] = [bytes(checked(&site)), bytes(bound(&site, 2, 0))];
        for first in [&unbound, &bound] {
            exchanged(&mut stepped, &site, [first, &unbound], Exit::Through);
            exchanged(&mut stepped, &site, [first, &bound], Exit::Target);
        }
    }

    /// In each register the number, and nothing else.
    pub(super) fn every_constant_at_every_boundary() {
        let mut stepped = Stepped::new();
        let bytes = |code: Option<invar_abi::Code>| code.expect("a form").write_to(&mut [0; 16]).to_vec();
        for (register, wide) in (0..16).flat_map(|register| [(register, 0), (register, 32)]) {
            let length = if wide == 0 { 7 } else { 11 };
            let target = stepped.text + (PAGE + NUMBER) as u64;
            let site = Site { target, ..stepped.site(Kind::Constant, length, register + wide) };
            for number in [0, 64, 0x8000_0001, 0x1234_5678_9abc_def0_u64] {
                stepped.put(PAGE + NUMBER, &number.to_le_bytes());
                let held = if wide == 0 { number & 0xffff_ffff } else { number };
                stepped.loaded = Some((register, held));
                let forms = [bytes(checked(&site)), bytes(constant(&site, number))];
                for [first, second] in [[0, 0], [0, 1], [1, 1], [1, 0]] {
                    exchanged(&mut stepped, &site, [&forms[first], &forms[second]], Exit::Through);
                }
            }
        }
        // What is not the number is seen.
        let site = Site { target: stepped.text + (PAGE + NUMBER) as u64, ..stepped.site(Kind::Constant, 7, 1) };
        stepped.loaded = Some((1, 64));
        let wrong = bytes(constant(&site, 65));
        assert!(stepped.exchange(&site, [&wrong, &wrong], 0, 0).is_err_and(|fault| fault.contains("another value")));
    }

    /// Those of the first version of the ABI, and others that begin or end an instruction elsewhere.
    pub(super) fn wrong_forms_are_seen() {
        let nop = |prefixes: usize| [&[0x66].repeat(prefixes)[..], &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]].concat();
        let mut seen = 0;
        for number in 0..cases(&Stepped::new()).len() {
            // A process for each wrong form: it may stand anywhere afterwards.
            let wrong = || {
                let mut stepped = Stepped::new();
                let (site, value, forms) = cases(&stepped).swap_remove(number);
                let through = |first: usize| [&forms[1][..first], &[0x66, 0x90]].concat();
                let short = site.length < 14;
                let wrong = match site.kind {
                    _ if site.falls_through(value) => nop(usize::from(site.length) - 8),
                    // A nop where the second jump has to be, for a thread that comes from the compare.
                    Kind::Branch | Kind::Ordered if short => through(8),
                    // Nobody takes the request back where a thread comes from the compare.
                    Kind::SliceLeave if short => through(9),
                    _ => return None,
                };
                let done = stepped.exchanges(&site, [&forms[0], &wrong], value);
                Some(done.err().unwrap_or_else(|| panic!("{site:?} = {value}: {wrong:x?}")))
            };
            seen += usize::from(wrong().is_some());
        }
        assert_eq!(seen, 29);
    }
}
