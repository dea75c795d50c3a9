//! The programs of `guest/programs`, and the image that they are in.

use invar_guest::Result;
use invar_guest::image::Image;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// An image with the programs in `/bin`.
pub fn image() -> Result<Image> {
    let mut image = Image::new(Path::new(env!("CARGO_BIN_EXE_invar-guest")))?;
    for name in ["sections", "calls", "confine", "contend", "enrol", "guard", "inside", "places", "violate", "watched"]
    {
        image.program(&program(name)?)?;
    }
    if no_make().is_none() {
        image.program(&program(C_PROGRAM)?)?;
        for name in LIBRARIES {
            image.file(format!("/bin/{name}"), &program(C_PROGRAM)?.with_file_name(name));
        }
    }
    if no_make().is_none() {
        image.program(&command()?)?;
        for name in UNMODIFIED {
            image.program(&unmodified("cc", name, &[], &libinvar()?)?)?;
        }
        image.file(PRELOAD.into(), &libinvar()?.join("libinvar-preload.so.0"));
    }
    image.file(HOOKED.into(), &hooked_program("enrol")?);
    image.file(LIBRARY.into(), &program("libinvar_guest_programs.so")?);
    Ok(image)
}

/// In the guest: these programs' common code, as a library with a runtime of its own.
pub const LIBRARY: &str = "/bin/libinvar_guest_programs.so";

/// In the guest: `enrol`, with the hook on thread creation.
pub const HOOKED: &str = "/bin/enrol-hooked";

/// In the guest: the library that is put in front of programs that know nothing of it.
pub const PRELOAD: &str = "/bin/libinvar-preload.so.0";

/// `guest/programs/c/contend.c`.
pub const C_PROGRAM: &str = "contend-c";

/// What it needs.
const LIBRARIES: [&str; 2] = ["libinvar.so.0", "libinvar-hook.so.0"];

/// Why nothing can be built in C for musl.
pub fn no_musl_gcc() -> Option<String> {
    let found = Command::new("musl-gcc").arg("--version").output().is_ok_and(|output| output.status.success());
    no_make().or_else(|| (!found).then(|| "no musl-gcc".into()))
}

/// Why there are no programs in C.
pub fn no_make() -> Option<String> {
    let found = Command::new("make").arg("--version").output().is_ok_and(|output| output.status.success());
    (!found).then(|| "no make, which builds libinvar".into())
}

/// The folder with libinvar.
fn libinvar() -> Programs {
    static BUILT: OnceLock<Programs> = OnceLock::new();
    BUILT.get_or_init(|| make_libinvar("c", &[])).clone()
}

/// The same for this target, by its compiler.
pub fn libinvar_for(triple: &str, compiler: &str, name: &str) -> Programs {
    make_libinvar(name, &[format!("CARGO_BUILD_TARGET={triple}"), format!("CC={compiler}")])
}

fn make_libinvar(name: &str, variables: &[String]) -> Programs {
    let folder = self::folder(name);
    let mut make = without_cargos(Command::new("make"));
    make.arg("-C").arg(project().join("capi")).arg(format!("BUILD={}", folder.display())).args(variables);
    must(make.arg(format!("CARGO={}", env!("CARGO"))).env_remove("MAKEFLAGS"))?;
    Ok(folder)
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn must(command: &mut Command) -> std::result::Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = || format!("{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said()) }
}

/// Compiles `guest/programs/c/SOURCE` into this file, with libinvar, and the hook if it is asked for, beside it or in it.
fn compile(compiler: &str, source: &str, how: &str, hook: &[&str], result: &Path) -> std::result::Result<(), String> {
    let folder = libinvar()?;
    let mut cc = Command::new(compiler);
    cc.args(["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-pthread", how, "-o"]).arg(result);
    cc.arg(project().join("guest/programs/c").join(source));
    cc.arg("-I").arg(project().join("capi/include")).arg("-L").arg(&folder);
    // As invar.pc has it; and the loader looks beside the program, here and in the guest.
    cc.args(hook).args(["-Wl,-u,invar_load", "-linvar", "-Wl,-rpath,$ORIGIN"]);
    must(&mut cc)
}

/// As invar-hook.pc has it, the second for static programs alone.
const HOOK: [&str; 2] =
    ["-linvar-hook", "-Wl,--wrap=pthread_create,--wrap=thrd_create,-u,__wrap_pthread_create,-u,__wrap_thrd_create"];

/// Programs in C that know nothing of invar.
pub const UNMODIFIED: [&str; 2] = ["unmodified", "locks"];

/// Compiles one of them, or another source of these folders, into this folder.
pub fn unmodified(compiler: &str, name: &str, options: &[&str], to: &Path) -> Programs {
    let folders = ["guest/programs/c", "tests/programs/c"].map(|folder| project().join(folder));
    let source = folders.map(|folder| folder.join(format!("{name}.c"))).into_iter().find(|source| source.exists());
    let program = to.join(if options.contains(&"-shared") { format!("{name}.so") } else { name.to_owned() });
    let mut cc = Command::new(compiler);
    cc.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-pthread"]).args(options).arg("-o").arg(&program);
    must(cc.arg(source.ok_or_else(|| format!("no {name}.c"))?))?;
    Ok(program)
}

/// The command `invar`, as these tests' own build has it.
pub fn command() -> Result<PathBuf> {
    static BUILT: OnceLock<Programs> = OnceLock::new();
    Ok(BUILT.get_or_init(|| Ok(build_tool("invar-tool", "invar", "tool", None)?.join("debug/invar"))).clone()?)
}

/// The same for this target, by this linker.
pub fn command_for(triple: &str, linker: &str) -> Programs {
    Ok(build_tool("invar-tool", "invar", "tool", Some((triple, linker)))?.join("debug/invar"))
}

/// Builds a command of this project in a folder, for this target if one is given, by its linker. The folder in which `debug` is.
fn build_tool(package: &str, name: &str, folder: &str, target: Option<(&str, &str)>) -> Programs {
    let mut folder = self::folder(folder);
    let mut cargo = without_cargos(Command::new(env!("CARGO")));
    cargo.current_dir(project()).args(["build", "--quiet", "--locked", "-p", package, "--bin", name]);
    cargo.env("CARGO_PROFILE_DEV_STRIP", "symbols").arg("--target-dir").arg(&folder);
    if let Some((triple, linker)) = target {
        cargo.env(linker_variable(triple), linker).args(["--target", triple]);
        folder.push(triple);
    }
    must(&mut cargo)?;
    Ok(folder)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The program in C, with libinvar beside it or in it.
fn c_program(how: &str) -> Programs {
    let result = libinvar()?.join(format!("{how}-programs"));
    std::fs::create_dir_all(&result).map_err(|error| format!("{}: {error}", result.display()))?;
    let hook = if how == "-static" { &HOOK[..] } else { &HOOK[..1] };
    compile("cc", "contend.c", how, hook, &result.join(C_PROGRAM))?;
    for name in LIBRARIES {
        std::fs::copy(libinvar()?.join(name), result.join(name)).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(result)
}

/// `guest/programs/c/ends.c` in one file with musl; its threads enrol by themselves, or are enrolled by the wrappers as well.
pub fn ends_in_c(wrapped: bool) -> Result<PathBuf> {
    let program = libinvar()?.join(if wrapped { "ends-wrapped" } else { "ends" });
    compile("musl-gcc", "ends.c", "-static", if wrapped { &HOOK } else { &[] }, &program)?;
    Ok(program)
}

/// The program `ends` in one file with musl, with or without the hook on thread creation.
pub fn ends_in_rust(hooked: bool) -> Result<PathBuf> {
    if !hooked {
        return static_program("ends", "musl");
    }
    let what = ["--features", "hook", "--bin", "ends"];
    Ok(build("musl-hooked", "musl", &what, "")?.join("ends"))
}

/// One of this package's programs, on this machine.
pub fn program(name: &str) -> Result<PathBuf> {
    if name == C_PROGRAM {
        static BUILT: OnceLock<Programs> = OnceLock::new();
        return Ok(BUILT.get_or_init(|| c_program("-no-pie")).as_ref().map_err(String::as_str)?.join(name));
    }
    static BUILT: OnceLock<Programs> = OnceLock::new();
    Ok(BUILT.get_or_init(|| build("dynamic", "gnu", &[], "")).as_ref().map_err(String::as_str)?.join(name))
}

/// The same, linked into one file with its C library: `gnu` or `musl`.
pub fn static_program(name: &str, c_library: &str) -> Result<PathBuf> {
    if name == C_PROGRAM {
        static BUILT: OnceLock<Programs> = OnceLock::new();
        return Ok(BUILT.get_or_init(|| c_program("-static")).as_ref().map_err(String::as_str)?.join(name));
    }
    static GNU: OnceLock<Programs> = OnceLock::new();
    static MUSL: OnceLock<Programs> = OnceLock::new();
    let built = match c_library {
        "musl" => {
            MUSL.get_or_init(|| build("musl", "musl", &["--bin", "sections", "--bin", "ends", "--bin", "calls"], ""))
        }
        _ => GNU.get_or_init(|| build("static", "gnu", &["--bins"], "-Ctarget-feature=+crt-static")),
    };
    Ok(built.as_ref().map_err(String::as_str)?.join(name))
}

/// The same with the hook on thread creation.
fn hooked_program(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Programs> = OnceLock::new();
    let built = BUILT.get_or_init(|| build("hooked", "gnu", &["--features", "hook", "--bin", "enrol"], ""));
    Ok(built.as_ref().map_err(String::as_str)?.join(name))
}

/// The folder in which the programs are, or why there is none.
pub type Programs = std::result::Result<PathBuf, String>;

/// Built as a user would, which has nothing to do with how these tests are built.
fn build(name: &str, c_library: &str, what: &[&str], rustflags: &str) -> Programs {
    build_for(&triple(c_library), None, name, what, rustflags)
}

/// The same for this target, by this linker where it is another machine's.
pub fn build_for(triple: &str, linker: Option<&str>, name: &str, what: &[&str], rustflags: &str) -> Programs {
    let target = folder(name);
    let mut cargo = without_cargos(Command::new(env!("CARGO")));
    // With a target given, the options do not reach procedural macros and build scripts.
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/programs"));
    cargo.args(["build", "--quiet", "--locked", "--release", "--target", triple, "--target-dir"]);
    cargo.arg(&target).args(what);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags).env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    cargo.envs(linker.map(|linker| (linker_variable(triple), linker)));
    let output = cargo.output().expect("cargo");
    let built = output.status.success().then(|| target.join(triple).join("release"));
    built.ok_or_else(|| format!("the {name} programs were not built:\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn triple(c_library: &str) -> String {
    format!("{}-unknown-linux-{c_library}", std::env::consts::ARCH)
}

/// By which cargo is told what links for a target.
fn linker_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_LINKER", triple.replace('-', "_").to_uppercase())
}

/// Why nothing can be built for musl.
pub fn no_musl() -> Option<String> {
    no_target(&triple("musl"))
}

/// Why nothing can be built for this target.
pub fn no_target(triple: &str) -> Option<String> {
    let mut rustc = without_cargos(Command::new("rustc"));
    let said = rustc.args(["--print", "target-libdir", "--target", triple]).output();
    let folder = String::from_utf8_lossy(&said.map(|output| output.stdout).unwrap_or_default()).trim().to_owned();
    let there = !folder.is_empty() && Path::new(&folder).exists();
    (!there).then(|| format!("no {triple}: rustup target add {triple}"))
}

/// The command that is process 1 of a guest of this target. It needs a loader and a C library there: in one file with that it may be
/// longer than the jumps reach that the library has on RISC-V.
pub fn init_for(triple: &str, linker: &str) -> Programs {
    Ok(build_tool("invar-guest", "invar-guest", "init", Some((triple, linker)))?.join("debug/invar-guest"))
}

/// The command, without what cargo set for these tests.
fn without_cargos(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if (name.starts_with("CARGO") && name != "CARGO_HOME") || name == "RUSTFLAGS" {
            command.env_remove(&name);
        }
    }
    command
}
