//! The variants, instruction by instruction, so that two of them differ in nothing else.
//!
//! Each is text for the assembler: what stands before the section, what stands behind it, and what stands out of
//! line. [`batch!`](crate::batch) puts it into loops that are aligned alike. `rdi` counts,
//! `rsi` is the lock, `rdx` holds the area's offset for those who keep it in a register; `rax`, `rcx` and `r8` to
//! `r11` are free. Bound sites are those that `docs/site-abi.md` describes, with records of their own.

use crate::harness::{Batch, Samples, alternate, calibrate, per_operation};
use std::arch::x86_64::_mm_clflush;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicIsize, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

invar::key! {
    /// Bound to the form for a kernel that has the extension, or to a branch that holds.
    #[name = "invar-measure.on"]
    #[__slice]
    pub static ON: bool = |evidence| {
        evidence.text("always");
        Ok(true)
    };
}
invar::key! {
    /// Bound to the form for a kernel that has no extension, or to a branch that does not hold.
    #[name = "invar-measure.off"]
    #[__slice]
    pub static OFF: bool = |evidence| {
        evidence.text("never");
        Ok(false)
    };
}

// Behind its unbound sites, and behind those of `STATE_ON`.
/// Nobody watches.
static OBSERVED: AtomicUsize = AtomicUsize::new(0);

invar_arch::__slice_paths!(
    ON, [OBSERVED, OBSERVED],
    #[doc = "Behind an unbound site."] pub request_out_of_line, withdraw_out_of_line
);

/// The states of two keys without a record: what is compared with them stays in checked form.
pub static STATE_ON: AtomicU8 = AtomicU8::new(1);
/// See [`STATE_ON`].
pub static STATE_OFF: AtomicU8 = AtomicU8::new(0);

/// Distance of the thread's area from its thread pointer, and in [`OFFSET_CELL`] a pointer to it. Ordinary code
/// finds libc's `__rseq_offset` through such a pointer, its GOT entry; an entry of our own the linker would remove.
pub static OFFSET: AtomicIsize = AtomicIsize::new(0);
/// See [`OFFSET`].
pub static OFFSET_CELL: &AtomicIsize = &OFFSET;
/// The same for an area whose flags say ENABLED ...
pub static ENABLED: AtomicIsize = AtomicIsize::new(0);
/// See [`ENABLED`].
pub static ENABLED_CELL: &AtomicIsize = &ENABLED;
/// ... and for one whose flags do not.
pub static DISABLED: AtomicIsize = AtomicIsize::new(0);
/// See [`DISABLED`].
pub static DISABLED_CELL: &AtomicIsize = &DISABLED;

/// The call that gives up the CPU: `sched_yield`, which ends a grant as any call does and which no filter refuses.
pub static YIELD: AtomicI32 = AtomicI32::new(24);

/// A function without arguments, by address.
pub type Call = unsafe extern "C" fn();
/// Slice enter as a function, behind a pointer that was set at load.
pub static ENTER: Call = enter;
/// Slice leave likewise.
pub static LEAVE: Call = leave;

/// As std caches what it has found out of the CPU: bits, and one that says that they are there.
pub static FEATURES: AtomicU64 = AtomicU64::new(1 << 63 | 0x8000);
/// A function that is called through a pointer which was set at load.
pub static POINTER: Call = increment;

/// A loop: how often, the lock, and the area's offset.
pub type Loop = unsafe extern "C" fn(u64, *mut u32, isize);

/// Calls `$then!` with the slice variants: `Name "what it is" [before] [behind] [out of line];`.
#[doc(hidden)]
#[macro_export]
macro_rules! slice_variants {
    ($then:ident) => { $then! {
        NoCode "no code" [] [] [];

        FromGot "compiled in, offset from the GOT"
            ["mov r9, qword ptr [rip + {offset_cell}]", "mov r9, qword ptr [r9]", "mov byte ptr fs:[r9 + 28], 1"]
            ["mov byte ptr fs:[r9 + 28], 0", "cmp byte ptr fs:[r9 + 29], 0", "jne 30f", "31:"]
            ["30:", "mov eax, dword ptr [rip + {yield}]", "syscall", "jmp 31b"];

        Hoisted "compiled in, offset hoisted"
            ["mov byte ptr fs:[rdx + 28], 1"]
            ["mov byte ptr fs:[rdx + 28], 0", "cmp byte ptr fs:[rdx + 29], 0", "jne 30f", "31:"]
            ["30:", "mov eax, dword ptr [rip + {yield}]", "syscall", "jmp 31b"];

        HoistedShift "the same, leaving by shr"
            ["mov byte ptr fs:[rdx + 28], 1"]
            ["shr byte ptr fs:[rdx + 28], 1", "jnc 30f", "31:"]
            ["30:", "cmp byte ptr fs:[rdx + 29], 0", "je 31b", "mov eax, dword ptr [rip + {yield}]", "syscall", "jmp 31b"];

        UnboundOn "unbound, available"
            [$crate::enter_site!("{state_on}")] [$crate::leave_site!("{state_on}")] [$crate::checked_paths!()];

        BoundOn "bound, available"
            [$crate::enter_site!("{on}"), $crate::site_record!("{on}", "22", "20f", "23", "2")]
            [$crate::leave_site!("{on}"), $crate::site_record!("{on}", "32", "30f", "33", "3")]
            [$crate::checked_paths!()];

        FlagOn "rseq->flags test, enabled"
            ["mov r9, qword ptr [rip + {enabled_cell}]", "mov r9, qword ptr [r9]",
             "test byte ptr fs:[r9 + 16], 0x20", "jz 21f", "mov byte ptr fs:[r9 + 28], 1", "21:"]
            ["test byte ptr fs:[r9 + 16], 0x20", "jz 31f",
             "mov byte ptr fs:[r9 + 28], 0", "cmp byte ptr fs:[r9 + 29], 0", "jne 30f", "31:"]
            ["30:", "mov eax, dword ptr [rip + {yield}]", "syscall", "jmp 31b"];

        Pointer "function pointers"
            ["call qword ptr [rip + {enter}]"] ["call qword ptr [rip + {leave}]"] [];

        UnboundOff "unbound, absent"
            [$crate::enter_site!("{state_off}")] [$crate::leave_site!("{state_off}")] [$crate::checked_paths!()];

        BoundOff "bound, absent"
            [$crate::enter_site!("{off}"), $crate::site_record!("{off}", "22", "20f", "23", "2")]
            [$crate::leave_site!("{off}"), $crate::site_record!("{off}", "32", "30f", "33", "3")]
            [$crate::checked_paths!()];

        FlagOff "rseq->flags test, not enabled"
            ["mov r9, qword ptr [rip + {disabled_cell}]", "mov r9, qword ptr [r9]",
             "test byte ptr fs:[r9 + 16], 0x20", "jz 21f", "mov byte ptr fs:[r9 + 28], 1", "21:"]
            ["test byte ptr fs:[r9 + 16], 0x20", "jz 31f",
             "mov byte ptr fs:[r9 + 28], 0", "cmp byte ptr fs:[r9 + 29], 0", "jne 30f", "31:"]
            ["30:", "mov eax, dword ptr [rip + {yield}]", "syscall", "jmp 31b"];
    } };
}

/// The checked form of a slice enter, from label 22 to 23.
#[doc(hidden)]
#[macro_export]
macro_rules! enter_site {
    ($state:literal) => {
        concat!("22: .byte 0x66, 0x66, 0x40\n cmp byte ptr [rip + ", $state, "], 0\n jne 20f\n 23: 21:")
    };
}

/// The checked form of a slice leave, from label 32 to 33.
#[doc(hidden)]
#[macro_export]
macro_rules! leave_site {
    ($state:literal) => {
        concat!("32: .byte 0x66, 0x40\n cmp byte ptr [rip + ", $state, "], 0\n jne 30f\n 33: 31:")
    };
}

/// The record of the site between two labels; without one a site stays in checked form.
#[doc(hidden)]
#[macro_export]
macro_rules! site_record {
    ($state:literal, $start:literal, $target:literal, $end:literal, $kind:literal) => {
        $crate::site_record!($state, $start, $target, $end, $kind, "0")
    };
    ($state:literal, $start:literal, $target:literal, $end:literal, $kind:literal, $value:literal) => {
        concat!(
            ".pushsection invar2_sites, \"aR\", @progbits\n",
            ".balign 4\n",
            ".long ",
            $start,
            "b - ., ",
            $target,
            " - ., ",
            $state,
            " - .\n",
            ".byte ",
            $end,
            "b - ",
            $start,
            "b, ",
            $kind,
            ", ",
            $value,
            ", 0\n",
            ".popsection",
        )
    };
}

/// Where the checked forms jump to, and the bound leave: what the runtime's own sites have there.
#[doc(hidden)]
#[macro_export]
macro_rules! checked_paths {
    () => {
        "20: lea r11, [rip + 20f]
        jmp {request}
        20: jmp 21b
        30: lea r11, [rip + 30f]
        jmp {withdraw}
        30: jmp 31b"
    };
}

/// Assembles text with everything in this file that it may name.
#[doc(hidden)]
#[macro_export]
macro_rules! assemble {
    ($($text:expr),* $(,)?) => {
        ::core::arch::naked_asm!(
            // An operand that no text names is an error, so a comment names them all.
            "# {on} {off} {state_on} {state_off} {offset} {offset_cell} {enabled_cell} {disabled_cell} {yield} {enter} {leave} \
             {features} {pointer} {increment} {request} {withdraw}",
            $($text,)*
            on = sym $crate::machine::ON,
            off = sym $crate::machine::OFF,
            state_on = sym $crate::machine::STATE_ON,
            state_off = sym $crate::machine::STATE_OFF,
            offset = sym $crate::machine::OFFSET,
            offset_cell = sym $crate::machine::OFFSET_CELL,
            enabled_cell = sym $crate::machine::ENABLED_CELL,
            disabled_cell = sym $crate::machine::DISABLED_CELL,
            yield = sym $crate::machine::YIELD,
            enter = sym $crate::machine::ENTER,
            leave = sym $crate::machine::LEAVE,
            features = sym $crate::machine::FEATURES,
            pointer = sym $crate::machine::POINTER,
            increment = sym $crate::machine::increment,
            request = sym $crate::machine::request_out_of_line,
            withdraw = sym $crate::machine::withdraw_out_of_line,
        )
    };
}

/// Declares a loop of type [`Loop`]: `count` times what stands before, the section, and what stands behind.
#[doc(hidden)]
#[macro_export]
macro_rules! batch {
    ($name:ident [$($before:expr),*] [$($section:expr),*] [$($behind:expr),*] [$($cold:expr),*]) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(_count: u64, _lock: *mut u32, _offset: isize) {
            $crate::assemble!(
                ".p2align 6",
                "2:",
                $($before,)* $($section,)* $($behind,)*
                "dec rdi",
                "jnz 2b",
                "ret",
                $($cold,)*
            )
        }
    };
}

macro_rules! declare {
    ($($variant:ident $name:literal $before:tt $behind:tt $cold:tt;)*) => {
        /// The slice variants, in the order of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Slice { $($variant),* }

        impl Slice {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// What it is.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Its loop around nothing.
            pub fn empty(self) -> Loop {
                match self { $(Self::$variant => { batch!(empty $before [] $behind $cold); empty })* }
            }

            /// Its loop around a lock that nobody else wants.
            pub fn locked(self) -> Loop {
                match self { $(Self::$variant => {
                    batch!(locked $before [
                        "40: mov eax, 1",
                        "xchg dword ptr [rsi], eax",
                        "test eax, eax",
                        "jnz 40b",
                        "mov dword ptr [rsi], 0"
                    ] $behind $cold);
                    locked
                })* }
            }
        }
    };
}
slice_variants!(declare);

/// A variant that does hardly anything.
#[unsafe(naked)]
pub unsafe extern "C" fn increment() {
    std::arch::naked_asm!("inc eax", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn enter() {
    assemble!("mov r9, qword ptr [rip + {offset}]", "mov byte ptr fs:[r9 + 28], 1", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn leave() {
    assemble!(
        "mov r9, qword ptr [rip + {offset}]",
        "mov byte ptr fs:[r9 + 28], 0",
        "cmp byte ptr fs:[r9 + 29], 0",
        "jne 30f",
        "31: ret",
        "30: mov eax, dword ptr [rip + {yield}]",
        "syscall",
        "jmp 31b",
    )
}

/// The variants' names, in the order of [`Slice::ALL`].
pub fn names() -> Vec<&'static str> {
    Slice::ALL.iter().map(|variant| variant.name()).collect()
}

/// Every variant around nothing, then every variant around the lock.
pub fn measure(budget: Duration) -> Samples {
    let bench = &Bench::new();
    let empty = Slice::ALL.iter().map(|variant| variant.empty());
    let locked = Slice::ALL.iter().map(|variant| variant.locked());
    let mut batches: Vec<_> = empty.chain(locked).map(|code| bench.batch(code)).collect();
    let Ok(samples) = alternate(budget, &mut batches);
    samples
}

/// What makes a variant not what its name says.
pub fn caveat() -> Option<&'static str> {
    if !(each_site("invar-measure.on", |_| ()) && each_site("invar-measure.off", |_| ())) {
        Some("This program's sites are not bound: the rows that say so show their checked forms.")
    } else if !ON.get() {
        Some("A setting turned this program's keys off: the rows for available show absent.")
    } else {
        None
    }
}

/// What a loop needs, for the calling thread.
pub struct Bench {
    lock: UnsafeCell<u32>,
    offset: isize,
    /// What the variants' own instructions read or write, in some order.
    data: Vec<*const u8>,
}

impl Bench {
    /// Sets the offsets for this thread, and so for every thread.
    pub fn new() -> Self {
        /// As large and as aligned as a thread's area.
        #[repr(align(64))]
        struct Area(UnsafeCell<[u8; 64]>);
        thread_local! {
            static AREAS: [Area; 2] = const { [const { Area(UnsafeCell::new([0; 64])) }; 2] };
        }
        let areas = AREAS.with(|areas| areas.each_ref().map(|area| area.0.get()));
        let [enabled, disabled] = areas;
        // SAFETY: this thread's own memory; ENABLED stands at offset 16.
        unsafe { (*enabled)[16] = 0x20 };
        let thread = thread_pointer();
        let distance = |address: usize| address.wrapping_sub(thread) as isize;
        ENABLED.store(distance(enabled as usize), Relaxed);
        DISABLED.store(distance(disabled as usize), Relaxed);
        let offset = requested().unwrap_or(DISABLED.load(Relaxed));
        OFFSET.store(offset, Relaxed);

        let area = thread.wrapping_add_signed(offset) as *const u8;
        let states = [&raw const STATE_ON, &raw const STATE_OFF].map(<*const _>::cast);
        let offsets = [&raw const OFFSET, &raw const ENABLED, &raw const DISABLED].map(<*const _>::cast);
        let cells = [&raw const OFFSET_CELL, &raw const ENABLED_CELL, &raw const DISABLED_CELL].map(<*const _>::cast);
        let calls = [&raw const ENTER, &raw const LEAVE, &raw const POINTER].map(<*const _>::cast);
        let areas = [enabled.cast_const().cast(), disabled.cast_const().cast(), area, area.wrapping_add(29)];
        let features = [(&raw const FEATURES).cast()];
        let data = [&states[..], &offsets, &cells, &calls, &areas, &features].concat();
        Self { lock: UnsafeCell::new(0), offset, data }
    }

    /// A batch of a loop, about ten microseconds long.
    pub fn batch(&self, code: Loop) -> Batch<'_> {
        let time = move |count| per_operation(count, || self.run(code, count));
        let count = calibrate(time);
        Box::new(move || Ok(time(count)))
    }

    /// Runs code of this file's form once, on a path that the CPU does not predict. A call through a pointer would be
    /// predicted to lead to a copy called before, and what that copy reads be fetched ahead of its time.
    pub fn run_unpredicted(&self, code: Loop) {
        /// Returns to `code`. The CPU expects the return to lead behind its call, where there is nothing to do.
        #[unsafe(naked)]
        unsafe extern "C" fn through(_count: u64, _lock: *mut u32, _offset: isize, _code: Loop) {
            std::arch::naked_asm!("call 3f", "2: pause", "lfence", "jmp 2b", "3: mov qword ptr [rsp], rcx", "ret",)
        }
        // SAFETY: as above.
        unsafe { through(0, self.lock.get(), self.offset, code) }
    }

    /// Removes from every cache what the variants' own instructions read or write.
    pub fn flush(&self) {
        for &line in &self.data {
            // SAFETY: memory of this program or thread, which keeps its values.
            unsafe { _mm_clflush(line) };
        }
    }

    /// Runs code of this file's form.
    pub fn run(&self, code: Loop, count: u64) {
        // SAFETY: it is given what it uses: a lock, and the offset of an area that is safe to write.
        unsafe { code(count, self.lock.get(), self.offset) }
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

/// The calling thread's pointer.
fn thread_pointer() -> usize {
    let thread: usize;
    // SAFETY: the first word at the thread pointer is the thread pointer itself (x86-64 TLS ABI).
    unsafe {
        std::arch::asm!("mov {}, qword ptr fs:[0]", out(reg) thread, options(nostack, pure, readonly, preserves_flags));
    }
    thread
}

/// The offset of the area in which bound sites make their requests, read from the code of one.
fn requested() -> Option<isize> {
    let mut offset = None;
    each_site("invar-measure.on", |site| {
        // SAFETY: a site of this program's text is as long as it says.
        let code = unsafe { std::slice::from_raw_parts(site.address as *const u8, site.length as usize) };
        if let [0x64, 0xc6, 0x04, 0x25, a, b, c, d, 1] = *code {
            offset = Some(i32::from_le_bytes([a, b, c, d]) as isize - 28);
        }
    });
    offset
}

/// Calls `visit` with each bound site of a key; returns false if another of its sites is not bound.
pub fn each_site(key: &str, mut visit: impl FnMut(invar::Site)) -> bool {
    let mut all = true;
    invar::report().modules(|module| {
        for binding in module.bindings().filter(|binding| binding.key().is_some_and(|of| of.name() == key)) {
            match binding.site() {
                Some(site) if binding.status() == invar::SiteStatus::Bound => visit(site),
                _ => all = false,
            }
        }
    });
    all
}
