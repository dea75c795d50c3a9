//! A kernel with the extension, built from source.

use crate::cache::Cache;
use crate::configuration::{CONFIGURATION, configuration};
use crate::debian::{self, Suite};
use crate::{Result, ask, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What must be there to build one: the program, and the package that has it.
const TOOLS: [(&str, &str); 7] = [
    ("make", "make"),
    ("cc", "gcc"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("lz4", "lz4"),
    ("xz", "xz-utils"),
];
/// And a header.
const HEADER: (&str, &str) = ("/usr/include/libelf.h", "libelf-dev");

/// Builds a kernel from the distribution's source package, or from a source tree, unless it is in the cache.
pub fn build(source: Option<&Path>, cache: &Cache) -> Result<PathBuf> {
    fs::create_dir_all(cache.path(""))?;
    let (version, suite) = match source {
        Some(tree) => (ask(make(tree).args(["-s", "kernelversion"]))?.trim().to_owned(), None),
        None => {
            let suite = Suite::open(debian::KERNELS, cache)?;
            (suite.version(debian::SOURCE)?, Some(suite))
        }
    };
    let folder = cache.path(&format!("kernel-{version}-{}", configuration()));
    let kernel = folder.join("bzImage");
    if kernel.exists() {
        return Ok(kernel);
    }
    check_tools()?;
    println!("building Linux {version}: some twenty minutes of CPU time, two gigabytes of disk");

    let work = tempfile::tempdir_in(cache.path(""))?;
    let unpacked = match &suite {
        Some(suite) => Some(unpack(suite, work.path())?),
        None => None,
    };
    let tree = source.or(unpacked.as_deref()).expect("one of the two");
    let built = compile(tree, work.path())?;
    let new = work.path().join("new");
    fs::create_dir(&new)?;
    fs::copy(built, new.join("bzImage"))?;
    cache.settle(&new, &folder)?;
    Ok(kernel)
}

fn check_tools() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |tool: &str| std::env::split_paths(&path).any(|folder| folder.join(tool).exists());
    let tools = TOOLS.iter().filter(|(tool, _)| !there(tool));
    let missing: Vec<_> = tools.chain([&HEADER].into_iter().filter(|(file, _)| !Path::new(file).exists())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    Err(format!("to build a kernel: apt-get install --no-install-recommends {}", packages.join(" ")).into())
}

/// The source tree of Debian's package: an archive in a package.
fn unpack(suite: &Suite, work: &Path) -> Result<PathBuf> {
    suite.unpack_into(debian::SOURCE, work)?;
    let archive = work.join("usr/src").join(format!("{}.tar.xz", debian::SOURCE));
    succeed(Command::new("tar").arg("-C").arg(work).arg("-xf").arg(&archive))?;
    Ok(work.join(debian::SOURCE))
}

fn compile(tree: &Path, work: &Path) -> Result<PathBuf> {
    let (fragment, output) = (work.join("config.fragment"), work.join("build"));
    fs::write(&fragment, CONFIGURATION)?;
    fs::create_dir(&output)?;
    let make = || {
        let mut command = make(tree);
        // The same kernel for everybody.
        command.args(["-s", "KBUILD_BUILD_TIMESTAMP=2026-01-01", "KBUILD_BUILD_USER=invar", "KBUILD_BUILD_HOST=guest"]);
        command.arg(format!("O={}", output.display())).env("KCONFIG_ALLCONFIG", &fragment);
        command
    };
    succeed(make().arg("allnoconfig"))?;
    if !fs::read_to_string(output.join(".config"))?.contains("\nCONFIG_RSEQ_SLICE_EXTENSION=y\n") {
        return Err("this source knows no slice extension: it is older than Linux 7.0".into());
    }
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    succeed(make().arg(format!("-j{jobs}")).arg("bzImage"))?;
    Ok(output.join("arch/x86/boot/bzImage"))
}

fn make(tree: &Path) -> Command {
    let mut command = Command::new("make");
    // Not what a make around us wants of its own.
    command.arg("-C").arg(tree).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    command
}
