//! How keys are decided: what probes may ask and do, one verdict for each name, and whose word is believed.

mod common;

use common::{ANYWHERE, Build, Key, Tale, Temporary, command, missing_tool, must, run, sites, tale, test};
use libtest_mimic::Trial;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

fn main() -> ExitCode {
    let mut tests = vec![
        test("keys that are asked for in a cycle fail, with their names", ANYWHERE, cycles_fail),
        test("a name is one key, and default names carry package and modules", ANYWHERE, names_are_one_key),
        test("probes may take locks, also where requests go nowhere", ANYWHERE, probes_may_lock),
        test("probes may start threads, enrol and print the report", ANYWHERE, probes_may_use_threads),
        test("a key that a thread decides too late fails, and its value stays", ANYWHERE, too_late_is_never),
    ];
    for (name, linker) in
        [("the default linker", ""), ("bfd", "bfd"), ("gold", "gold"), ("lld", "lld"), ("mold", "mold")]
    {
        let missing = Some(linker).filter(|linker| !linker.is_empty()).and_then(common::c::missing_linker);
        tests.push(test(&format!("probes may ask for other keys, and the command line: {name}"), missing, move || {
            probes_may_ask(linker);
        }));
    }
    tests.extend(foreign_verdicts());
    run(tests)
}

/// What the program says with these settings; without any, once for all.
fn probes(settings: &[(&str, &str)]) -> Tale {
    tale(command(Build::release().program("probes")).envs(settings.iter().copied()))
}

fn plain() -> &'static Tale {
    static TALE: OnceLock<Tale> = OnceLock::new();
    TALE.get_or_init(|| probes(&[]))
}

fn of(tale: &Tale, name: &str) -> Key {
    tale.program().key(name).clone()
}

fn probes_may_ask(linker: &str) {
    let build = match linker {
        "" => Build::debug(),
        linker => Build::release().named(linker).link_argument(format!("-fuse-ld={linker}")),
    };
    let tale = tale(command(build.program("probes")).args(["--on", "-v"]));
    tale.assert_consistent();
    tale.program().assert_bound();
    let first = of(&tale, "probes.asks.first");
    assert_eq!([&*first.value, &*first.origin, &*first.evidence], ["on", "probe", "second true, cpu true, slice true"]);
    for name in ["probes.asks.second", "probes.asks.third.third"] {
        assert_eq!(of(&tale, name).value, "on");
    }
    let arguments = of(&tale, "probes.arguments");
    assert_eq!([&*arguments.value, &*arguments.evidence], ["on", "--on;-v;"]);
}

fn cycles_fail() {
    let tale = plain();
    tale.assert_consistent();
    let names = |short: [&str; 2]| short.map(|name| format!("probes.cycle.{name}"));
    let said = |name: &str| {
        let key = of(tale, &format!("probes.cycle.{name}"));
        assert_eq!([&*key.value, &*key.origin], ["off", "failed"], "{key:?}");
        key.evidence
    };
    assert_eq!(said("alone"), "a cycle: its probe asks for it, or a signal's handler did meanwhile");
    for (key, [one, other]) in [("ping", ["ping", "pong"]), ("pong", ["pong", "ping"])] {
        let [one, other] = names([one, other]);
        assert_eq!(said(key), format!("a cycle: the probes of {one} and {other} ask for each other's keys"));
    }
    // Which of the three is asked first is the linker's choice; each names itself, and the one that was, or that asked it.
    for key in ["rock", "paper", "scissors"] {
        let said = said(key);
        let others = ["rock", "paper", "scissors"].into_iter().filter(|other| *other != key);
        let named = others.filter(|other| said.contains(&format!(" and probes.cycle.{other} "))).count();
        assert!(said.contains(&format!("probes.cycle.{key} and ")) && named == 1, "{key}: {said}");
    }
}

fn names_are_one_key() {
    let tale = plain();
    assert_eq!(of(tale, "probes.codec_a.fast").value, "on");
    assert_eq!(of(tale, "probes.codec_b.fast").value, "off");
    let choices = tale.choices();
    assert_eq!((choices["codec a"], choices["codec b"]), (1, 0));
    assert_eq!(choices["a agreed"], choices["b agreed"], "one name, one value");
    let agreed: Vec<_> = tale.program().keys.iter().filter(|key| key.name == "agreed.name").collect();
    let [agreed] = agreed[..] else { panic!("{agreed:?}") };
    if cfg!(target_arch = "x86_64") {
        assert_eq!(tale.results["proofs"], "false false", "a key that proves something takes a lower verdict");
    }
    assert_eq!(agreed.evidence, if agreed.value == "on" { "by a" } else { "by b" });
}

fn probes_may_lock() {
    for settings in
        [&[] as &[_], &[("INVAR_KEYS", "slice=force")], &[("INVAR_KEYS", "slice=force"), ("INVAR_SLICE", "count")]]
    {
        let tale = probes(settings);
        assert_eq!(of(&tale, "probes.a_lock").evidence, "nothing else written", "{settings:?}");
        // Four threads in a probe.
        assert_eq!(tale.results["locked"], "4");
    }
}

fn probes_may_use_threads() {
    for settings in [&[] as &[_], &[("INVAR_KEYS", "slice=force")]] {
        let tale = probes(settings);
        tale.program().assert_bound();
        for name in ["lock", "threads", "enrols", "reports"] {
            assert_eq!(
                tale.results[name],
                "true",
                "{name}: {:?}",
                of(&tale, &format!("probes.{name}").replace(".lock", ".a_lock"))
            );
        }
        assert_eq!(of(&tale, "probes.reports").evidence, "key probes.reports undecided: it is being decided");
    }
}

/// A thread that outlives the probe which started it has its key's probe wait until `main` has looked at the key.
fn too_late_is_never() {
    let tale = tale(&mut command(Build::release().program("straggler")));
    tale.assert_consistent();
    let seen = ["at first", "at last"].map(|when| &*tale.results[when]);
    assert_eq!(seen[0], seen[1], "the value changed");
    let keys = [of(&tale, "straggler.one"), of(&tale, "straggler.two")];
    let [Some(late), Some(first)] = ["off", "on"].map(|value| keys.iter().find(|key| key.value == value)) else {
        panic!("{keys:?}");
    };
    assert_eq!([&*first.origin, &*first.evidence], ["probe", ""]);
    assert_eq!(late.origin, "failed");
    assert_eq!(late.evidence, "decided by another thread, and not before all other keys of the module were");
    assert_eq!(tale.results["to the thread"], "false");
}

/// What a library says of a key of its own that has the name of one of `plugin`'s, and what `plugin` makes of it.
struct Foreign {
    what: &'static str,
    names: &'static str,
    flags: u8,
    value: u8,
    origin: u8,
    data: &'static str,
    /// Of which key of `plugin`'s.
    key: &'static str,
    /// Its value, if it is known here, origin, and what its evidence has in it.
    expected: (Option<&'static str>, &'static str, &'static str),
}

const SYMBOL: u8 = 4;

const WIDTH: Foreign = Foreign {
    what: "a verdict like any other",
    names: "shared.width\\0narrow\\0wide\\0widest",
    flags: 0,
    value: 2,
    origin: 0,
    data: "0",
    key: "shared.width",
    expected: (Some("widest"), "adopted", "said"),
};

fn foreign_verdicts() -> Vec<Trial> {
    const NONE: (Option<&str>, &str, &str) = (Some("narrow"), "failed", "another module's verdict is none");
    const SORT: (Option<&str>, &str, &str) = (Some("narrow"), "failed", "of this name and another sort");
    const SLICE: Foreign = Foreign { names: "slice\\0off\\0on", value: 1, key: "slice", ..WIDTH };
    // An area where libc's or our own could be, as far as the library can tell.
    let cases = [
        WIDTH,
        Foreign { what: "an origin that nobody knows", origin: 9, expected: NONE, ..WIDTH },
        Foreign { what: "a failure with a value", origin: 1, expected: NONE, ..WIDTH },
        Foreign { what: "forced, and not the time slice key", origin: 4, expected: NONE, ..WIDTH },
        Foreign { what: "a value beyond all", value: 3, expected: (Some("narrow"), "failed", "other values"), ..WIDTH },
        Foreign { what: "a key for slice sites", flags: 2, expected: SORT, ..WIDTH },
        Foreign {
            what: "a symbol's, which is another name",
            flags: SYMBOL,
            expected: (Some("wide"), "probe", ""),
            ..WIDTH
        },
        Foreign {
            what: "a key for slice sites that is not the time slice key",
            names: "shared.measured\\0off\\0on",
            flags: 2,
            value: 1,
            key: "shared.measured",
            expected: (Some("on"), "adopted", "said"),
            ..WIDTH
        },
        Foreign {
            what: "the runtime's own key by its flag, not by its name",
            flags: 16,
            expected: (Some("wide"), "probe", ""),
            ..WIDTH
        },
        Foreign { what: "a time slice key by its name alone", expected: (None, "probe", ""), ..SLICE },
        Foreign { what: "the same, for slice sites", flags: 2, expected: (None, "probe", ""), ..SLICE },
        Foreign {
            what: "a time slice key without an area",
            flags: 26,
            expected: (Some("off"), "failed", "no area"),
            ..SLICE
        },
        Foreign {
            what: "one with an area in libc's control block",
            flags: 26,
            data: "32",
            expected: (Some("off"), "failed", "no area"),
            ..SLICE
        },
        Foreign {
            what: "one with an area that is not aligned",
            flags: 26,
            data: "0xffffff81",
            expected: (Some("off"), "failed", "no area"),
            ..SLICE
        },
        Foreign {
            what: "one that is forced, to anywhere",
            flags: 26,
            origin: 4,
            data: "16",
            expected: (None, "", ""),
            ..SLICE
        },
    ];
    let missing = || sites().or_else(|| missing_tool("cc"));
    cases
        .into_iter()
        .map(|case| test(&format!("another module's word: {}", case.what), missing(), move || case.check()))
        .collect()
}

impl Foreign {
    fn check(&self) {
        let compiler = |source: &str, output: &Temporary, options: &[String]| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c");
            let words = ["-Wall", "-Wextra", "-Werror", "-O1"];
            must(
                Command::new("cc").args(words).arg(format!("{folder}/{source}")).args(options).arg("-o").arg(&output.0),
            );
        };
        let (sealed, opener) = (Temporary::path("sealed.so"), Temporary::path("opener"));
        let names = self.names.split("\\0").map(|name| name.len() + 1);
        let define = |name: &str, value: String| format!("-D{name}={value}");
        compiler(
            "sealed.c",
            &sealed,
            &[
                "-shared".into(),
                "-fPIC".into(),
                define("NAMES", format!("\"{}\"", self.names)),
                define("LENGTH", names.clone().sum::<usize>().to_string()),
                define("VALUES", (names.count() - 1).to_string()),
                define("FLAGS", self.flags.to_string()),
                define("VALUE", self.value.to_string()),
                define("ORIGIN", self.origin.to_string()),
                define("DATA", self.data.into()),
            ],
        );
        compiler("opener.c", &opener, &["-ldl".into()]);
        let plugin = Build::release().library("plugin");
        let run = |settings: &str| {
            let mut opener = command(&opener.0);
            tale(opener.arg(&sealed.0).arg(&plugin).env("PLUGIN_TELLS", "1").env("INVAR_KEYS", settings))
        };
        if self.flags == SYMBOL {
            // Whoever has the name beside the key's.
            let lowered = run("shared.width=narrow");
            assert_eq!((&*lowered.module("libplugin.so").key(self.key).value, &*lowered.errors), ("narrow", ""));
        }
        let tale = run("");
        tale.assert_consistent();
        assert_eq!(tale.results["plugin: section"], "2");
        assert_eq!(tale.results["plugin: nothing else is written"], "true");
        let module = tale.module("libplugin.so");
        module.assert_bound();
        let key = module.key(self.key);
        let (value, origin, evidence) = self.expected;
        assert!(value.is_none_or(|value| value == key.value.to_lowercase()), "{key:?}");
        assert!(origin.is_empty() || origin == key.origin, "{key:?}");
        assert!(key.evidence.contains(evidence), "{key:?}");
    }
}
