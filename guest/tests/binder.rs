//! A program without a C library, whose own lock has slice sites, bound by the binder in C before it has a thread pointer: its
//! holders are granted time (`capi/binder/demo`).

use crate::kernels::{Kernel, facts, job};
use crate::test;
use invar_guest::Result;
use invar_guest::console::{Counts, Job};
use invar_guest::image::Image;
use libtest_mimic::Trial;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const NAME: &str = "a lock without a libc";

pub fn tests() -> Vec<Trial> {
    let test = |kernel: Kernel| {
        test(format!("{NAME}, kernel {}", kernel.name()), kernel.missing(), move || bound_and_granted(kernel))
    };
    Kernel::ALL.map(test).into()
}

/// The job, and the program for it.
pub fn jobs(image: &mut Image) -> Result<Vec<Job>> {
    static BUILT: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    image.file("/bin/demo".into(), BUILT.get_or_init(build).as_ref().map_err(String::as_str)?);
    Ok(vec![job(NAME, &[], &["/bin/demo"])])
}

fn build() -> std::result::Result<PathBuf, String> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../capi/binder/demo/build");
    let built = Command::new(script).arg(&program).output().expect("a shell");
    let said = String::from_utf8_lossy(&built.stderr);
    built.status.success().then_some(program).ok_or_else(|| format!("the demonstration was not built:\n{said}"))
}

fn bound_and_granted(kernel: Kernel) {
    let facts = facts(kernel.run(), NAME);
    let said = format!("{facts:#?}");
    assert_eq!((facts["binder"], facts["thread pointer meanwhile"], facts["left"]), ("0", "0", "0"), "{said}");
    assert!(facts["bound"].parse::<u32>().unwrap() >= 4, "{said}");
    assert_eq!(facts["sum"], facts["expected"], "{said}");
    let counts = kernel.run().outcomes[NAME].counts;
    println!("{} {counts:?}", facts["slice"]);
    if !kernel.grants() {
        assert!(facts["slice"].starts_with("off: "), "{said}");
        assert!(counts.is_none_or(|counts| counts == Counts::default()), "{said} {counts:?}");
        return;
    }
    let counts = counts.expect("counts");
    assert!(facts["slice"].starts_with("on: "), "{said}");
    assert!(counts.granted > 50, "{said} {counts}");
    // Each was given up by the sites, or the kernel took it back before they came to that.
    assert_eq!(counts.granted, counts.yielded + counts.revoked, "{said} {counts}");
    assert!(counts.yielded * 10 > counts.granted * 9, "{said} {counts}");
}
