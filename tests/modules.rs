//! Several modules in one process, each with its own copy of the runtime: a program and shared libraries, opened
//! or linked, in Rust or in C. Each is bound, and each key name has one verdict.

mod common;

use common::elf::Image;
use common::{ANYWHERE, Build, Tale, Temporary, bound_in_c, command, run, sites, tale, test, with_either_binder};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    type Case = (&'static str, Option<String>, fn());
    let either: [Case; 8] = [
        ("opened libraries adopt what was decided", ANYWHERE, opened_libraries_adopt_what_was_decided),
        ("linked libraries agree with the program", ANYWHERE, linked_libraries_agree_with_the_program),
        ("a key with other values fails, and harms nobody", ANYWHERE, a_key_with_other_values_fails),
        ("a key that proves something is probed in each module", sites(), a_key_that_proves_is_probed_in_each_module),
        ("a key that proves something adopts less than its probe says", sites(), a_key_that_proves_adopts_less),
        ("many libraries beside each other", sites(), many_libraries_beside_each_other),
        ("keys and sites in C are bound like those in Rust", sites(), keys_and_sites_in_c_are_bound),
        ("a library whose note a tool has moved is one like any other", sites(), a_library_with_a_moved_note),
    ];
    let either = either.into_iter().flat_map(|(name, missing, body)| with_either_binder(name, missing, body));
    run(either.chain([
        test("a library opened beside a thread is bound", sites(), a_library_opened_beside_a_thread_is_bound),
        test("sections of all modules are counted in one place", sites(), all_modules_count_in_one_place),
        test("opened and closed a thousand times", sites(), opened_and_closed_a_thousand_times),
        test("the time slice key of Rust and that of C are probed once", sites(), the_slice_key_is_probed_once),
        test("a library whose header is wrong is left alone", sites(), a_library_with_a_wrong_header),
        test("a probe that loads a library with its own key", ANYWHERE, a_probe_that_loads_its_own_key),
    ]))
}

fn plugin() -> PathBuf {
    Build::release().library("plugin")
}

fn rival() -> PathBuf {
    Build::release().library("rival")
}

/// The host, with both libraries opened in this order.
fn opened() -> Tale {
    tale(command(Build::release().program("host")).args([plugin(), rival()]))
}

/// In how many modules, and which, the probe of a key ran.
fn probed<'a>(tale: &'a Tale, key: &str) -> Vec<&'a str> {
    tale.probes.iter().filter(|(name, _)| name == key).map(|(_, module)| module.as_str()).collect()
}

fn all_modules_count_in_one_place() {
    let profile = Temporary::path("profile");
    let settings = [("INVAR_KEYS", "slice=force"), ("INVAR_SLICE", "profile")];
    let mut host = command(Build::release().program("host"));
    let tale = tale(host.args([plugin(), rival()]).envs(settings).env("INVAR_PROFILE", &profile.0));
    tale.assert_consistent();
    let program = tale.program().key("slice.counting");
    assert_eq!((&*program.value, &*program.origin), ("profile", "probe"));
    let plugins = tale.module("libplugin.so").key("slice.counting");
    assert_eq!((&plugins.value, &*plugins.origin, &plugins.evidence), (&program.value, "adopted", &program.evidence));

    // docs/profile.md: modules, threads, sites.
    let table = std::fs::read(&profile.0).unwrap();
    let number = |at: usize| u64::from_le_bytes(table[at..at + 8].try_into().unwrap());
    let modules: Vec<_> = (0..64).map(|at| 256 + 1024 * at).filter(|&at| number(at) != 0).collect();
    let name = |at: usize| String::from_utf8_lossy(&table[at + 16..at + 1024]).trim_end_matches('\0').to_owned();
    let in_plugin = |address| {
        let holds = |&&at: &&usize| (number(at)..number(at + 8)).contains(&address);
        modules.iter().find(holds).is_some_and(|&at| name(at).ends_with("libplugin.so"))
    };
    // Its one section; the others have none.
    let sites: Vec<_> = (0..1024).map(|at| 327_936 + 512 * at).filter(|&at| number(at) != 0).collect();
    let [site] = sites[..] else { panic!("{} sites", sites.len()) };
    assert!(in_plugin(number(site)), "{:?}", modules.iter().map(|&at| name(at)).collect::<Vec<_>>());
    assert_eq!((number(site + 8), number(65_792 + 16)), (1, 0));
    let requests: u64 = (0..1024).map(|at| number(65_792 + 256 * at + 16)).sum();
    assert_eq!(requests, 1);
}

fn assert_all_bound(tale: &Tale) {
    tale.assert_consistent();
    assert_eq!(tale.modules.len(), 3);
    tale.modules.iter().for_each(|module| module.assert_bound());
}

fn opened_libraries_adopt_what_was_decided() {
    let tale = opened();
    assert_all_bound(&tale);
    assert_eq!(probed(&tale, "shared.width"), ["host"]);
    let decided = tale.program().key("shared.width");
    assert_eq!((&*decided.origin, &*decided.evidence), ("probe", "host's"));
    for library in ["libplugin.so", "librival.so"] {
        let key = tale.module(library).key("shared.width");
        assert_eq!((&key.value, &*key.origin, &key.evidence), (&decided.value, "adopted", &decided.evidence));
        assert_eq!(tale.module(library).key("slice").origin, "adopted");
    }
}

fn linked_libraries_agree_with_the_program() {
    // Found by the path that they were linked by; the loader runs their constructors before the program's.
    let host = Build::release()
        .named("linked")
        .link_argument("-Wl,--no-as-needed")
        .link_argument(plugin().display())
        .link_argument(rival().display())
        .program("host");
    let needed = common::elf::needed(&std::fs::read(&host).unwrap());
    assert!(needed.iter().any(|name| name.ends_with("libplugin.so")), "{needed:?}");

    let tale = tale(command(host).args([plugin(), rival()]));
    assert_all_bound(&tale);
    let first = probed(&tale, "shared.width");
    // The binder in C begins with the program.
    assert!(if bound_in_c() { first == ["host"] } else { matches!(first[..], ["plugin" | "rival"]) }, "{first:?}");
    for key in ["shared.width", "slice"] {
        let decided: Vec<_> = tale.modules.iter().map(|module| module.key(key)).collect();
        assert_eq!(decided.iter().filter(|key| key.origin == "probe").count(), 1, "{decided:#?}");
        assert_eq!(decided.iter().filter(|key| key.origin == "adopted").count(), 2, "{decided:#?}");
        assert!(decided.iter().all(|key| (&key.value, &key.evidence) == (&decided[0].value, &decided[0].evidence)));
    }
    // Whichever comes first, what a module's own probe denies is not there for it.
    let proved = ["libplugin.so", "librival.so"].map(|library| &*tale.module(library).key("shared.proved").value);
    assert!(proved == ["on", "off"] || !bound_in_c() && proved == ["off", "off"], "{proved:?}");
    // Who comes second has other values.
    let disputed = ["libplugin.so", "librival.so"].map(|library| &*tale.module(library).key("shared.disputed").origin);
    assert!(matches!(disputed, ["probe", "failed"] | ["failed", "probe"]), "{disputed:?}");
}

/// The plugin with other bytes in its header, or where its note has the distance to that.
fn changed_plugin(change: impl FnOnce(&mut Vec<u8>, &Image)) -> Temporary {
    let image = Image::read(&plugin());
    let mut bytes = image.bytes.clone();
    change(&mut bytes, &image);
    Temporary::executable("plugin", &bytes)
}

/// As patchelf, auditwheel and conda do: those that come later find what it decided.
fn a_library_with_a_moved_note() {
    let moved = changed_plugin(|bytes, image| {
        let distance = i32::from_le_bytes(bytes[image.note.start..][..4].try_into().unwrap());
        bytes[image.note.start..][..4].copy_from_slice(&(distance - 0x3000).to_le_bytes());
    });
    let tale = tale(command(Build::release().program("host")).arg(&moved.0).arg(rival()));
    assert_all_bound(&tale);
    assert_eq!(probed(&tale, "shared.disputed"), ["plugin"], "its verdict was not found");
    assert_eq!(probed(&tale, "shared.width"), ["host"]);
    assert_eq!(tale.module("librival.so").key("shared.disputed").origin, "failed");
}

/// By others as by itself: they decide as if it were not there.
fn a_library_with_a_wrong_header() {
    for (at, new) in [(0, 0_u32), (8, 3), (12, 1), (16, 1), (20, 1 << 30), (28, 1 << 30), (36, 1 << 30)] {
        let wrong = changed_plugin(|bytes, image| {
            bytes[image.own.start + at..][..4].copy_from_slice(&new.to_le_bytes());
        });
        let tale = tale(command(Build::release().program("host")).arg(&wrong.0).arg(rival()));
        tale.assert_consistent();
        assert_eq!(tale.modules.len(), 2, "{at}");
        assert_eq!(probed(&tale, "shared.disputed"), ["rival"], "{at}");
        tale.program().assert_bound();
        tale.module("librival.so").assert_bound();
    }
}

fn a_key_with_other_values_fails() {
    let tale = opened();
    assert_eq!(probed(&tale, "shared.disputed"), ["plugin"]);
    let theirs = tale.module("libplugin.so").key("shared.disputed");
    assert_eq!((&*theirs.value, &*theirs.origin), ("on", "probe"));
    let ours = tale.module("librival.so").key("shared.disputed");
    assert_eq!((&*ours.value.to_lowercase(), &*ours.origin), ("unknown", "failed"));
    assert!(ours.evidence.contains("other values"), "{ours:?}");
}

fn a_key_that_proves_is_probed_in_each_module() {
    let tale = opened();
    assert_eq!(probed(&tale, "shared.proved"), ["plugin", "rival"]);
    // The second module's own probe says less than the first's verdict, and counts for itself.
    let values = ["libplugin.so", "librival.so"].map(|library| &*tale.module(library).key("shared.proved").value);
    assert_eq!(values, ["on", "off"]);
}

fn a_key_that_proves_adopts_less() {
    let tale = tale(command(Build::release().program("host")).args([rival(), plugin()]));
    tale.assert_consistent();
    assert_eq!(probed(&tale, "shared.proved"), ["rival", "plugin"]);
    // The second module's own probe says more than the first's verdict; one name has one value as far as that is safe.
    let decided = ["librival.so", "libplugin.so"].map(|library| tale.module(library).key("shared.proved"));
    assert_eq!(decided.map(|key| (&*key.value, &*key.origin)), [("off", "probe"), ("off", "adopted")]);
}

fn a_library_opened_beside_a_thread_is_bound() {
    let beside = |writer| {
        let mut host = command(Build::release().program("host"));
        tale(host.args(["--threads", "2"]).args([plugin(), rival()]).env("INVAR_WRITER", writer))
    };
    for writer in ["auto", "memfd", "mprotect"] {
        let tale = beside(writer);
        tale.assert_consistent();
        tale.program().assert_bound();
        for library in ["libplugin.so", "librival.so"] {
            let module = tale.module(library);
            if writer == "mprotect" {
                module.assert_checked();
                // What counts as a thread is no riddle.
                let says = ["io_uring", "emulator"].iter().all(|what| module.reason.contains(what));
                assert!(says && module.reason.ends_with("threads: 2"), "{}", module.reason);
            } else {
                module.assert_bound();
            }
            assert_eq!(module.key("shared.width").origin, "adopted", "keys are decided all the same");
        }
    }
}

fn opened_and_closed_a_thousand_times() {
    let small = Build::small().named("small-all").argument("--features").argument("all");
    let tale = tale(command(Build::release().program("host")).args(["--cycles", "1000"]).arg(small.library("small")));
    for (what, before, after) in &tale.held {
        assert_eq!(before, after, "{what} left behind");
    }
    assert_eq!(tale.held.len(), 2);
}

/// The library cannot wait for the verdict, so it has its own probe; and is the first to know.
fn a_probe_that_loads_its_own_key() {
    let tale = tale(command(Build::release().program("host")).arg(plugin()).env("HOST_LOADS", plugin()));
    tale.assert_consistent();
    assert_eq!(probed(&tale, "shared.reentered"), ["host", "plugin"]);
    let theirs = tale.module("libplugin.so").key("shared.reentered");
    assert_eq!((&*theirs.value, &*theirs.origin, &*theirs.evidence), ("on", "probe", "plugin's"));
    let ours = tale.program().key("shared.reentered");
    assert_eq!((&*ours.value, &*ours.origin, &*ours.evidence), ("on", "adopted", "plugin's"));
}

/// The loader keeps little thread-local memory for libraries that are opened later: none of it is ours.
fn many_libraries_beside_each_other() {
    const COPIES: usize = 60;
    let small = Build::small().named("small-all").argument("--features").argument("all").library("small");
    let small = std::fs::read(small).unwrap();
    let copies: Vec<_> = (0..COPIES).map(|_| Temporary::executable("library", &small)).collect();
    for slice in ["off", "force"] {
        let tale = tale(
            command(Build::release().program("host"))
                .arg("--silent")
                .args(copies.iter().map(|copy| &copy.0))
                .env("INVAR_KEYS", format!("slice={slice}")),
        );
        tale.assert_consistent();
        assert_eq!(tale.modules.len(), 1 + COPIES);
        for module in &tale.modules {
            module.assert_bound();
            assert_eq!(module.key("slice").value, if slice == "off" { "off" } else { "on" });
        }
        // A library's own thread-local memory is at another distance in each thread, so all use the area of libc.
        let enters = |module: &common::Module| -> Vec<Vec<u8>> {
            let sites = module.bindings.iter().filter_map(|binding| binding.site.as_ref());
            sites.filter(|site| site.kind == "slice enter").map(|site| site.bytes.clone()).collect()
        };
        let libraries = tale.modules.iter().filter(|module| !module.path.is_empty());
        let codes: std::collections::BTreeSet<_> = libraries.flat_map(enters).collect();
        assert_eq!(codes.len(), 1, "{codes:x?}");
    }
}

fn keys_and_sites_in_c_are_bound() {
    let tale = tale(&mut command(Build::release().program("foreign")));
    tale.assert_consistent();
    let module = tale.program();
    module.assert_bound();
    let of_key =
        |name: &str| module.bindings.iter().filter(|binding| binding.site.as_ref().unwrap().key == name).count();
    assert_eq!(["c.mode", "c.lost", "c.wild", "foreign.here", "c.many"].map(of_key), [2, 2, 1, 1, 9000]);
    let decided = |name| {
        let key = module.key(name);
        [&*key.value, &*key.origin, &*key.evidence]
    };
    assert_eq!(decided("c.mode"), ["some", "probe", "decided in C"]);
    assert_eq!(decided("c.lost"), ["off", "failed", "does not know"]);
    assert_eq!(decided("c.wild"), ["off", "failed", "the probe's value is none that the key has"]);
}

/// The kernel is asked, and an area registered, once for both.
fn the_slice_key_is_probed_once() {
    for settings in [&[][..], &[("INVAR_KEYS", "slice=force")]] {
        let tale = tale(command(Build::release().program("foreign")).envs(settings.iter().copied()));
        assert!(probed(&tale, "slice").is_empty(), "{:?}", tale.probes);
        tale.assert_consistent();
    }
}
