//! What is released: the archive with its crates, the bill of materials, Debian's packages and RPMs, each built from the archive
//! without a network, and what is in them. All of it is of the last commit, as releases are.

mod common;

use common::c::{CAPI, missing, must, without_cargos};
use common::{ANYWHERE, output, run, scratch, sites, test};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

fn main() -> ExitCode {
    run([
        test("all tell one version", ANYWHERE, one_version),
        test("Debian's list of symbols is the library's", ANYWHERE, symbols_of_debian),
        test("the archive has what is committed, and every crate", no_dist(), archive_is_whole),
        test("the bill of materials names what is in the products", no_dist(), bill_of_materials),
        test("Debian's packages hold what they should", no_debian(), debian_packages),
        test("lintian has nothing to say", no_debian().or_else(|| missing("lintian")), lintian_is_silent),
        test(
            "Debian's tests pass with what the packages hold",
            no_debian().or_else(|| missing("pkg-config")),
            autopkgtests,
        ),
        test("RPMs hold what they should", no_build().or_else(|| missing("rpmbuild")), rpms),
    ])
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Why no archive can be made here.
fn no_dist() -> Option<String> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let why = || {
        let tools = ["git", "make", "cc", "python3", "tar", "xz"];
        sites().or_else(|| tools.into_iter().find_map(missing)).or_else(no_checkout).or_else(no_crates)
    };
    WHY.get_or_init(why).clone()
}

fn no_checkout() -> Option<String> {
    (!Path::new(ROOT).join(".git").exists()).then(|| "not a checkout".into())
}

/// Of other systems too, which no build downloads.
fn no_crates() -> Option<String> {
    let is_there = |manifest: &str| {
        let mut cargo = without_cargos(env!("CARGO"));
        cargo.args(["metadata", "--format-version=1", "--locked", "--offline", "--manifest-path"]);
        output(cargo.arg(Path::new(ROOT).join(manifest))).status.success()
    };
    let missing = ["Cargo.toml", "capi/Cargo.toml"].into_iter().find(|manifest| !is_there(manifest))?;
    Some(format!("not all crates are downloaded: cargo fetch --locked --manifest-path {missing}"))
}

/// Why no packages are built: each kind builds everything for release, from nothing.
fn no_build() -> Option<String> {
    let is_wanted = std::env::var_os("INVAR_TEST_PACKAGES").is_some();
    let why = "builds all for release, for minutes: INVAR_TEST_PACKAGES=1 has it done";
    no_dist().or_else(|| (!is_wanted).then(|| why.into()))
}

fn no_debian() -> Option<String> {
    // It answers no `--version`.
    let no_debhelper = || (!Path::new("/usr/bin/dh").exists()).then(|| "no debhelper".into());
    no_build().or_else(|| missing("dpkg-buildpackage")).or_else(no_debhelper)
}

/// A folder of this name, empty.
fn empty(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The folder with what `packaging/dist` made.
fn dist() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = empty("dist");
        let mut dist = without_cargos(&format!("{ROOT}/packaging/dist"));
        // No test looks at the size.
        must(dist.arg(&folder).env("CARGO_NET_OFFLINE", "true").env("XZ_OPT", "-0"));
        folder
    })
}

fn archive() -> PathBuf {
    dist().join(format!("invar-{VERSION}.tar.xz"))
}

/// What is in a tree, by path.
fn lines(command: &mut Command) -> BTreeSet<String> {
    String::from_utf8(must(command).stdout).unwrap().lines().map(String::from).collect()
}

fn one_version() {
    let changelog = read("debian/changelog");
    assert!(changelog.starts_with(&format!("invar ({VERSION}-")), "debian/changelog does not begin with {VERSION}");
    assert!(read("packaging/invar.spec").contains(&format!("\nVersion: {VERSION}\n")), "invar.spec");
    assert!(read("capi/Cargo.toml").contains(&format!("\nversion = \"{VERSION}\"\n")), "capi/Cargo.toml");
    for locked in ["Cargo.lock", "capi/Cargo.lock", "tests/programs/Cargo.lock"] {
        let text = read(locked);
        let ours: Vec<&str> = text.split("\n\n").filter(|package| package.contains("name = \"invar-")).collect();
        assert!(ours.len() >= 3, "{locked}");
        assert!(ours.iter().all(|package| package.contains(&format!("\nversion = \"{VERSION}\""))), "{locked}");
    }
}

fn symbols_of_debian() {
    let listed = |path: &str| {
        let text = read(path);
        let lines = text.lines().filter(|line| line.starts_with(' '));
        lines.map(|line| line.trim().split('@').next().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let exported = |path: &str| {
        let text = std::fs::read_to_string(format!("{CAPI}/{path}")).unwrap();
        let global = text.split("global:\n").nth(1).and_then(|rest| rest.split("local:").next()).expect("global names");
        global.lines().filter_map(|line| line.trim().strip_suffix(';').map(String::from)).collect::<BTreeSet<_>>()
    };
    let mut library = listed("debian/libinvar0.symbols");
    assert!(library.remove("INVAR_0"), "the version is a symbol too");
    assert_eq!(library, exported("invar.map"));
    assert_eq!(listed("debian/libinvar-hook0.symbols"), exported("hook.map"));
}

/// The archive unpacked, once.
fn unpacked() -> &'static Path {
    static UNPACKED: OnceLock<PathBuf> = OnceLock::new();
    UNPACKED.get_or_init(|| {
        let folder = empty("unpacked-release");
        must(Command::new("tar").arg("-xf").arg(archive()).arg("-C").arg(&folder));
        folder.join(format!("invar-{VERSION}"))
    })
}

fn archive_is_whole() {
    let found =
        lines(Command::new("find").args([".", "(", "-type", "f", "-o", "-type", "l", ")"]).current_dir(unpacked()));
    let committed = lines(Command::new("git").args(["ls-tree", "-r", "--name-only", "HEAD"]).current_dir(ROOT));
    for path in &committed {
        assert!(found.contains(&format!("./{path}")), "no {path}");
    }
    let is_crates = |path: &&String| path.starts_with("./vendor/") || *path == "./.cargo/config.toml";
    let others = found.iter().filter(|path| !is_crates(path) && !committed.contains(&path[2..]));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new(), "not committed");
    for lock in ["Cargo.lock", "capi/Cargo.lock"] {
        let text = read(lock);
        for package in text.split("[[package]]").filter(|package| package.contains("\nchecksum = ")) {
            let field = |name: &str| package.split(&format!("\n{name} = \"")).nth(1)?.split('"').next();
            let (name, version) = (field("name").unwrap(), field("version").unwrap());
            let manifest = format!("./vendor/{name}-{version}/Cargo.toml");
            assert!(found.contains(&manifest), "{lock}: no {manifest}");
        }
    }
}

fn bill_of_materials() {
    let bill = std::fs::read_to_string(dist().join(format!("invar-{VERSION}.cdx.json"))).unwrap();
    assert!(bill.contains("\"bomFormat\": \"CycloneDX\"") && bill.contains("\"specVersion\": \"1.5\""));
    let scope = |name: &str| {
        let component =
            bill.split("\"type\": \"library\"").find(|part| part.contains(&format!("\"name\": \"{name}\"")))?;
        component.split("\"scope\": \"").nth(1)?.split('"').next()
    };
    for name in ["invar-rt", "invar-abi", "invar-capi", "invar-tool", "libc", "clap", "addr2line", "iced-x86"] {
        assert_eq!(scope(name), Some("required"), "{name}");
    }
    assert_eq!(scope("syn"), Some("excluded"), "is compiled to compile others");
    for name in ["loom", "proptest", "libtest-mimic", "invar-bench", "windows-sys"] {
        assert_eq!(scope(name), None, "{name} is in no product");
    }
    let lock = read("capi/Cargo.lock");
    let checksum = lock.split("name = \"libc\"").nth(1).and_then(|rest| rest.split("checksum = \"").nth(1)).unwrap();
    assert!(bill.contains(checksum.split('"').next().unwrap()), "libc's checksum");
}

/// The packages, and what was built them, in one folder.
fn debian() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = empty("debian-packages");
        std::fs::copy(archive(), folder.join(format!("invar_{VERSION}.orig.tar.xz"))).unwrap();
        let source = folder.join(format!("invar-{VERSION}"));
        must(Command::new("tar").arg("-xf").arg(archive()).arg("-C").arg(&folder));
        // Whatever cargo is in front: this test's.
        let mut build = without_cargos("dpkg-buildpackage");
        build.args(["-us", "-uc", "-Ppkg.invar.rustup"]).current_dir(&source);
        must(build.env_remove("CARGO_HOME").env("RUSTUP_TOOLCHAIN", toolchain()).env_remove("RUSTC"));
        // What it was built in is larger than what is looked at.
        std::fs::remove_dir_all(&source).unwrap();
        folder
    })
}

/// As rustup calls the toolchain of this test; where there is no rustup the variable means nothing.
fn toolchain() -> String {
    std::env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".into())
}

/// A package's file.
fn package(folder: &Path, name: &str, end: &str) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_str().unwrap();
        file.starts_with(name) && file.ends_with(end)
    };
    let mut found: Vec<_> = files.filter(is_it).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found.remove(0)
}

/// All packages unpacked into one tree.
fn debian_root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = empty("debian-root");
        for name in ["libinvar0_", "libinvar-hook0_", "libinvar-dev_", "invar_"] {
            must(Command::new("dpkg-deb").arg("-x").arg(package(debian(), name, ".deb")).arg(&root));
        }
        root
    })
}

fn debian_packages() {
    let has = |name: &str, wanted: &[&str]| {
        let listed = must(Command::new("dpkg-deb").arg("-c").arg(package(debian(), name, ".deb"))).stdout;
        let listed = String::from_utf8(listed).unwrap();
        let files: Vec<_> = listed.lines().filter(|line| !line.ends_with('/')).collect();
        let is_doc = |line: &&&str| line.contains("/usr/share/doc/");
        for file in wanted {
            assert!(files.iter().any(|line| line.contains(file)), "{name} has no {file}:\n{listed}");
        }
        for line in files.iter().filter(|line| !is_doc(line)) {
            assert!(wanted.iter().any(|file| line.contains(file)), "{name} has also {line}");
        }
    };
    has("libinvar0_", &["/libinvar.so.0"]);
    has("libinvar-hook0_", &["/libinvar-hook.so.0"]);
    has("libinvar-dev_", &["/usr/include/invar", "/libinvar", "/cmake/invar/", "/pkgconfig/invar", "/man3/", "/man7/"]);
    has("invar_", &["/usr/bin/invar", "/libinvar-preload.so.0", "/man1/invar.1.gz"]);
    let control = |name: &str, file: &str| {
        let said = must(Command::new("dpkg-deb").args(["-I"]).arg(package(debian(), name, ".deb")).arg(file)).stdout;
        String::from_utf8(said).unwrap()
    };
    assert!(control("libinvar0_", "symbols").contains("\n invar_load@INVAR_0 "));
    assert!(control("libinvar-hook0_", "control").contains("libinvar0 (= "), "the hook needs the library");
    // Nothing tells where it was built.
    let command = std::fs::read(debian_root().join("usr/bin/invar")).unwrap();
    let folder = debian().to_str().unwrap().as_bytes();
    assert!(!command.windows(folder.len()).any(|bytes| bytes == folder), "the command names a folder");
}

fn lintian_is_silent() {
    let changes = package(debian(), "invar_", ".changes");
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]).arg(changes);
    let said = must(&mut lintian).stdout;
    assert_eq!(String::from_utf8_lossy(&said), "");
}

/// What autopkgtest would run where the packages are installed.
fn autopkgtests() {
    let root = debian_root();
    let library = must(Command::new("cc").arg("-print-multiarch")).stdout;
    let library = root.join("usr/lib").join(String::from_utf8(library).unwrap().trim());
    let path = format!("{}:{}", root.join("usr/bin").display(), std::env::var("PATH").unwrap());
    for name in ["link", "command"] {
        let mut script = without_cargos("sh");
        script.arg(format!("{ROOT}/debian/tests/{name}")).env("PATH", &path);
        script.env("LD_LIBRARY_PATH", &library).env("PKG_CONFIG_PATH", library.join("pkgconfig"));
        must(script.env("PKG_CONFIG_SYSROOT_DIR", root));
    }
    assert!(read("debian/tests/control").matches("Tests: ").count() == 2, "another test");
}

fn rpms() {
    let top = empty("rpm-packages");
    let mut rpmbuild = without_cargos("rpmbuild");
    // Nobody here keeps a list of RPMs that are installed.
    rpmbuild.args(["-bb", "--nodeps", "--with", "rustup", "--quiet"]);
    rpmbuild.arg("--define").arg(format!("_topdir {}", top.display()));
    rpmbuild.arg("--define").arg(format!("_sourcedir {}", dist().display()));
    rpmbuild.arg(unpacked().join("packaging/invar.spec"));
    must(rpmbuild.env("RUSTUP_TOOLCHAIN", toolchain()).env_remove("RUSTC"));
    let _ = std::fs::remove_dir_all(top.join("BUILD"));
    let folder = top.join("RPMS").join(std::env::consts::ARCH);
    for (name, wanted) in [
        ("libinvar-0", &["/libinvar.so.0"][..]),
        ("libinvar-hook-0", &["/libinvar-hook.so.0"]),
        ("libinvar-devel-", &["/invar.h", "/libinvar.so", "/libinvar.a", "/pkgconfig/invar.pc", "/man3/invar.3"]),
        ("invar-0", &["/bin/invar", "/libinvar-preload.so.0", "/man1/invar.1"]),
    ] {
        let listed = lines(Command::new("rpm").arg("-qlp").arg(package(&folder, name, ".rpm")));
        for file in wanted {
            assert!(listed.iter().any(|path| path.contains(file)), "{name} has no {file}: {listed:?}");
        }
    }
}
