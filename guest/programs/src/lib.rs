//! What the guest's programs share: the calling thread's area, and filters that stand in their way.
#![allow(unsafe_code)]

pub mod contest;

use invar::timeslice::{CriticalSection, enter};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_void};

const PR_RSEQ_SLICE_EXTENSION: libc::c_int = 79;
const PR_SET: libc::c_ulong = 2;
const PR_ENABLE: libc::c_ulong = 1;
const SYS_RSEQ_SLICE_YIELD: libc::c_long = 471;

/// Length of an area that has the fields for slices, and may have more later.
const AREA_LENGTH: usize = 64;
/// `struct rseq`, flags.
const AREA_FLAGS: usize = 16;
const FLAG_ENABLED: u32 = 1 << 5;

/// How often a section looks for a grant: some dozens of time slices.
const PATIENCE: u32 = 4_000_000;
/// How often a section is entered whose request became void before a grant.
const TRIES: u32 = 16;

/// The calling thread's `struct rseq`, as far as sites of this program know it.
pub struct Area(*mut u8);

impl Area {
    /// The area to which this program's slice sites write, of the calling thread.
    pub fn of_this_thread() -> Self {
        Self(invar_arch::area(invar::timeslice::__area().expect("an area")))
    }

    /// Whether a section was entered and is not over, and nothing came of the request yet.
    pub fn requested(&self) -> bool {
        // SAFETY: inside the area, which lives as long as the thread; the kernel writes it as well.
        unsafe { self.0.add(invar_arch::AREA_REQUEST).read_volatile() != 0 }
    }

    /// Sets the request, which in a section is a breach of the protocol.
    pub fn set_request(&self) {
        // SAFETY: as above; the byte is this thread's own.
        unsafe { self.0.add(invar_arch::AREA_REQUEST).write_volatile(1) }
    }

    /// Whether the thread's time was extended and it has not given up the CPU since.
    pub fn granted(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.0.add(invar_arch::AREA_REQUEST + 1).read_volatile() != 0 }
    }

    /// What both bytes say.
    pub fn state(&self) -> &'static str {
        match (self.requested(), self.granted()) {
            (false, false) => "idle",
            (true, false) => "requested",
            (false, true) => "granted",
            (true, true) => "requested and granted",
        }
    }

    /// What the kernel says of the thread: bit 4, it may have slices; bit 5, it has.
    pub fn flags(&self) -> u32 {
        // SAFETY: as above.
        unsafe { self.0.add(AREA_FLAGS).cast::<u32>().read_volatile() }
    }

    /// Whether the kernel looks at the thread's requests.
    pub fn enabled(&self) -> bool {
        self.flags() & FLAG_ENABLED != 0
    }

    /// Enters a section whose time is extended. None if nobody extends it, or one request after the other became void.
    ///
    /// The kernel may preempt the thread before, where it works for it: at a page fault, for instance. That makes the request
    /// void, and no grant can come of it. Then the section is entered again.
    pub fn enter_granted(&self) -> Option<CriticalSection> {
        self.enter_granted_by(enter)
    }

    /// The same of whatever is entered so.
    pub fn enter_granted_by<T>(&self, enter: impl Fn() -> T) -> Option<T> {
        for _ in 0..TRIES {
            let entered = enter();
            if self.wait_for_grant() {
                return Some(entered);
            }
            if self.requested() {
                break;
            }
        }
        None
    }

    /// Stays in the section until its time is extended, or its request is void.
    fn wait_for_grant(&self) -> bool {
        for _ in 0..PATIENCE {
            if self.granted() {
                return true;
            }
            if !self.requested() {
                // Gone with a grant this very moment, or void because the thread was preempted.
                return self.granted();
            }
        }
        false
    }

    /// Makes the calling thread one that can be granted slices.
    pub fn enrol(&self) -> std::io::Result<()> {
        // SAFETY: the area is this thread's own, and lives as long as it; the program is never unloaded.
        unsafe {
            let no_area_yet = invar_arch::libc_area().is_none_or(|(_, size)| size == 0);
            if no_area_yet {
                zero(libc::syscall(libc::SYS_rseq, self.0, AREA_LENGTH, 0, invar_arch::RSEQ_SIGNATURE))?;
            }
            zero(libc::prctl(PR_RSEQ_SLICE_EXTENSION, PR_SET, PR_ENABLE, 0, 0).into())
        }
    }
}

/// Switches the extension off for the calling thread, as anybody may who is not kept from it; in a signal handler as well.
/// Returns what the kernel does.
pub fn switch_off() -> isize {
    // SAFETY: changes nothing but whether the kernel looks at this thread's request byte.
    unsafe {
        invar_arch::syscall(libc::SYS_prctl as usize, [PR_RSEQ_SLICE_EXTENSION as usize, PR_SET as usize, 0, 0, 0, 0])
    }
}

/// Lets SIGSEGV end the program, as it would one in C: std's handler, which looks for stack overflows, would swallow the
/// first that the kernel sends for a breach of the protocol.
pub fn end_by_signals() {
    // SAFETY: a handler that is the kernel's own.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
}

/// Writes a fact: its name, a tab, its value.
pub fn say(name: &str, value: impl std::fmt::Display) {
    println!("{name}\t{value}");
}

/// Who registered the area that the kernel knows of the calling thread, by its answer to somebody else who tries.
pub fn owner() -> &'static str {
    const RSEQ_FLAG_UNREGISTER: libc::c_int = 1;
    let own = invar_arch::area(invar_arch::own_area_offset());
    // SAFETY: this thread's own area, which lives as long as it.
    let rseq = |flags: libc::c_int| unsafe {
        zero(libc::syscall(libc::SYS_rseq, own, AREA_LENGTH, flags, invar_arch::RSEQ_SIGNATURE))
    };
    match rseq(0).map_err(|error| error.raw_os_error()) {
        Ok(()) => {
            rseq(RSEQ_FLAG_UNREGISTER).expect("what was registered a moment ago");
            "nobody"
        }
        Err(Some(libc::EBUSY)) => "invar",
        // Another address. glibc says 0 where it has registered none.
        Err(_) if invar_arch::libc_area().is_some_and(|(_, size)| size > 0) => "libc",
        Err(_) => "somebody else",
    }
}

fn zero(result: libc::c_long) -> std::io::Result<()> {
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// The version of the C library that this process runs with; musl has none to ask for.
pub fn libc_version() -> String {
    #[cfg(target_env = "musl")]
    return "musl".into();
    #[cfg(not(target_env = "musl"))]
    // SAFETY: a constant string.
    unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy().into_owned()
}

/// Whether the C library is in this program's own file.
pub fn is_static() -> bool {
    !std::fs::read_to_string("/proc/self/maps").expect("the maps").contains("/libc.so")
}

/// How many seccomp filters stand in the program's first thread.
pub fn filters() -> u32 {
    status("Seccomp_filters:")
}

/// Whether that thread can gain no privileges any more: 1.
pub fn no_new_privs() -> u32 {
    status("NoNewPrivs:")
}

fn status(field: &str) -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the status");
    let number = status.lines().find_map(|line| line.strip_prefix(field));
    number.expect("Linux 5.9 or newer").trim().parse().expect("a number")
}

/// The time slice key's evidence.
pub fn evidence() -> String {
    invar::timeslice::SLICE.verdict().expect("decided at load").evidence().to_owned()
}

/// A function of a library, which stays open.
pub fn open(library: &str, function: &CStr) -> *mut c_void {
    let library = CString::new(library).expect("a path");
    // SAFETY: runs the library's constructors, which is what is wanted.
    unsafe {
        let library = libc::dlopen(library.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null(), "the library cannot be opened");
        let function = libc::dlsym(library, function.as_ptr());
        assert!(!function.is_null(), "the library has no such function");
        function
    }
}

fn refuse_exec_gain() {
    const PR_SET_MDWE: libc::c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    // SAFETY: numbers only.
    let set = unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// A file system that lies on another machine.
fn mount_share(folder: &str) {
    std::fs::create_dir_all(folder).expect("a folder");
    mount(c"host", folder, c"9p", c"trans=virtio,version=9p2000.L");
}

fn enforce(policy: &str) {
    const FOLDER: &str = "/sys/fs/selinux";
    if !std::fs::exists(format!("{FOLDER}/load")).expect("a folder") {
        mount(c"selinuxfs", FOLDER, c"selinuxfs", c"");
    }
    let policy = std::fs::read(policy).expect("a policy");
    std::fs::write(format!("{FOLDER}/load"), policy).expect("the kernel takes the policy");
    std::fs::write(format!("{FOLDER}/enforce"), "1").expect("the kernel enforces it");
}

fn limit_memory(bytes: &str) {
    const ROOT: &str = "/cgroup";
    let group = format!("{ROOT}/{bytes}");
    let write =
        |file: String, text: &str| std::fs::write(&file, text).unwrap_or_else(|error| panic!("{file}: {error}"));
    if !std::fs::exists(ROOT).expect("a folder") {
        std::fs::create_dir(ROOT).expect("a folder");
        mount(c"cgroup2", ROOT, c"cgroup2", c"");
        write(format!("{ROOT}/cgroup.subtree_control"), "+memory");
    }
    std::fs::create_dir(&group).expect("a cgroup");
    write(format!("{group}/memory.max"), bytes);
    write(format!("{group}/cgroup.procs"), "0");
}

fn mount(what: &CStr, place: &str, kind: &CStr, options: &CStr) {
    let place = CString::new(place).expect("a path");
    // SAFETY: strings that the kernel copies.
    let mounted = unsafe { libc::mount(what.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
    assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
}

/// Installs a seccomp filter for the calling process, for good, as `RULE` says: what is stopped, and how.
///
/// `prctl=` stops `prctl` with option 79, `yield=` system call 471, `sched_yield=` and `seccomp=` these calls; `...=kill` kills, and
/// `...=NUMBER` refuses with this error. `mdwe=set` is `PR_SET_MDWE`, without a filter; `share=FOLDER` mounts there what the host
/// shares. `selinux=FILE` has SELinux enforce that policy from now on. `memory=BYTES` is the limit of a memory cgroup of version 2, of the
/// process's own.
pub fn confine(rule: &str) {
    let (what, how) = rule.split_once('=').expect("WHAT=HOW");
    match what {
        "mdwe" => return refuse_exec_gain(),
        "share" => return mount_share(how),
        "selinux" => return enforce(how),
        "memory" => return limit_memory(how),
        _ => {}
    }
    let action = match how {
        "kill" => SeccompAction::KillProcess,
        errno => SeccompAction::Errno(errno.parse().expect("an error number")),
    };
    let only_slices = || {
        let value = PR_RSEQ_SLICE_EXTENSION as u64;
        let option = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).expect("a condition");
        SeccompRule::new(vec![option]).expect("a rule")
    };
    let (number, rules) = match what {
        "prctl" => (libc::SYS_prctl, vec![only_slices()]),
        "yield" => (SYS_RSEQ_SLICE_YIELD, vec![]),
        "sched_yield" => (libc::SYS_sched_yield, vec![]),
        "seccomp" => (libc::SYS_seccomp, vec![]),
        _ => panic!("no rule for {what}"),
    };
    let machine = TargetArch::try_from(std::env::consts::ARCH).expect("a machine with filters");
    let filter = SeccompFilter::new(BTreeMap::from([(number, rules)]), SeccompAction::Allow, action, machine);
    let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
    seccompiler::apply_filter(&program).expect("the kernel takes the filter");
}
