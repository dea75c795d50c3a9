//! Each place where a program may find itself, with the real thing: there it is bound, or says why it is not, and does the same as
//! anywhere. `docs/places.md` has the table.

mod common;

use common::c::{LINK, compiler, libinvar};
use common::fault::{self, Call, Fault, Part};
use common::refuse::{Refused, cannot_refuse, refuse};
use common::{
    BINDER, Build, Module, Tale, Temporary, binder_compiler, bound_in_c, command, front, missing_tool, must, no_setuid,
    output, replace, run, scratch, set_user, sites, tale, test, with_either_binder,
};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

fn main() -> ExitCode {
    let tests = filtered().into_iter().chain(privileges()).chain(files()).chain(files_that_go());
    run(tests.chain(limits()).chain(text()).chain(emulated()))
}

/// What comes of the program's sites.
#[derive(Clone)]
enum Then {
    /// All are bound, by this writer.
    Bound(&'static str),
    /// None is, with this reason.
    Declined(String),
}

use Then::{Bound, Declined};

/// Every writer was refused, and this was the first one's error.
fn refused(errno: i32) -> Then {
    Declined(format!("every writer was refused, the first with errno {errno}"))
}

fn story() -> PathBuf {
    Build::release().program("story")
}

/// The same in one file with its C library: nothing else is opened for it.
fn static_story() -> PathBuf {
    Build::release().named("static").rustflag("-Ctarget-feature=+crt-static").program("story")
}

/// What it says where nothing is in its way, once for either binder.
fn plain() -> &'static Tale {
    static TOLD: [OnceLock<Tale>; 2] = [const { OnceLock::new() }; 2];
    TOLD[usize::from(bound_in_c())].get_or_init(|| tale(&mut command(story())))
}

/// Runs a test program in a place.
fn lives(here: &mut Command, then: &Then) -> Tale {
    let plain = plain();
    let tale = tale(here.env("INVAR_REPORT", "stderr"));
    tale.assert_consistent();
    assert_eq!(tale.results, plain.results);
    assert_eq!(tale.choices(), plain.choices(), "keys are decided everywhere");
    is(tale.program(), &tale.errors, then);
    tale
}

fn is(module: &Module, errors: &str, then: &Then) {
    match then {
        Bound(writer) => {
            module.assert_bound();
            assert_eq!(module.writers, *writer, "{errors}");
        }
        Declined(why) => {
            module.assert_checked();
            assert_eq!(module.reason, *why, "{errors}");
            // A report takes memory, of which there may be none.
            let said = errors.contains(why.as_str()) || errors.ends_with("no memory for its report\n");
            assert!(bound_in_c() || said, "the report does not say it: {errors}");
        }
    }
}

/// Tests under filters.
fn filtered() -> Vec<Trial> {
    use Refused::{Docker, ExecGain, Memfd, Missing, WriteExecute};
    const SYSTEMD: &[Refused] = &[WriteExecute];
    const WITHOUT_MEMFD: &[Refused] = &[WriteExecute, Memfd];
    const PROFILE: &[Refused] = &[Docker];
    const PROFILE_AND_MDWE: &[Refused] = &[ExecGain, Docker];
    /// What a kernel in user space or an old one may not have.
    const OPTIONAL: &[Refused] = &[Missing(&[
        libc::SYS_madvise,
        libc::SYS_membarrier,
        libc::SYS_memfd_create,
        libc::SYS_mlock,
        libc::SYS_msync,
        libc::SYS_prlimit64,
        libc::SYS_rseq,
        libc::SYS_statx,
    ])];
    const MREMAP: &[Refused] = &[Missing(&[libc::SYS_mremap])];
    const LSEEK: &[Refused] = &[Missing(&[libc::SYS_lseek])];
    const OPENAT: &[Refused] = &[Missing(&[libc::SYS_openat])];
    let rules = |name: &str, rules: &'static [Refused], then: Then| {
        with_either_binder(name, sites().or_else(|| cannot_refuse(rules)), move || {
            let mut story = command(story());
            refuse(&mut story, rules);
            lives(&mut story, &then);
        })
    };
    let cases = [
        rules("systemd's MemoryDenyWriteExecute", SYSTEMD, Bound("memfd")),
        rules("systemd's MemoryDenyWriteExecute, without memfd_create", WITHOUT_MEMFD, refused(libc::EPERM)),
        rules("docker's default profile", PROFILE, Bound("swap")),
        rules("docker's default profile, under PR_SET_MDWE", PROFILE_AND_MDWE, Bound("memfd")),
        rules("a system without calls that are optional", OPTIONAL, Bound("swap")),
        rules("a system without mremap", MREMAP, Bound("mprotect")),
        rules("a system without lseek", LSEEK, Bound("mprotect")),
    ];
    let openat = sites().or_else(|| cannot_refuse(OPENAT));
    let others = [
        test("a system without openat", openat, || {
            let mut story = command(static_story());
            refuse(&mut story, OPENAT);
            lives(&mut story, &refused(libc::ENOSYS));
        }),
        test("docker's default profile refuses what it should", cannot_refuse(PROFILE), docker_refuses),
    ];
    let traced = [
        with_either_binder("SELinux without execmod, execute of tmpfs, execmem", sites().or_else(no_tracer), selinux),
        with_either_binder("a kernel before MAP_FIXED_NOREPLACE", sites().or_else(no_tracer), an_older_kernel),
    ];
    cases.into_iter().chain(traced).flatten().chain(others).collect()
}

/// The filter is none that lets all pass.
fn docker_refuses() {
    let mut unshare = command("unshare");
    refuse(unshare.args(["--mount", "true"]), &[Refused::Docker]);
    let output = output(&mut unshare);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains("Operation not permitted"), "{errors}");
}

/// Why nothing can be traced here.
fn no_tracer() -> Option<String> {
    common::hole::no_holes()
}

fn traced(writer: &str, faults: &[(usize, Fault)]) -> (fault::Run, Tale) {
    let mut here = command(story());
    let binder = if bound_in_c() { front().to_owned() } else { story() };
    let run = fault::run(here.env("INVAR_REPORT", "stderr").env("INVAR_WRITER", writer), &[binder], Part::Load, faults);
    assert_eq!((run.status, run.met), (0, faults.len()), "{}", run.errors);
    let tale = Tale::read(&run.said, run.errors.clone());
    assert!(tale.ended);
    tale.assert_consistent();
    (run, tale)
}

/// Where the first call of a sort is, from this one on.
fn position(run: &fault::Run, from: usize, is_it: impl Fn(&Call) -> bool) -> usize {
    from + run.calls[from..].iter().position(is_it).unwrap_or_else(|| panic!("no such call: {:?}", run.calls))
}

/// Linux, security/selinux/hooks.c: what each writer asks for is refused, one after the other (`docs/places.md`).
fn selinux() {
    let plain = plain();
    let rights = |call: &Call, number, wanted: i32| {
        let all = libc::PROT_WRITE | libc::PROT_EXEC;
        call.number == number && call.args[2] as i32 & all == wanted
    };
    let assert = |tale: &Tale, then| {
        assert_eq!((&tale.results, tale.choices()), (&plain.results, plain.choices()));
        is(tale.program(), &tale.errors, &then);
    };
    const DENIED: Fault = Fault::Errno(libc::EACCES);
    let (run, told) = traced("auto", &[]);
    assert(&told, Bound("swap"));

    // selinux_file_mprotect: a mapping of a file that was written to becomes executable.
    let execmod = position(&run, 0, |call| rights(call, libc::SYS_mprotect, libc::PROT_EXEC));
    let (run, told) = traced("auto", &[(execmod, DENIED)]);
    assert(&told, Bound("memfd"));

    // file_map_prot_check: an executable mapping of a file on tmpfs, which a memfd is.
    let memfd = position(&run, execmod, |call| call.number == libc::SYS_memfd_create);
    let execute = position(&run, memfd, |call| rights(call, libc::SYS_mmap, libc::PROT_EXEC));
    let (run, told) = traced("auto", &[(execmod, DENIED), (execute, DENIED)]);
    assert(&told, Bound("mprotect"));

    // file_map_prot_check: a private mapping of a file that is to be writable and executable.
    let both = libc::PROT_WRITE | libc::PROT_EXEC;
    let execmem = position(&run, execute, |call| rights(call, libc::SYS_mprotect, both));
    let (_, told) = traced("auto", &[(execmod, DENIED), (execute, DENIED), (execmem, DENIED)]);
    assert(&told, refused(libc::EACCES));
}

/// Before Linux 4.17 the address is a wish, and the file is mapped anywhere.
fn an_older_kernel() {
    const NO_REPLACE: u64 = libc::MAP_FIXED_NOREPLACE as u64;
    let traced = |faults: &[(usize, Fault)]| traced("swap", faults);
    let texts = |run: &fault::Run| {
        let texts = run.end.mappings.iter().filter(|mapping| mapping.protection == "r-xp");
        texts.filter(|mapping| mapping.path.ends_with("/story")).map(|mapping| mapping.end - mapping.start).sum::<u64>()
    };
    let (plain, _) = traced(&[]);
    let first = position(&plain, 0, |call| call.number == libc::SYS_mremap);
    for fault in [Fault::Errno(libc::ENOMEM), Fault::Hole(libc::ENOMEM)] {
        let twice = [(first, fault), (first + 1, Fault::Errno(libc::ENOMEM))];
        let (run, _) = traced(&twice);
        let again = first + 2;
        assert_eq!(run.calls[again].number, libc::SYS_mmap);
        assert_eq!(run.calls[again].args[3] & NO_REPLACE, NO_REPLACE);
        let (run, told) = traced(&[twice[0], twice[1], (again, Fault::Unknown(NO_REPLACE))]);
        is(told.program(), &told.errors, &refused(libc::ENOMEM));
        assert_eq!(texts(&run), texts(&plain), "{fault:?}: {:#?}", run.end.mappings);
    }
}

/// Why no file system can be mounted here.
fn no_mounts() -> Option<String> {
    let output = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("nothing can be mounted: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("no unshare: {error}")),
    }
}

/// A run of this script in mount and process namespaces of its own, with `program` as its first argument; all processes in them end
/// with it.
fn apart(script: &str, program: &Path) -> Command {
    let mut unshare = command("unshare");
    unshare.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    unshare.args(["sh", "-e", "-u", "-c", script, "sh"]).arg(program);
    unshare
}

/// Tests of what a program may see and do.
fn privileges() -> Vec<Trial> {
    let mounts = || sites().or_else(no_mounts);
    let scripts = |name: &str, missing: Option<String>, script: &'static str, then: Then| {
        with_either_binder(name, missing, move || _ = lives(&mut apart(script, &story()), &then))
    };
    let nobody = || mounts().or_else(not_for_others);
    let cases = [
        scripts(
            "no /proc, by mprotect",
            mounts(),
            "umount -l /proc; umount -l /proc; [ ! -e /proc/self ]; INVAR_WRITER=mprotect exec $1",
            Declined("only the writer mprotect was left, and the number of threads is not known: errno 2".into()),
        ),
        scripts("no /proc", mounts(), "umount -l /proc; umount -l /proc; [ ! -e /proc/self ]; exec $1", Bound("swap")),
        scripts(
            "a /proc with hidepid",
            nobody(),
            "mount -t proc -o hidepid=2 proc /proc; exec setpriv --reuid 65534 --regid 65534 --clear-groups $1",
            Bound("swap"),
        ),
    ];
    let others = [
        test("another root, without the program's file", mounts(), || another_root(true, &Bound("swap"))),
        test("another root, without the program's file and /proc", mounts(), || {
            another_root(false, &refused(libc::ENOENT));
        }),
        test("a setuid program", sites().or_else(no_setuid), || {
            let copy = Temporary::executable("places-setuid", &std::fs::read(story()).unwrap());
            secure(&mut set_user(&copy));
        }),
        test("a setuid program without /proc", mounts().or_else(no_setuid), || {
            let copy = Temporary::executable("places-secure", &std::fs::read(story()).unwrap());
            set_user(&copy);
            let tale = tale(&mut apart("umount -l /proc; umount -l /proc; [ ! -e /proc/self ]; exec $1", &copy.0));
            is(tale.program(), &refused_text(libc::ENOENT), &refused(libc::ENOENT));
        }),
        test("a program with file capabilities", sites().or_else(no_setuid).or_else(not_for_others), || {
            let copy = Temporary::executable("places-capable", &std::fs::read(story()).unwrap());
            set_capability(&copy.0);
            secure(command(&copy.0).uid(NOBODY).gid(NOBODY));
        }),
    ];
    cases.into_iter().flatten().chain(others).collect()
}

const NOBODY: u32 = 65534;

fn refused_text(errno: i32) -> String {
    let Declined(why) = refused(errno) else { unreachable!() };
    why
}

/// Why another user cannot reach the programs, from a try.
fn not_for_others() -> Option<String> {
    let mut command = command(story());
    let tried = command.uid(NOBODY).gid(NOBODY).output();
    tried.err().map(|error| format!("another user cannot execute what is in {}: {error}", scratch().display()))
}

/// Settings are ignored, and sites are bound as if there were none.
fn secure(program: &mut Command) {
    let plain = plain();
    let tale =
        tale(program.env("INVAR_WRITER", "memfd").env("INVAR_REPORT", "stderr").env("INVAR_KEYS", "story.on=off"));
    tale.assert_consistent();
    assert_eq!((&tale.results, tale.choices()), (&plain.results, plain.choices()));
    assert!(tale.errors.is_empty(), "it obeys a setting: {}", tale.errors);
    is(tale.program(), "", &Bound("swap"));
}

/// linux/capability.h: `struct vfs_cap_data`, version 2, with CAP_NET_RAW, which is in effect.
fn set_capability(file: &Path) {
    let words: [u32; 5] = [0x0200_0001, 1 << 13, 0, 0, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let path = CString::new(file.as_os_str().as_bytes()).unwrap();
    let name = c"security.capability";
    // SAFETY: two strings, and bytes that the kernel copies.
    let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), bytes.as_ptr().cast(), bytes.len(), 0) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// A static program is executed by its descriptor, in a root where there is nothing, or /proc.
fn another_root(proc: bool, then: &Then) {
    let program = CString::new(static_story().as_os_str().as_bytes()).unwrap();
    let root = Temporary::path("places-root");
    std::fs::create_dir_all(root.0.join("proc")).unwrap();
    let path = CString::new(root.0.as_os_str().as_bytes()).unwrap();
    let words = [c"story".as_ptr(), std::ptr::null()].map(|word| word as usize);
    let settings = [c"INVAR_REPORT=stderr".as_ptr(), std::ptr::null()].map(|word| word as usize);
    let mut story = command("nothing");
    // SAFETY: system calls in the child, on strings and lists that are there by then.
    unsafe {
        story.pre_exec(move || {
            let file = libc::open(program.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            let alone = libc::unshare(libc::CLONE_NEWNS);
            let none = std::ptr::null();
            let private = libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast());
            let there = libc::chroot(path.as_ptr()) | libc::chdir(c"/".as_ptr());
            let mounted =
                proc && libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, none.cast()) != 0;
            if file >= 0 && alone == 0 && private == 0 && there == 0 && !mounted {
                let (words, settings) = (words.as_ptr(), settings.as_ptr());
                libc::syscall(libc::SYS_execveat, file, c"".as_ptr(), words, settings, libc::AT_EMPTY_PATH);
            }
            Err(std::io::Error::last_os_error())
        });
    }
    lives(&mut story, then);
}

/// What a script does before it runs the program, which is its first argument; the second is a folder of its own, the third what is
/// preloaded.
struct Mounted {
    name: &'static str,
    setup: &'static str,
    run: &'static str,
    writer: &'static str,
    then: Then,
}

/// Tests of what a program's file lies on, and of mounts beside it.
fn files() -> Vec<Trial> {
    let mounted = |name, setup, run, then| Mounted { name, setup, run, writer: "auto", then };
    let with_memfd = |name, setup, then| Mounted { name, setup, run: "exec $1", writer: "memfd", then };
    let all = [
        mounted("a file on tmpfs", "mount -t tmpfs tmpfs $2; cp $1 $2/story", "exec $2/story", Bound("swap")),
        mounted(
            "a file on overlay",
            "mount -t tmpfs tmpfs $2; mkdir $2/lower $2/upper $2/work $2/all; cp $1 $2/lower/story
            mount -t overlay -o lowerdir=$2/lower,upperdir=$2/upper,workdir=$2/work overlay $2/all",
            "exec $2/all/story",
            Bound("swap"),
        ),
        mounted(
            "a file on FUSE",
            "mount -t tmpfs tmpfs $2; mkdir $2/under $2/over; cp $1 $2/under/story; bindfs $2/under $2/over",
            "exec $2/over/story",
            Bound("swap"),
        ),
        mounted(
            "a file system that is noexec by now",
            "mount -t tmpfs tmpfs $2; cp $1 $2/story",
            "PLACE=\"noexec $2\" LD_PRELOAD=$3 exec $2/story",
            Bound("memfd"),
        ),
        with_memfd(
            "a /tmp and a /dev/shm that are noexec",
            "mount -t tmpfs -o noexec tmpfs /tmp; mount -t tmpfs -o noexec tmpfs /dev/shm",
            Bound("memfd"),
        ),
        with_memfd("vm.memfd_noexec=1", "echo 1 >/proc/sys/vm/memfd_noexec", Bound("memfd")),
        with_memfd("vm.memfd_noexec=2", "echo 2 >/proc/sys/vm/memfd_noexec", refused(libc::EACCES)),
    ];
    all.into_iter().flat_map(|mounted| mounted.tests()).collect()
}

impl Mounted {
    fn tests(self) -> [Trial; 2] {
        let missing = sites().or_else(no_mounts).or_else(|| no_script(self.setup));
        with_either_binder(self.name, missing, move || {
            let folder = Temporary::path("places-files");
            std::fs::create_dir_all(&folder.0).unwrap();
            let mut here = apart(&format!("{}; {}", self.setup, self.run), &story());
            here.arg(&folder.0).arg(preloaded()).env("INVAR_WRITER", self.writer);
            lives(&mut here, &self.then);
        })
    }
}

/// What becomes of a module's file between its mapping and its binding: it is removed, or another one of these bytes takes its place.
type Goes = Option<fn(&[u8]) -> Vec<u8>>;

const REMOVED: Goes = None;
const COPIED: Goes = Some(<[u8]>::to_vec);
/// Another program is there.
const OTHER: Goes = Some(|_| std::fs::read(Build::release().program("adaptive")).unwrap());
/// It ends in front of its text.
const SHORT: Goes = Some(|bytes| bytes[..text_in(bytes).start].to_vec());
/// Its program headers are the same, and its text is not, as of another build.
const REBUILT: Goes = Some(|bytes| {
    let mut bytes = bytes.to_vec();
    let text = text_in(&bytes);
    // Each page of it.
    bytes[text].iter_mut().step_by(256).for_each(|byte| *byte ^= 0x55);
    bytes
});

/// Where the file has its text.
fn text_in(bytes: &[u8]) -> std::ops::Range<usize> {
    let headers = goblin::elf::Elf::parse(bytes).unwrap().program_headers;
    let text = headers.iter().find(|header| header.is_executable()).expect("text");
    text.file_range()
}

/// Tests of files that go before their modules are bound.
fn files_that_go() -> Vec<Trial> {
    let missing = || sites().or_else(|| missing_tool("cc"));
    let other_file = || Declined("the file at its path is not the one that it was loaded from".into());
    let changed = || Declined("its text is not as in its file, and what could take that over was refused".into());
    let program = |name: &str, goes: Goes| with_either_binder(name, missing(), move || program_goes(goes));
    let library = |name: &str, goes: Goes, writer: &'static str, then: Then| {
        with_either_binder(name, missing(), move || library_goes(goes, writer, &then))
    };
    let tests = [
        program("a program's file that is removed", REMOVED),
        program("a program's file that is replaced", OTHER),
        library("a library's file that is removed", REMOVED, "auto", Bound("mprotect")),
        library("a library's file that is removed, without mprotect", REMOVED, "swap", refused(libc::ENOENT)),
        library("a library's file that is removed, by memfd", REMOVED, "memfd", refused(libc::ENOENT)),
        library("a library's file that is replaced", OTHER, "auto", Bound("mprotect")),
        library("a library's file that is replaced, without mprotect", OTHER, "swap", other_file()),
        library("a library's file that is replaced, by memfd", OTHER, "memfd", other_file()),
        library("a library's file that is replaced by a part of it", SHORT, "swap", other_file()),
        library("a library's file that is replaced by a copy", COPIED, "auto", Bound("swap")),
        library("a library's file that is replaced by another build", REBUILT, "auto", Bound("swap")),
        library("a library's file that is replaced by another build, by memfd", REBUILT, "memfd", changed()),
    ];
    tests.into_iter().flatten().collect()
}

/// A copy of a module, and what takes its place perhaps; and the word for that.
fn about_to_go(module: &Path, goes: Goes) -> (Temporary, Temporary, String) {
    let bytes = std::fs::read(module).unwrap();
    let file = Temporary::executable("goes.so", &bytes);
    let new = Temporary::executable("comes.so", &goes.map_or(vec![], |new| new(&bytes)));
    let place = match goes {
        None => format!("removed {}", file.0.display()),
        Some(_) => format!("replaced {} {}", new.0.display(), file.0.display()),
    };
    (file, new, place)
}

/// The kernel still knows the one that runs.
fn program_goes(goes: Goes) {
    let (file, _new, place) = about_to_go(&story(), goes);
    lives(&mut placed(&file.0, &place), &Bound("swap"));
    assert_eq!(file.0.exists(), goes.is_some(), "it went too late");
}

/// The loader's path leads to nothing, or elsewhere.
fn library_goes(goes: Goes, writer: &str, then: &Then) {
    let (file, _new, place) = about_to_go(&Build::release().library("plugin"), goes);
    let before = std::fs::metadata(&file.0).unwrap().ino();
    let host = |place: Option<&str>| {
        let mut host = placed(&Build::release().program("host"), place.unwrap_or_default());
        let preloaded = format!("{}:{}", preloaded().display(), file.0.display());
        host.arg(&file.0).env("LD_PRELOAD", preloaded).env("INVAR_WRITER", writer).env("INVAR_REPORT", "stderr");
        if place.is_none() {
            host.env_remove("PLACE");
        }
        tale(&mut host)
    };
    let plain = host(None);
    let name = file.0.file_name().unwrap().to_str().unwrap();
    plain.module(name).assert_bound();
    let tale = host(Some(&place));
    let after = std::fs::metadata(&file.0).map(|file| file.ino()).ok();
    assert!(after != Some(before) && after.is_some() == goes.is_some(), "it is there as before");
    tale.assert_consistent();
    assert_eq!((&tale.results, tale.choices()), (&plain.results, plain.choices()));
    is(tale.module(name), &tale.errors, then);
    tale.program().assert_bound();
}

/// Why a script does not come to its end here, from a try.
fn no_script(script: &str) -> Option<String> {
    let folder = Temporary::path("places-try");
    std::fs::create_dir_all(&folder.0).unwrap();
    let output = output(apart(script, Path::new("/bin/true")).arg(&folder.0));
    let errors = String::from_utf8_lossy(&output.stderr);
    (!output.status.success()).then(|| errors.trim().replace('\n', " "))
}

/// `tests/programs/c/place.c`, with the binder in C behind it where that is in front of this test's programs.
fn preloaded() -> &'static Path {
    static BUILT: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    BUILT[usize::from(bound_in_c())].get_or_init(|| {
        let source = |name| format!("{}/tests/programs/c/{name}.c", env!("CARGO_MANIFEST_DIR"));
        let name = if bound_in_c() { "place-front.so" } else { "place.so" };
        let built = Temporary::path(name);
        let mut cc = binder_compiler("cc -O2 -shared -fPIC -Wl,-z,initfirst");
        cc.arg(source("place"));
        if bound_in_c() {
            cc.args([&source("front"), BINDER]);
        }
        must(cc.arg("-o").arg(&built.0));
        let path = scratch().join(name);
        replace(&path, &std::fs::read(&built.0).unwrap());
        path
    })
}

/// A run of a program in what `place.c` makes of its process.
fn placed(program: &Path, place: &str) -> Command {
    let mut command = command(program);
    command.env("LD_PRELOAD", preloaded()).env("PLACE", place);
    command
}

/// Why nothing can be preloaded that is written in C, or `place.c` cannot make this place, from a try.
fn no_place(place: &str) -> Option<String> {
    missing_tool("cc").or_else(|| {
        let output = output(&mut placed(Path::new("/bin/true"), place));
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
    })
}

/// Tests of what a process may have.
fn limits() -> Vec<Trial> {
    let place = |place: &str| sites().or_else(|| no_place(place));
    let locked = || place("all-locked 0").or_else(not_for_others).or_else(nothing_is_locked);
    let few = [
        // To write in place takes no more addresses.
        with_either_binder("RLIMIT_AS", place("as 0"), || little_by_little("as", &Bound("mprotect"), |_| {})),
        with_either_binder("RLIMIT_DATA", place("data 0"), || little_by_little("data", &refused(libc::ENOMEM), |_| {})),
        with_either_binder("RLIMIT_MEMLOCK with mlockall", locked(), || {
            little_by_little("all-locked", &Bound("mprotect"), unprivileged);
        }),
        with_either_binder("a memory cgroup at its limit", sites().or_else(no_cgroup), at_its_limit),
    ];
    let others = [test("RLIMIT_NOFILE", sites(), few_files)];
    few.into_iter().flatten().chain(others).collect()
}

/// Who may lock as much as the limit says, and no more.
fn unprivileged(command: &mut Command) {
    // SAFETY: system calls in the child, on numbers.
    unsafe {
        command.pre_exec(|| {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit);
            limit.rlim_cur = limit.rlim_max;
            let limited = libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit);
            let became = libc::setresgid(NOBODY, NOBODY, NOBODY) | libc::setresuid(NOBODY, NOBODY, NOBODY);
            if limited == 0 && became == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

/// Why no program can lock all of its memory here, from a try.
fn nothing_is_locked() -> Option<String> {
    let mut story = placed(&story(), "all-locked 0");
    unprivileged(&mut story);
    match story.output() {
        Ok(output) => (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("no program can be started as another user: {error}")),
    }
}

/// With a few pages more each time, first this comes of it, and at last swap; and all is right at each time.
fn little_by_little(limit: &str, first: &Then, prepare: impl Fn(&mut Command)) {
    let (mut too_few, mut enough) = (0, 0);
    for pages in (0..12).chain([32, 64, 128]) {
        let mut story = placed(&story(), &format!("{limit} {pages}"));
        prepare(&mut story);
        let is_enough = tale(&mut story).program().writers == "swap";
        lives(&mut story, if is_enough { &Bound("swap") } else { first });
        assert!(is_enough || enough == 0, "{pages} pages are not enough, and fewer were");
        *if is_enough { &mut enough } else { &mut too_few } += 1;
    }
    assert!(too_few > 0 && enough > 0, "too few {too_few} times, enough {enough} times");
}

/// One descriptor is needed, and a second one for a memfd.
fn few_files() {
    let limited = |files: u64, writer: &str, then: &Then| {
        let mut story = command(static_story());
        // SAFETY: one system call in the child, on numbers.
        unsafe {
            story.pre_exec(move || {
                let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
                if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
        lives(story.env("INVAR_WRITER", writer), then);
    };
    limited(3, "auto", &refused(libc::EMFILE));
    limited(4, "auto", &Bound("swap"));
    limited(4, "memfd", &refused(libc::EMFILE));
    limited(5, "memfd", &Bound("memfd"));
}

/// A memory cgroup of this test's own, of version 1.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> std::io::Result<Self> {
        let name = Temporary::path("invar");
        let path = Path::new("/sys/fs/cgroup/memory").join(name.0.file_name().unwrap());
        if !path.parent().unwrap().join("memory.limit_in_bytes").exists() {
            return Err(std::io::Error::other("no memory controller of version 1 in /sys/fs/cgroup/memory"));
        }
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn limit(&self, bytes: u64) -> std::io::Result<()> {
        std::fs::write(self.0.join("memory.limit_in_bytes"), bytes.to_string())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Why no memory can be limited so here, from a try.
fn no_cgroup() -> Option<String> {
    let error = Cgroup::new().and_then(|group| group.limit(1 << 30)).err();
    error.map(|error| format!("no memory cgroup: {error}"))
}

/// A process that has no memory is killed by the kernel, wherever it writes; one that lives is bound, and right.
fn at_its_limit() {
    let plain = plain();
    let group = Cgroup::new().unwrap();
    let mut bound = 0;
    for limit in (1..40).map(|times| times * (128 << 10)) {
        group.limit(limit).unwrap();
        let mut story = command(story());
        let tasks = group.0.join("tasks");
        let tasks = CString::new(tasks.as_os_str().as_bytes()).unwrap();
        // SAFETY: system calls in the child, on strings.
        unsafe {
            story.pre_exec(move || {
                let file = libc::open(tasks.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                if libc::write(file, c"0".as_ptr().cast(), 1) == 1 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
        // Where it is killed before it is executed, whoever starts it sees no output.
        let output = output(&mut story);
        if output.status.signal() == Some(libc::SIGKILL) {
            continue;
        }
        assert!(output.status.success(), "{limit}: {:?}", output);
        let tale = Tale::read(&String::from_utf8_lossy(&output.stdout), String::new());
        tale.assert_consistent();
        assert_eq!(tale.results, plain.results, "{limit} bytes");
        is(tale.program(), "", &Bound("swap"));
        bound += 1;
    }
    let failures = std::fs::read_to_string(group.0.join("memory.failcnt")).unwrap();
    assert!(bound > 0 && failures != "0\n", "bound {bound} times, at the limit {failures}");
}

/// Tests of what the text is.
fn text() -> Vec<Trial> {
    let place = |place: &str| sites().or_else(|| no_place(place));
    let tests = [
        with_either_binder("sealed text", place("sealed"), || {
            lives(&mut placed(&story(), "sealed"), &refused(libc::EPERM));
        }),
        with_either_binder("text that is locked in memory", place("locked"), locked_text),
        with_either_binder("text in anonymous memory with huge pages", place("huge"), || {
            for writer in ["swap", "memfd"] {
                lives(placed(&story(), "huge").env("INVAR_WRITER", writer), &Bound(writer));
            }
        }),
        with_either_binder("two segments that share a page", sites(), a_shared_page),
    ];
    let c = || sites().or_else(|| missing_tool("make")).or_else(|| missing_tool("gcc"));
    let wide = [
        test("the most runs of a window", c(), many_runs),
        test("a site over the end of a window", c(), a_site_over_the_end_of_a_window),
        test("text on reserved huge pages", c().or_else(no_reserved_pages), text_on_reserved_pages),
        test("text on huge pages of tmpfs", c().or_else(no_mounts).or_else(no_huge_text), text_on_huge_pages),
    ];
    tests.into_iter().flatten().chain(wide).collect()
}

/// Builds `wide.c` with libinvar.
fn wide(options: &[&str]) -> Temporary {
    let folder = libinvar().display();
    let program = Temporary::path("places-wide");
    let mut cc = compiler("gcc -O2 -Wall -Wextra -Werror");
    cc.arg(format!("{}/tests/programs/c/wide.c", env!("CARGO_MANIFEST_DIR"))).args(options);
    cc.args([format!("-L{folder}"), format!("-Wl,-rpath,{folder}")]).args(LINK).arg("-o").arg(&program.0);
    must(&mut cc);
    program
}

/// Runs it: what it says by name, what the report has on it, and its first site. All is bound and right.
fn widely(wide: &mut Command) -> (BTreeMap<String, u64>, String, u64) {
    let output = must(wide.env("INVAR_REPORT", "stderr"));
    let [said, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let pair =
        |line: &str| line.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.to_owned())).expect("a pair");
    let mut facts: BTreeMap<String, String> = said.lines().map(pair).collect();
    let right = facts.remove("right").expect("what is right");
    let (right, all) = right.split_once(" of ").unwrap();
    assert_eq!(right, all, "{errors}");
    let mut lines = errors.lines().skip_while(|line| !line.starts_with("module (program) "));
    let module = lines.next().expect("the program's line");
    assert!(module.contains(&format!(": {all} sites, {all} bound by swap in ")), "{module}");
    let site = lines.find_map(|line| line.strip_prefix("  site 0x")).expect("a site");
    let site = u64::from_str_radix(&site[..site.find(' ').unwrap()], 16).unwrap();
    (facts.iter().map(|(name, value)| (name.clone(), number(value))).collect(), module.to_owned(), site)
}

/// Each run of pages is a mapping more, and another one behind it. There are 256 runs of a window at most.
fn many_runs() {
    let mappings = |hundreds: &str| {
        let wide = wide(&[&format!("-DHUNDREDS={hundreds}"), "-DSTRIDE=0x20000"]);
        widely(&mut command(&wide.0)).0["mappings"]
    };
    let (two, three) = (mappings("2"), mappings("3"));
    assert!(two >= 400 && three < 10, "mappings: {two} for 200 runs, {three} for 300");
}

/// Text is looked at in windows of 128 MiB.
fn a_site_over_the_end_of_a_window() {
    const WINDOW: u64 = 128 << 20;
    let built = |fill: u64| wide(&[&format!("-DFILL={fill:#x}"), "-Wl,-z,separate-code"]);
    let text = |program: &Path| {
        let bytes = std::fs::read(program).unwrap();
        let elf = goblin::elf::Elf::parse(&bytes).unwrap();
        let text = elf.program_headers.iter().find(|header| header.is_executable()).unwrap();
        text.p_vaddr & !4095
    };
    let guess = 0x1000;
    let first = built(guess);
    let offset = widely(&mut command(&first.0)).2 - text(&first.0);
    let ahead = 5;
    let second = built(guess + WINDOW - offset - ahead);
    let site = widely(&mut command(&second.0)).2;
    assert_eq!(site, text(&second.0) + WINDOW - ahead, "where the site is to be");
}

const HUGE: &str = "mount -t tmpfs -o huge=always tmpfs $2";

/// Why text is not on huge pages here, from a try.
fn no_huge_text() -> Option<String> {
    no_script(HUGE)
}

/// The pages with sites are exchanged. That they were on huge pages is seen where nothing is bound.
fn text_on_huge_pages() {
    let wide = wide(&["-DHUNDREDS=2", "-DSTRIDE=0x20000", "-Wl,-z,max-page-size=0x200000"]);
    let folder = Temporary::path("places-huge");
    std::fs::create_dir_all(&folder.0).unwrap();
    let there = || {
        let mut there = apart(&format!("{HUGE}; cp $1 $2/wide; exec $2/wide"), &wide.0);
        there.arg(&folder.0);
        there
    };
    let unbound = String::from_utf8(must(there().env("INVAR", "off")).stdout).unwrap();
    let huge = unbound.lines().find_map(|line| line.strip_prefix("huge ")).expect("a number");
    assert!(huge.parse::<u64>().unwrap() >= 20 << 10, "KiB: {huge}");
    widely(&mut there());
}

/// What lies in the text of 200 functions, in huge pages.
const RESERVED: usize = 16;

/// Why there are too few huge pages that nobody uses: an administrator reserves them.
fn no_reserved_pages() -> Option<String> {
    let all = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = all.lines().find_map(|line| line.strip_prefix("HugePages_Free:")?.trim().parse::<usize>().ok());
    (free < Some(RESERVED)).then(|| {
        let free = free.unwrap_or(0);
        format!("{free} huge pages are reserved and free; sysctl vm.nr_hugepages={RESERVED} reserves enough")
    })
}

/// The kernel exchanges and protects them as a whole only.
fn text_on_reserved_pages() {
    let wide = wide(&["-DHUNDREDS=2", "-DSTRIDE=0x20000", "-Wl,-z,max-page-size=0x200000"]);
    for writers in [&["swap", "memfd", "mprotect"][..], &["swap"], &["memfd"], &["mprotect"]] {
        let writer = if let [writer] = writers { writer } else { "auto" };
        let output = must(placed(&wide.0, "reserved").env("INVAR_WRITER", writer).env("INVAR_REPORT", "stderr"));
        let [said, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(said.contains("\nright 200 of 200\n"), "{said}");
        let module = errors.lines().find(|line| line.starts_with("module (program) ")).expect("the program's line");
        let refused: Vec<_> = writers.iter().map(|writer| format!("{writer} (errno {})", libc::EINVAL)).collect();
        assert!(module.ends_with(&format!("; refused: {}", refused.join(", "))), "{module}");
    }
}

/// The second one's first page was exchanged already, as the first one's last: swap takes over what stands there by then, memfd
/// declines.
fn a_shared_page() {
    let whole = plain();
    let site = |binding: &common::Binding| binding.site.as_ref().map(|site| site.address).expect("a site");
    let mut sites: Vec<u64> = whole.program().bindings.iter().map(site).collect();
    sites.sort_unstable();
    let pair = sites.windows(2).find(|pair| pair[0] >> 12 == pair[1] >> 12 && pair[1] - pair[0] > 16).unwrap();
    let halved = Temporary::executable("places-halved", &halved(std::fs::read(story()).unwrap(), pair[1]));
    lives(&mut command(&halved.0), &Bound("swap"));
    let tale = tale(command(&halved.0).env("INVAR_WRITER", "memfd"));
    tale.assert_consistent();
    assert_eq!(tale.results, whole.results);
    let module = tale.program();
    assert!(0 < module.bound && module.bound < module.sites, "{} of {}", module.bound, module.sites);
    assert_eq!(module.reason, "its text is not as in its file, and what could take that over was refused");
}

/// Has another segment of text begin at this address; its program header takes the place of one that only unwinding needs.
fn halved(mut bytes: Vec<u8>, at: u64) -> Vec<u8> {
    use goblin::elf::program_header::PT_GNU_EH_FRAME;
    const LENGTH: usize = 56;
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let start = elf.header.e_phoff as usize;
    let is_text =
        |header: &goblin::elf::ProgramHeader| header.is_executable() && header.vm_range().contains(&(at as usize));
    let text = elf.program_headers.iter().position(is_text).unwrap();
    let spare = elf.program_headers.iter().position(|header| header.p_type == PT_GNU_EH_FRAME).unwrap();
    assert!(text < spare);
    let first = at - elf.program_headers[text].p_vaddr;
    let header = |number: usize| start + number * LENGTH..start + (number + 1) * LENGTH;
    // Those between the two move on by one.
    bytes.copy_within(header(text).start..header(spare).start, header(text + 1).start);
    // Elf64_Phdr: offset, vaddr and paddr at 8, the sizes in file and memory at 32.
    let mut change = |number: usize, at: usize, change: &dyn Fn(u64) -> u64| {
        let field = header(number).start + at..header(number).start + at + 8;
        let value = u64::from_le_bytes(bytes[field.clone()].try_into().unwrap());
        bytes[field].copy_from_slice(&change(value).to_le_bytes());
    };
    for at in [32, 40] {
        change(text, at, &|_| first);
        change(text + 1, at, &|size| size - first);
    }
    for at in [8, 16, 24] {
        change(text + 1, at, &|place| place + first);
    }
    bytes
}

/// What takes its place is locked too.
fn locked_text() {
    for writer in ["swap", "memfd", "mprotect"] {
        let tale = lives(placed(&story(), "locked").env("INVAR_WRITER", writer), &Bound(writer));
        let [(ref what, before, after)] = tale.held[..] else { panic!("{:?}", tale.held) };
        assert_eq!((&**what, after), ("locked", before), "{writer}, in KiB");
        assert!(before > 0);
    }
}

/// Tests of programs that something else executes.
fn emulated() -> Vec<Trial> {
    let by = |name: &str, missing: Option<String>, words: &'static [&'static str], writer: &'static str, then: Then| {
        with_either_binder(name, sites().or(missing), move || {
            let mut here = command(words[0]);
            lives(here.args(&words[1..]).arg(story()).env("INVAR_WRITER", writer), &then);
        })
    };
    const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
    const QEMU: &str = "qemu-x86_64";
    let loader = || (!Path::new(LOADER).exists()).then(|| format!("no {LOADER}"));
    let threads = "only the writer mprotect was left, for processes with one thread; those of an emulator and of io_uring count; threads: 2";
    let tests = [
        by("a program that glibc's loader was told to run", loader(), &[LOADER], "auto", Bound("swap")),
        by("under valgrind", missing_tool("valgrind"), &["valgrind", "-q"], "auto", Bound("swap")),
        by("under qemu-user", missing_tool(QEMU), &[QEMU], "auto", Bound("swap")),
        by("under qemu-user, by memfd", missing_tool(QEMU), &[QEMU], "memfd", Bound("memfd")),
        by(
            "under qemu-user, which has a thread of its own",
            missing_tool(QEMU),
            &[QEMU],
            "mprotect",
            Declined(threads.into()),
        ),
    ];
    tests.into_iter().flatten().collect()
}
