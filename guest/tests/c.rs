//! Programs in C with libinvar, linked either way: their threads are enrolled by contending, and granted time.

use crate::kernels::{Kernel, facts};
use crate::libcs::{Libc, UNREGISTERED};
use crate::programs::{C_PROGRAM, no_make};
use crate::test;
use invar_guest::Result;
use invar_guest::console::Job;
use invar_guest::glibc::GLIBCS;
use invar_guest::image::Image;
use libtest_mimic::Trial;
use std::collections::BTreeMap;

/// Who registers the threads' areas: libinvar, libc, the program.
fn libcs() -> [Libc; 3] {
    let [oldest, middle, _] = &GLIBCS;
    [Libc::Unregistered(oldest), Libc::Plain(middle), Libc::Static]
}

/// Bound, and counted.
const SETTINGS: [(&str, Option<(&str, &str)>); 2] = [("", None), (", counted", Some(("INVAR_SLICE", "count")))];

fn cells() -> impl Iterator<Item = (Kernel, Libc, usize)> {
    let kernels = || Kernel::ALL.into_iter().filter(|kernel| kernel.grants());
    let cells = move |libc| kernels().flat_map(move |kernel| (0..SETTINGS.len()).map(move |at| (kernel, libc, at)));
    libcs().into_iter().flat_map(cells)
}

fn name(kernel: Kernel, libc: Libc, setting: usize) -> String {
    format!("a program in C, kernel {}, {}{}", kernel.name(), libc.name(), SETTINGS[setting].0)
}

pub fn tests() -> Vec<Trial> {
    let cell = |(kernel, libc, setting): (Kernel, Libc, usize)| {
        let missing = kernel.missing().or_else(|| libc.missing()).or_else(no_make);
        test(name(kernel, libc, setting), missing, move || threads_are_granted_time(kernel, libc, setting))
    };
    cells().map(cell).collect()
}

pub fn jobs(kernel: Kernel, image: &mut Image) -> Result<Vec<Job>> {
    let cells = cells().filter(|(of, libc, _)| *of == kernel && libc.missing().is_none() && no_make().is_none());
    let job = |(kernel, libc, setting): (Kernel, Libc, usize)| {
        let mut job = libc.job(name(kernel, libc, setting), &[C_PROGRAM], image)?;
        // This machine's glibc is an old one, perhaps.
        let unregistered = matches!(libc, Libc::Static).then_some(UNREGISTERED);
        let more = unregistered.into_iter().chain(SETTINGS[setting].1);
        job.environment.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Ok(job)
    };
    cells.map(job).collect()
}

fn threads_are_granted_time(kernel: Kernel, libc: Libc, setting: usize) {
    let name = name(kernel, libc, setting);
    let facts: BTreeMap<_, _> = facts(kernel.run(), &name);
    let kernels = kernel.run().outcomes[&name].counts.expect("counts");
    let said = format!("{facts:#?}\n{kernels}");
    println!("{said}");
    assert_eq!((facts["key"], facts["slice"], facts["sum"], facts["enrolled"]), ("0", "1", "80000", "4"), "{said}");
    assert_eq!((facts["enrolled before"], facts["listed"]), ("4", "0 5 1"), "{said}");
    assert!(kernels.granted > 10 && kernels.yielded * 10 >= kernels.granted * 9, "{said}");
    if setting == 0 {
        assert!(facts["counted"].starts_with("nothing is counted"), "{said}");
        return;
    }
    let counts: Vec<u64> = facts["counts"].split(' ').map(|number| number.parse().expect("a number")).collect();
    let [requests, grants, yields, lost] = counts[..] else { panic!("{said}") };
    assert!(requests >= 80_000 && yields == kernels.yielded, "{said}");
    // Where libc has registered its area, a request of a thread that is not enrolled yet is lost as well.
    assert!(grants <= kernels.granted && grants + lost + 6 >= kernels.granted, "{said}");
}
