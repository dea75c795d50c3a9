//! `invar sites` on real files and processes.

mod common;

use common::{
    ANYWHERE, HAS_SITES, INVAR, Temporary, Waiting, command, invar, modules, needs, run, site_list, sites, test,
};
use invar_abi::x86_64::bound;
use invar_abi::{Kind, Site};
use invar_tool::file::Contents;
use invar_tool::module::Module;
use invar_tool::process::{Loaded, Process, Since};
use invar_tool::sites::{of_file, snapshot};
use invar_tool::text::Format;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::Ordering::Relaxed;

fn main() -> ExitCode {
    run([
        test("its own file has valid sites only", ANYWHERE, its_own_file_has_valid_sites_only),
        test("text and JSON agree", ANYWHERE, text_and_json_agree),
        test("a stripped file has the same sites", ANYWHERE, a_stripped_file_has_the_same_sites),
        test("a program without sites says so", needs("/bin/true"), a_program_without_sites_says_so),
        test("its own process is bound", needs("/proc/self/mem"), its_own_process_is_bound),
        test("a process that is told to stay checked is", sites(), a_process_that_is_told_to_stay_checked_is),
        test(
            "a process that the binder in C has bound is",
            sites().or_else(|| needs("/usr/bin/cc")),
            a_process_that_the_binder_in_c_has_bound_is,
        ),
        test("a forced slice shows the request byte", sites(), a_forced_slice_shows_the_request_byte),
        test("a process outlives its file", needs("/proc/self/mem"), a_process_outlives_its_file),
        test("a process outlives the replacement of its file", sites(), a_process_outlives_a_replacement),
        test("a process without sites says so", needs("/bin/sh"), a_process_without_sites_says_so),
        test("a file that is only read is not loaded", needs("/proc/self/mem"), a_file_that_is_only_read_is_not_loaded),
        test("a file with a bound form is bound", sites(), a_file_with_a_bound_form_is_bound),
        test("a form for another value is foreign", sites(), a_form_for_another_value_is_foreign),
        test("a breakpoint is foreign", sites(), a_breakpoint_is_foreign),
        test("tools are told where uprobes can be", sites(), tools_are_told_where_uprobes_can_be),
        test("pointers are listed, in a file and in a process", needs("/proc/self/mem"), pointers_are_listed),
        test("a number is a file if there is one", needs("/bin/true"), a_number_is_a_file_if_there_is_one),
        test("a process that starts is not judged too early", sites(), a_process_that_starts_is_not_judged_too_early),
        test("a process that is being bound is no snapshot", sites(), a_process_that_is_being_bound_is_no_snapshot),
        test("a change while it is read is noticed", needs("/proc/self/mem"), a_change_while_it_is_read_is_noticed),
        test("a process that ends meanwhile is refused", needs("/proc/self/mem"), a_process_that_ends_is_refused),
        test("a file that is cut off meanwhile is refused", ANYWHERE, a_file_that_is_cut_off_meanwhile_is_refused),
        test("a pipe that takes a file's place is refused", ANYWHERE, a_pipe_that_takes_a_files_place_is_refused),
        test("a file of eight terabytes of nothing is listed", ANYWHERE, a_file_of_nothing_is_listed),
        test("any path is shown as it is", needs("/proc/self/mem"), any_path_is_shown_as_it_is),
        test("what is no program is refused", ANYWHERE, what_is_no_program_is_refused),
        test("what is no process is refused", needs("/proc/self/maps"), what_is_no_process_is_refused),
    ])
}

fn its_own_file_has_valid_sites_only() {
    let document = invar(["sites", "--json", INVAR]).json();
    assert_eq!(document["schema"], "invar.sites/1");
    assert_eq!(document["file"], INVAR);
    let module = &document["modules"][0];
    assert_eq!(module["path"], INVAR);
    assert_eq!(module["outcome"]["loaded"], false);
    assert_eq!(module["invalid_keys"], Value::Array(vec![]));
    let names = module["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect::<Vec<_>>();
    assert!(names.contains(&"slice") && names.contains(&"invar.cpus") && names.contains(&"invar.terminal"));
    assert_eq!(names.contains(&"cpu.avx2"), cfg!(target_arch = "x86_64"));

    let list = site_list(&document);
    assert_eq!(list.is_empty(), !HAS_SITES);
    for site in list {
        assert_eq!(site["status"], "checked", "{site:#}");
        assert!(site["symbol"]["name"].is_string(), "{site:#}");
        let code = site["code"].as_array().unwrap();
        let key = site["key"].as_str().unwrap();
        let expected = match (site["kind"].as_str().unwrap(), site["relation"].as_str()) {
            ("constant", None) => vec![format!("mov eax, [{key}]")],
            ("select", Some("==")) => vec!["nop ".to_owned()],
            (_, Some(">=")) => vec![format!("cmp byte ptr [{key}], "), "jb 0x".to_owned()],
            _ => vec![format!("cmp byte ptr [{key}], "), "jne 0x".to_owned()],
        };
        assert_eq!(code.len(), expected.len(), "{site:#}");
        assert!(code.iter().zip(expected).all(|(code, begin)| code.as_str().unwrap().starts_with(&begin)), "{site:#}");
    }
    if HAS_SITES {
        for (kind, key, value) in [
            ("branch", "invar.cpus", Some("one")),
            ("branch", "invar.cpus", Some("few")),
            ("select", "invar.cpus", Some("one")),
            ("select", "invar.cpus", Some("many")),
            ("constant", "invar.spins", None),
            ("branch", "invar.terminal", Some("on")),
            ("branch", "cpu.avx2", Some("on")),
            ("slice enter", "slice", None),
            ("slice leave", "slice", None),
        ] {
            let is_it = |site: &&Value| site["kind"] == kind && site["key"] == key && site["value"].as_str() == value;
            assert!(list.iter().any(|site| is_it(&site)), "no {kind} {key}");
        }
    }
}

fn text_and_json_agree() {
    let text = invar(["sites", INVAR]).text();
    let document = invar(["sites", "--json", INVAR]).json();
    let list = site_list(&document);
    for site in list {
        let line = format!("  {:<10}", site["address"].as_str().unwrap());
        // A select has a record for each value.
        let records = list.iter().filter(|other| other["address"] == site["address"]).count();
        assert_eq!(text.lines().filter(|text| text.starts_with(&line)).count(), records, "{site:#}\n{text}");
    }
    // A name has a line of its own, and nothing else is long.
    let names = list.iter().map(|site| site["symbol"]["name"].as_str().unwrap()).collect::<Vec<_>>();
    for line in text.lines() {
        let is_name = names.iter().any(|name| line.trim_start().starts_with(name));
        assert!(is_name || line.chars().count() <= 100, "{line}");
        assert!(is_name || !names.iter().any(|name| line.contains(name)), "{line}");
    }
    let under = |heading: &str| {
        let lines = text.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.is_empty());
        lines.map(|line| line.split_whitespace().next().unwrap()).collect::<Vec<_>>()
    };
    let keys = document["modules"][0]["keys"].as_array().unwrap();
    let switches = keys.iter().filter(|key| key["switch"] == true).map(|key| key["name"].as_str().unwrap());
    assert_eq!(under("switches"), switches.collect::<Vec<_>>());
    assert!(!under("switches").is_empty() && under("keys").contains(&"invar.cpus"), "{text}");
    assert!(!under("keys").contains(&"tool.waiting"), "{text}");
    let tally = format!("\n{0} sites: {0} checked\n", list.len());
    assert_eq!(text.ends_with(&tally), HAS_SITES, "{text}");
    assert!(text.contains(&format!("{} site records, ", list.len())));
}

fn a_stripped_file_has_the_same_sites() {
    let mut bytes = std::fs::read(INVAR).unwrap();
    // e_shoff and e_shnum: no section headers at all.
    bytes[40..48].fill(0);
    bytes[60..62].fill(0);
    let stripped = Temporary::new("stripped", &bytes);
    let without_symbols = |path: &str| {
        let mut list = site_list(&invar(["sites", "--json", path]).json()).clone();
        list.iter_mut().for_each(|site| site["symbol"] = Value::Null);
        list
    };
    assert_eq!(without_symbols(stripped.path()), without_symbols(INVAR));
    assert!(site_list(&invar(["sites", "--json", stripped.path()]).json()).iter().all(|site| site["symbol"].is_null()));
}

fn a_program_without_sites_says_so() {
    assert_eq!(invar(["sites", "/bin/true"]).text(), "/bin/true: no sites\n");
    assert!(modules(&invar(["sites", "--json", "/bin/true"]).json()).is_empty());
}

fn its_own_process_is_bound() {
    let process = Waiting::start(INVAR);
    let document = invar(["sites", "--json", &process.pid()]).json();
    assert_eq!(document["process"].to_string(), process.pid());
    let module = &document["modules"][0];
    assert_ne!(module["base"], "0x0");
    assert_eq!(module["outcome"]["loaded"], true);
    // What is read from its memory is what the runtime itself reports.
    for built_in in invar(["probe", "--json"]).json()["keys"].as_array().unwrap() {
        let keys = module["keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["name"] == built_in["name"]).expect("the key");
        for field in ["value", "origin", "evidence"] {
            assert_eq!(key[field], built_in[field], "{key:#}");
        }
    }

    let in_memory = site_list(&document);
    let file = invar(["sites", "--json", INVAR]).json();
    let in_file = site_list(&file);
    assert_eq!(module["outcome"]["bound"], in_file.len());
    assert_eq!(in_memory.len(), in_file.len());
    for (now, before) in in_memory.iter().zip(in_file) {
        assert_eq!(now["status"], "bound", "{now:#}");
        for field in ["index", "address", "symbol", "kind", "key", "value", "length"] {
            assert_eq!(now[field], before[field], "{field} of {now:#}");
        }
        assert_ne!(now["bytes"], before["bytes"]);
        let key = module["keys"].as_array().unwrap().iter().find(|key| key["name"] == now["key"]).unwrap();
        let number = key["number"].as_u64().map(|number| Value::from(number.to_string()));
        assert_eq!(now["bound_to"], number.unwrap_or(key["value"].clone()));
        assert_eq!(now["kind"] == "constant", key["number"].is_u64(), "{now:#}");
    }
    let text = invar(["sites", &process.pid()]).text();
    let tally = format!("\n{0} sites: {0} bound\n", in_memory.len());
    assert_eq!(text.ends_with(&tally), HAS_SITES, "{text}");
}

invar::key! { #[name = "pointers.on"] static ON: bool = |_| Ok(true); }
fn one() -> u32 {
    1
}
fn two() -> u32 {
    2
}
invar::pointer! { #[name = "pointers.two"] static TWO: fn() -> u32 = { ON => two, _ => one }; }
invar::pointer! { #[name = "pointers.one"] static ONE: fn() -> u32 = { ON == false => two, _ => one }; }

/// Those of this program itself.
fn pointers_are_listed() {
    assert_eq!((TWO(), ONE()), (2, 1));
    let file = std::env::current_exe().unwrap();
    let list = |what: &str, bound: [&str; 2]| {
        let document = invar(["sites", "--json", what]).json();
        let sites: Vec<_> = site_list(&document).iter().filter(|site| site["kind"] == "pointer").collect();
        assert_eq!(sites.len(), 4, "{document:#}");
        for site in sites {
            let is_two = site["key"] == "pointers.two";
            assert_eq!((&site["length"], &site["uprobe"], &site["no_uprobe"]), (&8.into(), &Value::Null, &Value::Null));
            assert!(["one", "two"].contains(&site["value"].as_str().unwrap()), "{site:#}");
            let (status, why, to) = match bound[usize::from(is_two)] {
                "" => ("unverified", "the loader fills it in".into(), Value::Null),
                to => ("bound", Value::Null, to.into()),
            };
            assert_eq!((&site["status"], &site["why"], &site["bound_to"]), (&status.into(), &why, &to), "{site:#}");
        }
        invar(["sites", what]).text()
    };
    let text = list(file.to_str().unwrap(), ["", ""]);
    assert!(text.contains(" pointer pointers.two == two "), "{text}");
    let text = list(&std::process::id().to_string(), ["one", "two"]);
    assert!(text.contains("  bound to two\n"), "{text}");
    let manifest = invar(["sites", "--manifest", file.to_str().unwrap()]);
    if HAS_SITES {
        // They are no text, which tools would compare.
        assert_eq!(manifest.json()["others"], 4);
    }
}

fn a_process_that_is_told_to_stay_checked_is() {
    let mut told = command(INVAR);
    told.arg("wait").env("INVAR_WRITER", "off");
    let process = Waiting::of(told);
    let document = invar(["sites", "--json", &process.pid()]).json();
    assert_eq!(document["modules"][0]["outcome"]["reason"], "by setting");
    assert!(site_list(&document).iter().all(|site| site["status"] == "checked"), "{document:#}");
}

/// A program without a C library, which has not even a loader that would list its modules.
fn a_process_that_the_binder_in_c_has_bound_is() {
    let program = Temporary::unused("demo");
    let build = concat!(env!("CARGO_MANIFEST_DIR"), "/../capi/binder/demo/build");
    assert!(std::process::Command::new(build).arg(program.path()).status().expect("a shell").success());
    let records = site_list(&invar(["sites", "--json", program.path()]).json()).len();
    let process = Waiting::start(program.path());
    let document = invar(["sites", "--json", &process.pid()]).json();
    let module = &document["modules"][0];
    assert_eq!(
        (&module["outcome"]["loaded"], &module["outcome"]["bound"]),
        (&true.into(), &records.into()),
        "{module:#}"
    );
    assert_eq!(module["outcome"]["writers"][0], "swap", "{module:#}");
    let list = site_list(&document);
    assert_eq!((list.len(), records >= 4), (records, true));
    assert!(list.iter().all(|site| site["status"] == "bound"), "{module:#}");
    assert_eq!(
        (&module["keys"][0]["name"], &module["keys"][0]["origin"]),
        (&"slice".into(), &"probe".into()),
        "{module:#}"
    );
}

fn a_forced_slice_shows_the_request_byte() {
    let mut forced = command(INVAR);
    forced.arg("wait").env("INVAR_KEYS", "slice=force");
    let process = Waiting::of(forced);
    let document = invar(["sites", "--json", &process.pid()]).json();
    let keys = document["modules"][0]["keys"].as_array().unwrap();
    assert_eq!(keys.iter().find(|key| key["name"] == "slice").unwrap()["origin"], "forced");
    for (kind, store, jump) in [
        ("slice enter", "mov byte ptr fs:[request], 1", None),
        ("slice leave", "shr byte ptr fs:[request], 1", Some("jnc 0x")),
    ] {
        let site = site_list(&document).iter().find(|site| site["kind"] == kind && site["key"] == "slice").unwrap();
        assert_eq!((&site["status"], &site["bound_to"]), (&"bound".into(), &"on".into()));
        assert_eq!(site["code"][0], store);
        let starts = |jump| site["code"][1].as_str().is_some_and(|code| code.starts_with(jump));
        assert!(jump.is_none_or(starts), "{site:#}");
    }
}

fn a_process_outlives_its_file() {
    let file = Temporary::link("deleted", INVAR);
    let process = Waiting::start(&file.0);
    drop(file);
    let document = invar(["sites", "--json", &process.pid()]).json();
    assert_named_or_explained(&document, "deleted");
}

fn a_process_outlives_a_replacement() {
    let file = Temporary::link("replaced", INVAR);
    let process = Waiting::start(&file.0);
    std::fs::remove_file(&file.0).unwrap();
    std::fs::write(&file.0, "another file").unwrap();
    let document = invar(["sites", "--json", &process.pid()]).json();
    assert_named_or_explained(&document, "deleted");
}

/// A privileged reader gets at a deleted file, and any other is told why no function has a name.
fn assert_named_or_explained(document: &Value, why: &str) {
    let list = site_list(document);
    assert_eq!(list.is_empty(), !HAS_SITES);
    assert!(list.iter().all(|site| site["status"] == "bound"), "{document:#}");
    let named = list.iter().all(|site| site["symbol"].is_object());
    let remarks = document["modules"][0]["remarks"].to_string();
    assert!(named || remarks.contains(why), "{document:#}");
}

fn a_process_without_sites_says_so() {
    let mut shell = command("/bin/sh");
    shell.args(["-c", "echo ready; read line"]);
    let process = Waiting::of(shell);
    let text = invar(["sites", &process.pid()]).text();
    assert!(text.starts_with(&format!("process {}: no sites in ", process.pid())), "{text}");
    assert!(!text.contains(" in 0 "), "{text}");
    assert!(modules(&invar(["sites", "--json", &process.pid()]).json()).is_empty());
}

fn a_file_that_is_only_read_is_not_loaded() {
    let file = std::fs::File::open(INVAR).unwrap();
    // SAFETY: never looked at.
    let _mapped = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    let document = invar(["sites", "--json", &std::process::id().to_string()]).json();
    let paths = modules(&document).iter().map(|module| module["path"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(paths, [std::env::current_exe().unwrap().to_str().unwrap()]);
}

fn a_file_with_a_bound_form_is_bound() {
    let process = Waiting::start(INVAR);
    let document = invar(["sites", "--json", &process.pid()]).json();
    let mut file = std::fs::read(INVAR).unwrap();
    for site in site_list(&document) {
        write_at_site(&mut file, site, &bytes_of(site));
    }
    let patched = Temporary::new("patched", &file);
    let listed = invar(["sites", "--json", patched.path()]).json();
    for (in_file, in_memory) in site_list(&listed).iter().zip(site_list(&document)) {
        // Where a slice is available, the file does not tell where the request byte is.
        let is_request = in_memory["code"].to_string().contains("request");
        // Nor what a constant is to be, nor by which of a select's records it is bound.
        let is_unknown = in_memory["kind"] == "constant"
            || in_memory["kind"] == "select" && in_memory["value"] != in_memory["bound_to"];
        let status = if is_request || is_unknown { "unverified" } else { "bound" };
        assert_eq!(in_file["status"], status, "{in_file:#}");
        let is_high = in_memory["key"] == "invar.cpus" && in_memory["bound_to"] != "one";
        if is_unknown {
            assert!(in_file["bound_to"].is_null());
        } else if in_memory["relation"] == ">=" {
            assert_eq!(in_file["bound_to"], if is_high { "at least few" } else { "below few" });
        } else if is_high && in_memory["kind"] == "branch" {
            assert_eq!(in_file["bound_to"], "not one");
        } else if !is_request {
            assert_eq!(in_file["bound_to"], in_memory["bound_to"]);
        }
    }
}

fn a_form_for_another_value_is_foreign() {
    let document = invar(["sites", "--json", INVAR]).json();
    let is_it = |site: &&Value| site["key"] == "invar.terminal";
    let site = site_list(&document).iter().find(is_it).expect("a branch");
    // What falls through where standard output is a terminal; here it is a pipe.
    let length = site["length"].as_u64().unwrap() as u8;
    let branch = Site { address: 0, target: 0, state: 0, length, kind: Kind::Branch, value: 1 };
    let mut file = std::fs::read(INVAR).unwrap();
    write_at_site(&mut file, site, bound(&branch, 1, 0).expect("a nop").write_to(&mut [0; 16]));
    let patched = Temporary::new("other-value", &file);

    let in_file = invar(["sites", "--json", patched.path()]).json();
    let site = site_list(&in_file).iter().find(is_it).unwrap();
    assert_eq!((&site["status"], &site["bound_to"]), (&"bound".into(), &"on".into()));
    let process = Waiting::start(&patched.0);
    let in_memory = invar(["sites", "--json", &process.pid()]).json();
    let site = site_list(&in_memory).iter().find(is_it).unwrap();
    assert_eq!((&site["status"], &site["why"]), (&"foreign".into(), &"bound, and not to its key's value".into()));
}

fn a_breakpoint_is_foreign() {
    let document = invar(["sites", "--json", INVAR]).json();
    let mut file = std::fs::read(INVAR).unwrap();
    let site = &site_list(&document)[0];
    write_at_site(&mut file, site, &[0xcc]);
    let patched = Temporary::new("breakpoint", &file);
    let listed = invar(["sites", "--json", patched.path()]).json();
    let statuses = site_list(&listed).iter().map(|site| site["status"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(statuses[0], "foreign");
    assert!(statuses[1..].iter().all(|status| *status == "checked"));
    assert!(invar(["sites", patched.path()]).text().contains(", 1 foreign\n"));
}

/// On the first instruction of each site that can be judged, and not on the last of one that is bound or may be.
fn tools_are_told_where_uprobes_can_be() {
    const LEGEND: &str = "never on the last one of a site that is bound or may be";
    let places = |site: &Value| ["address", "uprobe", "no_uprobe"].map(|field| number(&site[field]));
    // Where the last instruction stands, by the instructions that are shown.
    let last_of = |site: &Value| {
        let code = site["code"].as_array().unwrap();
        let bytes = bytes_of(site);
        let decoder = iced_x86::Decoder::with_ip(64, &bytes, number(&site["address"]).unwrap(), 0);
        let starts: Vec<_> = decoder.into_iter().map(|instruction| instruction.ip()).collect();
        assert_eq!(starts.len(), code.len(), "{site:#}");
        *starts.last().unwrap()
    };
    let assert_marked = |document: &Value, may_be_bound: bool| {
        for site in site_list(document) {
            let [address, uprobe, no_uprobe] = places(site);
            assert_eq!(uprobe, address, "{site:#}");
            // The others have one instruction in checked form.
            let has_two = site["kind"] != "select" && site["kind"] != "constant";
            assert_eq!(no_uprobe, (may_be_bound && has_two).then(|| last_of(site)), "{site:#}");
        }
    };
    let file = invar(["sites", "--json", INVAR]).json();
    assert_marked(&file, true);
    assert!(invar(["sites", INVAR]).text().replace("\n  ", " ").contains(LEGEND));
    // The kinds have it at different places.
    let distances = site_list(&file).iter().map(|site| last_of(site) - number(&site["address"]).unwrap());
    assert_eq!(distances.collect::<std::collections::BTreeSet<_>>(), [0, 8, 9, 10].into());

    for (setting, value, bound) in [("INVAR_KEYS", "slice=force", true), ("INVAR_WRITER", "off", false)] {
        let mut waiting = command(INVAR);
        waiting.arg("wait").env(setting, value);
        let process = Waiting::of(waiting);
        assert_marked(&invar(["sites", "--json", &process.pid()]).json(), bound);
    }

    // Nobody knows what somebody else has written there.
    let mut bytes = std::fs::read(INVAR).unwrap();
    write_at_site(&mut bytes, &site_list(&file)[0], &[0xcc]);
    let foreign = Temporary::new("unknown", &bytes);
    let document = invar(["sites", "--json", foreign.path()]).json();
    assert_eq!(places(&site_list(&document)[0])[1..], [None, None]);
}

/// What a string in hexadecimal says; nothing if there is none.
fn number(text: &Value) -> Option<u64> {
    text.as_str().map(|text| u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap())
}

fn bytes_of(site: &Value) -> Vec<u8> {
    let bytes = site["bytes"].as_str().unwrap().split(' ');
    bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// Writes over a site in a file, which must be found by its own bytes there.
fn write_at_site(file: &mut [u8], site: &Value, bytes: &[u8]) {
    let address = u64::from_str_radix(&site["address"].as_str().unwrap()[2..], 16).unwrap();
    let elf = goblin::elf::Elf::parse(file).unwrap();
    let load =
        elf.program_headers.iter().find(|load| load.is_executable() && load.vm_range().contains(&(address as usize)));
    let load = load.expect("a segment");
    let offset = (address - load.p_vaddr + load.p_offset) as usize;
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn a_number_is_a_file_if_there_is_one() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("numbers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy("/bin/true", folder.join("1")).unwrap();
    let output = command(INVAR).args(["sites", "1"]).current_dir(&folder).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1: no sites\n");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A program that stops in its constructor, before anything is decided: it has help to print, and no room for it.
fn a_process_that_starts_is_not_judged_too_early() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: a system call on numbers.
    let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
    writer.write_all(&vec![0; size as usize]).unwrap();
    let mut starting = command(INVAR);
    starting.env("INVAR_HELP", "1").arg("--version").stdout(Stdio::null()).stderr(writer);
    let mut child = starting.spawn().unwrap();
    drop(starting);
    let document = loop {
        let document = invar(["sites", "--json", &child.id().to_string()]).json();
        // Before it is the program, and while the loader is at it, it may have no module.
        if modules(&document).iter().any(|module| module["path"] == INVAR) {
            break document;
        }
    };
    let module = &document["modules"][0];
    assert_eq!(module["outcome"]["loaded"], false);
    assert!(module["remarks"][0].as_str().unwrap().starts_with("its constructor has not run"), "{document:#}");
    assert!(site_list(&document).iter().all(|site| site["status"] == "checked"), "{document:#}");
    drop(reader);
    child.wait().unwrap();
}

/// The process that waits, and its memory, writable.
fn opened(process: &Waiting) -> (Process, std::fs::File) {
    let memory = format!("/proc/{}/mem", process.pid());
    let memory = std::fs::File::options().write(true).open(memory).unwrap();
    (Process::open(process.0.id()).unwrap(), memory)
}

/// The addresses of what the runtime writes in this command's own module: the outcome, and the state of each key.
fn variables(process: &Process) -> (u64, Vec<u64>) {
    let loaded = process.loaded();
    let with_note = loaded.iter().filter_map(|loaded| {
        let module = Module::read(process.memory(), loaded.base, &loaded.headers).unwrap()?;
        Some((loaded, module))
    });
    let (loaded, module) = with_note.into_iter().next().expect("a module");
    let file = std::fs::read(INVAR).unwrap();
    let owner = b"\x06\0\0\0\x08\0\0\0\x02\0\0\0invar\0";
    let note = file.windows(owner.len()).step_by(4).position(|bytes| bytes == owner).expect("the note") * 4;
    // In the first segment, where offsets are addresses.
    assert!(loaded.headers.loads().next().is_some_and(|load| load.p_vaddr == 0 && (note as u64) < load.p_filesz));
    let leads_to = |field: u64| {
        let mut distance = [0; 4];
        assert!(process.memory().read(field, &mut distance));
        field.wrapping_add_signed(i32::from_le_bytes(distance).into())
    };
    // The note leads to the header, and that to the outcome.
    let outcome = leads_to(leads_to(loaded.base + note as u64 + 20) + 36);
    (outcome, module.keys.iter().map(|key| key.state).collect())
}

fn a_process_that_is_being_bound_is_no_snapshot() {
    let mut forced = command(INVAR);
    forced.arg("wait").env("INVAR_KEYS", "slice=force");
    let child = Waiting::of(forced);
    let (process, memory) = opened(&child);
    let (outcome, states) = variables(&process);
    assert!(snapshot(&process, Format::Json).unwrap().is_some());

    // Everything decided and written, but the constructor not at its end.
    memory.write_all_at(&[0], outcome).unwrap();
    assert_eq!(snapshot(&process, Format::Json).unwrap(), None);
    let document = invar(["sites", "--json", &child.pid()]).json();
    let remarks = &document["modules"][0]["remarks"];
    assert_eq!(remarks[0], "the process was changing while it was read: this is no snapshot");
    assert!(remarks[1].as_str().unwrap().starts_with("its constructor is running"));
    assert!(site_list(&document).iter().all(|site| site["status"] == "bound"), "{document:#}");

    // What a reader sees who asks for keys and outcome before binding, and for the code after it.
    memory.write_all_at(&[0; 32], outcome).unwrap();
    states.iter().for_each(|&state| memory.write_all_at(&[0; 256], state).unwrap());
    let text = invar(["sites", &child.pid()]).text();
    assert!(text.contains("\n  its constructor has not run: "), "{text}");
    let document = invar(["sites", "--json", &child.pid()]).json();
    for site in site_list(&document) {
        let is_request = site["code"].to_string().contains(" fs:[");
        // One of a select's records tells where it goes.
        let may_be_unknown = site["kind"] == "constant" || site["kind"] == "select";
        let is_unknown = site["status"] == "unverified";
        assert!(
            if may_be_unknown { is_unknown || site["kind"] == "select" } else { is_unknown == is_request },
            "{site:#}"
        );
        assert!(is_unknown || site["status"] == "bound", "{site:#}");
        assert_eq!(site["why"].is_string(), is_unknown);
    }
    assert!(site_list(&document).iter().any(|site| site["status"] == "unverified"));
}

fn a_change_while_it_is_read_is_noticed() {
    let child = Waiting::start(INVAR);
    let (process, memory) = opened(&child);
    let (outcome, states) = variables(&process);
    let loaded = process.loaded();
    let read = |loaded: &'_ Loaded| Module::read(process.memory(), loaded.base, &loaded.headers).unwrap();
    let module = loaded.iter().find_map(read).unwrap();
    assert!(module.is_as_read());
    // The number of bound sites; a key's value.
    for address in [outcome + 8, states[0], states[states.len() - 1]] {
        let mut byte = [0];
        assert!(process.memory().read(address, &mut byte));
        memory.write_all_at(&[byte[0] ^ 1], address).unwrap();
        assert!(!module.is_as_read());
        memory.write_all_at(&byte, address).unwrap();
        assert!(module.is_as_read());
    }
    assert_eq!(process.since(), Since::Same);
    assert!(!process.memory().read(0, &mut [0]));
    assert_eq!(process.since(), Since::Changed);
}

fn a_process_that_ends_is_refused() {
    let child = Waiting::start(INVAR);
    let process = Process::open(child.0.id()).unwrap();
    let refusal = format!("process {}: it ended while it was read", child.pid());
    drop(child);
    for format in [Format::Text, Format::Json] {
        assert_eq!(snapshot(&process, format).unwrap_err().to_string(), refusal);
    }
}

fn a_file_that_is_cut_off_meanwhile_is_refused() {
    let file = Temporary::new("cut-off", &std::fs::read(INVAR).unwrap());
    let contents = Contents::open(&file.0).unwrap();
    let list = || of_file(&file.0, &contents, Format::Text, &mut std::io::sink());
    assert!(list().is_ok());
    for (length, why) in [(5000, "is cut off"), (40, "the ELF header is cut off"), (0, "not an ELF file")] {
        std::fs::File::options().write(true).open(&file.0).unwrap().set_len(length).unwrap();
        let error = list().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// Would hang, as often as not, if it opened what it must not wait for.
fn a_pipe_that_takes_a_files_place_is_refused() {
    let path = |name: &str| Temporary::new(name, b"no ELF file");
    let (file, pipe, place) = (path("swap-file"), path("swap-pipe"), path("swap-place"));
    std::fs::remove_file(&pipe.0).unwrap();
    let name = std::ffi::CString::new(pipe.path()).unwrap();
    // SAFETY: a path that ends in NUL.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    assert!(invar(["sites", pipe.path()]).refusal().ends_with(": not a regular file"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let turn = place.0.with_added_extension("turn");
            while !done.load(Relaxed) {
                for thing in [&pipe, &file] {
                    std::fs::hard_link(&thing.0, &turn).unwrap();
                    std::fs::rename(&turn, &place.0).unwrap();
                }
            }
        });
        for _ in 0..3000 {
            if let Err(error) = Contents::open(&place.0) {
                assert!(error.to_string().ends_with(": not a regular file"), "{error}");
            }
        }
        done.store(true, Relaxed);
    });
}

fn a_file_of_nothing_is_listed() {
    let file = Temporary::new("nothing", &std::fs::read(INVAR).unwrap());
    let length = [8 << 40, 1 << 40, 1 << 30]
        .into_iter()
        .find(|&length| std::fs::File::options().write(true).open(&file.0).unwrap().set_len(length).is_ok());
    length.expect("a file with a hole");
    assert_eq!(site_list(&invar(["sites", "--json", file.path()]).json()).is_empty(), !HAS_SITES);
}

fn any_path_is_shown_as_it_is() {
    let file = Temporary::link("a\nb\\c\u{202e}", INVAR);
    let process = Waiting::start(&file.0);
    let document = invar(["sites", "--json", file.path()]).json();
    assert_eq!((&document["file"], &document["modules"][0]["path"]), (&file.path().into(), &file.path().into()));
    let document = invar(["sites", "--json", &process.pid()]).json();
    assert_eq!(document["modules"][0]["path"], file.path());
    let text = invar(["sites", &process.pid()]).text();
    assert!(text.lines().next().unwrap().contains("a\\nb\\c\\u{202e}"), "{text}");

    let path = OsStr::from_bytes(b"/nowhere/\xff\x1b");
    let output = command(INVAR).arg("sites").arg(path).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.starts_with("invar: /nowhere/\u{fffd}\\u{1b}: "), "{errors}");
}

fn what_is_no_program_is_refused() {
    assert!(invar(["sites", "/nowhere/at/all"]).refusal().starts_with("/nowhere/at/all: No such file"));
    assert!(invar(["sites", env!("CARGO_TARGET_TMPDIR")]).refusal().ends_with(": not a regular file"));
    assert!(invar(["sites", "/dev/zero"]).refusal().ends_with(": not a regular file"));
    assert!(
        invar(["sites", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]).refusal().ends_with(": not an ELF file")
    );
    let empty = Temporary::new("empty", b"");
    assert!(invar(["sites", empty.path()]).refusal().ends_with(": the file is empty"));
    assert!(invar(["sites", ""]).refusal().starts_with("\"\": No such file"));
    // A name that would speak to the terminal.
    assert!(invar(["sites", "a\u{1b}[2Jb"]).refusal().starts_with("a\\u{1b}[2Jb: "));
}

fn what_is_no_process_is_refused() {
    assert!(invar(["sites", "999999999"]).refusal().ends_with(": there is no such process"));
    assert!(invar(["sites", "0"]).refusal().ends_with(": there is no such process"));
    assert!(invar(["sites", "99999999999999999999"]).refusal().ends_with("neither a file nor the number of a process"));
    let mut ended = command(INVAR).arg("--version").stdout(Stdio::piped()).spawn().unwrap();
    // It has written all it will, and nobody has asked how it ended.
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut ended.stdout.take().unwrap(), &mut rest).unwrap();
    while std::fs::read(format!("/proc/{}/maps", ended.id())).is_ok_and(|maps| !maps.is_empty()) {}
    let refusal = invar(["sites", &ended.id().to_string()]).refusal();
    assert!(refusal.contains("it has ended") || refusal.contains("no such process"), "{refusal}");
    ended.wait().unwrap();
}
