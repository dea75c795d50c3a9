//! Threads of every sort are enrolled by the lock that they contend for, whoever started them, and again after somebody
//! switched the extension off; then they are granted time.

use crate::kernels::{Kernel, facts};
use crate::libcs::Libc;
use crate::programs::{HOOKED, LIBRARY};
use crate::test;
use invar_guest::Result;
use invar_guest::console::Job;
use invar_guest::glibc::GLIBCS;
use invar_guest::image::Image;
use invar_guest::machine::Run;
use libtest_mimic::Trial;

/// Who registers the threads' areas: this program, and libc.
fn libcs() -> [Libc; 2] {
    let [oldest, middle, _] = &GLIBCS;
    [Libc::Unregistered(oldest), Libc::Plain(middle)]
}

#[derive(Clone, Copy)]
struct Cell {
    kernel: Kernel,
    libc: Libc,
    /// With the hook on thread creation.
    hooked: bool,
}

fn cells() -> impl Iterator<Item = Cell> {
    let kernels = || Kernel::ALL.into_iter().filter(|kernel| kernel.grants());
    let cell = |hooked| move |(kernel, libc)| Cell { kernel, libc, hooked };
    let all = libcs().into_iter().flat_map(move |libc| kernels().map(move |kernel| (kernel, libc)));
    // The hook does the same on each kernel: once with each library, since a run takes its time.
    let once = [Kernel::Strict, Kernel::On].into_iter().zip(libcs());
    all.map(cell(false)).chain(once.map(cell(true)))
}

impl Cell {
    fn name(self) -> String {
        let threads = if self.hooked { "threads are enrolled by the hook" } else { "threads enrol" };
        format!("{threads}, kernel {}, {}", self.kernel.name(), self.libc.name())
    }
}

pub fn tests() -> Vec<Trial> {
    let trial = |cell: Cell| {
        let missing = cell.kernel.missing().or_else(|| cell.libc.missing());
        test(cell.name(), missing, move || threads_enrol(cell))
    };
    cells().map(trial).collect()
}

pub fn jobs(kernel: Kernel, image: &mut Image) -> Result<Vec<Job>> {
    let cells = cells().filter(|cell| cell.kernel == kernel && cell.libc.missing().is_none());
    let program = |cell: &Cell| if cell.hooked { HOOKED.trim_start_matches("/bin/") } else { "enrol" };
    cells.map(|cell| cell.libc.job(cell.name(), &[program(&cell), LIBRARY], image)).collect()
}

fn threads_enrol(cell @ Cell { kernel, libc, hooked }: Cell) {
    let is_by_invar = matches!(libc, Libc::Unregistered(_));
    check_run(kernel.run(), &cell.name(), is_by_invar, hooked);
}

/// What the program `enrol` said in this job. Who registers the threads' areas is the runtime or libc.
pub fn check_run(run: &'static Run, name: &str, is_by_invar: bool, hooked: bool) {
    let facts = facts(run, name);
    const ENROLLED: &str = "enabled before 0, after 2, granted 2";
    // Before any code of theirs, if libc was asked for them by the name that others use too.
    let named = if hooked { "enabled before 2, after 2, granted 2" } else { ENROLLED };
    // Where libc registers areas it has none for a thread that it did not start: correct, and without the benefit. And each
    // of its own has one from the beginning.
    let (unknown_to_libc, idle) = if is_by_invar {
        (ENROLLED, "None")
    } else {
        ("enabled before 0, after 0, granted 0", "enabled false, request left false")
    };
    let idle = if hooked { "enabled true, request left false" } else { idle };
    let expected = [
        ("hook in front", if hooked { "true" } else { "no hook" }),
        ("in a probe's thread", "Ok(())"),
        ("by hand", "Ok(())"),
        ("child after fork", "enabled"),
        ("child after fork, granted", "true"),
        ("threads of the child", named),
        ("child ended with", "0"),
        ("audit of this thread", "enabled true, request left false"),
        ("audit of one that forgot", "enabled true, request left true"),
        ("audit of one that is idle", idle),
        ("std::thread", named),
        ("std::thread, spin lock", named),
        ("pthread_create", named),
        ("thrd_create", named),
        ("SIGEV_THREAD", ENROLLED),
        ("clone", unknown_to_libc),
        ("pool of a library", named),
        ("the library's verdict", "1, all sites bound"),
        ("before the hostile thread", named),
        ("main thread, switched off", "true"),
        ("after the hostile thread", ENROLLED),
        ("main thread, enrolled again", "true"),
    ];
    let all: Vec<_> = expected.iter().map(|(name, _)| (*name, *facts.get(name).unwrap_or(&"nothing"))).collect();
    assert_eq!(all, expected);
    let counted = run.outcomes[name].counts.expect("counts");
    assert!(counted.granted >= 20 && counted.yielded > 0, "{counted}");
}
