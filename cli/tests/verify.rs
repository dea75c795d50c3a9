//! `invar verify` on real processes: what explains a difference, and what does not.

mod common;

use common::{HAS_SITES, INVAR, Temporary, Waiting, command, invar, needs, run, site_list, sites, test};
use invar_abi::x86_64::bound;
use invar_abi::{Kind, Site, SiteRecord};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

fn main() -> ExitCode {
    let memory = || needs("/proc/self/mem").or_else(|| needs("/proc/self/smaps"));
    run([
        test("a process that was bound is explained", memory(), a_bound_process_is_explained),
        test("pages of memory that took the text's place are compared", sites(), other_pages_are_compared),
        test("a byte that nothing explains is listed", memory(), an_unexplained_byte_is_listed),
        test("a bound site explains its own bytes only", sites(), a_bound_site_explains_its_own_bytes_only),
        test("a form that is not its key's is listed", sites(), a_form_that_is_not_its_keys_is_listed),
        test("what is bound is what the manifest lets change", sites(), what_is_bound_is_in_the_manifest),
        test("a manifest of no sites is empty", needs("/bin/true"), a_manifest_of_no_sites_is_empty),
        test("tables that the process has changed explain nothing", sites(), changed_tables_explain_nothing),
        test("a program without sites is as its file", memory().or_else(|| needs("/bin/sh")), no_sites),
        test("a file that is gone is compared or named", memory(), a_file_that_is_gone),
        test("a file that was replaced explains nothing", memory(), a_replaced_file_explains_nothing),
        test("all processes are verified", memory(), all_processes_are_verified),
        test("memory of no file is counted", memory(), memory_of_no_file_is_counted),
        test("what is no process is refused", memory(), what_is_no_process_is_refused),
    ])
}

/// What was found of a process, and the exit code.
fn verified(process: &Waiting) -> (Value, i32) {
    let said = invar(["verify", "--json", &process.pid()]);
    assert_eq!(said.errors, "");
    let document: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(document["processes"].as_array().unwrap().len(), 1);
    (document["processes"][0].clone(), said.code)
}

fn list<'a>(of: &'a Value, field: &str) -> &'a Vec<Value> {
    of[field].as_array().unwrap_or_else(|| panic!("no {field} in {of:#}"))
}

/// The program's own file among those of the process.
fn own(verified: &Value) -> &Value {
    let files = list(verified, "files");
    files.iter().find(|file| file["path"].as_str().unwrap().contains("invar")).expect("its own file")
}

fn addresses(sites: &[Value], which: impl Fn(&Value) -> bool) -> Vec<&str> {
    let mut addresses: Vec<_> =
        sites.iter().filter(|site| which(site)).map(|site| site["address"].as_str().unwrap()).collect();
    addresses.sort_unstable();
    // A select has a record for each of its values.
    addresses.dedup();
    addresses
}

fn number(hex: &Value) -> u64 {
    u64::from_str_radix(hex.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

fn a_bound_process_is_explained() {
    let process = Waiting::start(INVAR);
    let (found, code) = verified(&process);
    assert_eq!(code, 0, "{found:#}");
    assert_eq!(found["changing"], false);
    // The kernel's own code in each process.
    assert!(found["without_file_bytes"].as_u64().unwrap() > 0);
    assert!(list(&found, "files").iter().all(|file| list(file, "unexplained").is_empty()), "{found:#}");

    let own = own(&found);
    let listed = invar(["sites", "--json", &process.pid()]).json();
    let bound = addresses(site_list(&listed), |site| site["status"] == "bound");
    assert_eq!(bound.is_empty(), !HAS_SITES);
    assert_eq!(addresses(list(own, "sites"), |_| true), bound);
    assert!(own["compared_bytes"].as_u64().unwrap() > 100_000, "{own:#}");
    // The pages with sites, and no others.
    let pages = list(own, "sites").iter().flat_map(|site| {
        let first = number(&site["address"]);
        [first, first + site["length"].as_u64().unwrap() - 1].map(|byte| byte >> 12)
    });
    assert_eq!(own["private_kib"], 4 * pages.collect::<BTreeSet<_>>().len(), "{own:#}");

    let text = invar(["verify", &process.pid()]).text();
    assert!(text.contains("0 unexplained"), "{text}");
    assert_eq!(text.contains("slice == "), HAS_SITES, "{text}");
}

fn other_pages_are_compared() {
    let mut waiting = command(INVAR);
    waiting.arg("wait").env("INVAR_WRITER", "memfd");
    let process = Waiting::of(waiting);
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.pid())).unwrap();
    assert!(maps.lines().any(|line| line.contains("r-xp") && line.contains("/memfd:")), "{maps}");
    let (found, code) = verified(&process);
    assert_eq!(code, 0, "{found:#}");
    let listed = invar(["sites", "--json", &process.pid()]).json();
    let bound = addresses(site_list(&listed), |site| site["status"] == "bound");
    assert_eq!(addresses(list(own(&found), "sites"), |_| true), bound);
    assert!(list(&found, "files").iter().all(|file| !file["path"].as_str().unwrap().contains("memfd")), "{found:#}");
    assert!(own(&found)["private_kib"].as_u64().unwrap() > 0);
}

/// Inverts a byte of a process's text, which is at this address in the file.
fn invert(process: &Waiting, base: u64, address: u64) {
    let memory = format!("/proc/{}/mem", process.pid());
    let memory = std::fs::File::options().read(true).write(true).open(memory).unwrap();
    let mut byte = [0];
    memory.read_exact_at(&mut byte, base + address).unwrap();
    memory.write_all_at(&[!byte[0]], base + address).unwrap();
}

/// Where the process waits for ever, nothing executes the start of its text.
fn start_of_text(process: &Waiting) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.pid())).unwrap();
    let text = maps.lines().find(|line| line.contains(" r-xp ") && line.contains("invar")).unwrap();
    u64::from_str_radix(text.split('-').next().unwrap(), 16).unwrap()
}

fn an_unexplained_byte_is_listed() {
    let process = Waiting::start(INVAR);
    let (before, _) = verified(&process);
    let base = number(&own(&before)["base"]);
    // In the middle of a page, and far from its last one.
    let address = start_of_text(&process) - base + 0x1234;
    invert(&process, base, address);
    let (found, code) = verified(&process);
    assert_eq!(code, 1, "{found:#}");
    let unexplained = list(own(&found), "unexplained");
    assert_eq!(unexplained.len(), 1, "{found:#}");
    assert_eq!((number(&unexplained[0]["address"]), &unexplained[0]["length"]), (address, &1.into()));
    assert_ne!(unexplained[0]["file"], unexplained[0]["memory"]);
    assert_eq!(own(&found)["sites"], own(&before)["sites"]);

    let said = invar(["verify", &process.pid()]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("1 unexplained"), "{}", said.out);
    assert!(said.out.contains(&format!("{address:#x}")), "{}", said.out);
}

fn a_bound_site_explains_its_own_bytes_only() {
    let process = Waiting::start(INVAR);
    let (before, _) = verified(&process);
    let site = list(own(&before), "sites").last().unwrap();
    let behind = number(&site["address"]) + site["length"].as_u64().unwrap();
    invert(&process, number(&own(&before)["base"]), behind);
    let (found, code) = verified(&process);
    let unexplained = list(own(&found), "unexplained");
    assert_eq!((code, unexplained.len()), (1, 1), "{found:#}");
    assert_eq!((number(&unexplained[0]["address"]), &unexplained[0]["length"]), (behind, &1.into()));
    assert_eq!(own(&found)["sites"], own(&before)["sites"]);
}

fn a_form_that_is_not_its_keys_is_listed() {
    let process = Waiting::start(INVAR);
    let (before, _) = verified(&process);
    let site = &list(own(&before), "sites")[0];
    let address = number(&site["address"]);
    // Its second byte, so that none of its forms stands there.
    invert(&process, number(&own(&before)["base"]), address + 1);
    let (found, code) = verified(&process);
    assert_eq!(code, 1, "{found:#}");
    let inside = |difference: &Value| (address..address + 16).contains(&number(&difference["address"]));
    assert!(list(own(&found), "unexplained").iter().any(inside), "{found:#}");
    assert!(!list(own(&found), "sites").contains(site));
}

/// A record and its site are changed to another form, which is right for each other and for the key.
fn changed_tables_explain_nothing() {
    let process = Waiting::start(INVAR);
    let listed = invar(["sites", "--json", &process.pid()]).json();
    let is_it = |site: &&Value| site["key"] == "invar.terminal";
    let site = site_list(&listed).iter().find(is_it).expect("a branch");
    let base = number(&listed["modules"][0]["base"]);
    let address = number(&site["address"]);

    let file = std::fs::read(INVAR).unwrap();
    let elf = goblin::elf::Elf::parse(&file).unwrap();
    let is_table =
        |section: &&goblin::elf::SectionHeader| elf.shdr_strtab.get_at(section.sh_name) == Some("invar2_sites");
    let table = elf.section_headers.iter().find(is_table).expect("the table").sh_addr;
    let record = base + table + site["index"].as_u64().unwrap() * SiteRecord::LENGTH as u64;
    let memory = std::fs::File::options().read(true).write(true).open(format!("/proc/{}/mem", process.pid())).unwrap();
    let mut bytes = [0; SiteRecord::LENGTH];
    memory.read_exact_at(&mut bytes, record).unwrap();
    let original = SiteRecord::decode(&bytes);
    let [from, target, state] = original.places(record);
    assert_eq!((from, original.value), (base + address, u8::from(site["value"] == "on")));

    // The key's value stays, so that the form for the other one must stand there.
    let value = original.value ^ 1;
    let length = original.length;
    let forged = Site { address: from, target, state, length, kind: Kind::Branch, value };
    let form = bound(&forged, u8::from(site["bound_to"] == "on"), 0).expect("a form");
    let at = (0..bytes.len()).find(|&at| {
        let mut changed = bytes;
        changed[at] ^= 1;
        SiteRecord::decode(&changed) == SiteRecord { value, ..original }
    });
    memory.write_all_at(&[bytes[at.expect("the value's byte")] ^ 1], record + at.unwrap() as u64).unwrap();
    memory.write_all_at(form.write_to(&mut [0; 16]), from).unwrap();

    // By the tables in memory all is right.
    let listed = invar(["sites", "--json", &process.pid()]).json();
    assert!(site_list(&listed).iter().all(|site| site["status"] == "bound"), "{listed:#}");
    let (found, code) = verified(&process);
    assert_eq!(code, 1, "{found:#}");
    let inside = |difference: &Value| (address..address + 16).contains(&number(&difference["address"]));
    assert!(list(own(&found), "unexplained").iter().any(inside), "{found:#}");
}

fn what_is_bound_is_in_the_manifest() {
    let manifest = invar(["sites", "--manifest", INVAR]).json();
    let file = std::fs::read(INVAR).unwrap();
    let entries = list(&manifest, "sites");
    assert_eq!(manifest["others"], 0);
    for entry in entries {
        let (offset, length) = (entry["offset"].as_u64().unwrap() as usize, entry["length"].as_u64().unwrap() as usize);
        assert_eq!(entry["old"], invar_tool::text::hex_bytes(&file[offset..offset + length]), "{entry:#}");
    }
    // Where a request byte is, only the process knows.
    for setting in ["slice=auto", "slice=force"] {
        let mut waiting = command(INVAR);
        waiting.arg("wait").env("INVAR_KEYS", setting);
        let process = Waiting::of(waiting);
        let listed = invar(["sites", "--json", &process.pid()]).json();
        for site in site_list(&listed) {
            assert_eq!(site["status"], "bound", "{site:#}");
            let here = entries.iter().filter(|entry| entry["address"] == site["address"]);
            let bytes = site["bytes"].as_str().unwrap();
            let is_there = |form: &&Value| {
                let lets = form["bytes"].as_str().unwrap();
                let same = lets.split(' ').zip(bytes.split(' ')).all(|(lets, is)| lets == "??" || lets == is);
                same && lets.len() == bytes.len()
            };
            // A constant is bound to a number, whatever the value.
            let lets = |form: &&Value| site["kind"] == "constant" || list(form, "values").contains(&site["bound_to"]);
            let form = here.flat_map(|entry| list(entry, "new")).find(|form| lets(form) && is_there(form));
            let form = form.unwrap_or_else(|| panic!("no form for the value: {site:#}"));
            let lets = form["bytes"].as_str().unwrap();
            let is_request = setting == "slice=force" && site["key"] == "slice";
            assert!(!is_request || lets.contains("?? ?? ?? ??") && !lets.contains("?? ?? ?? ?? ??"), "{form:#}");
        }
    }
}

fn a_manifest_of_no_sites_is_empty() {
    let manifest = invar(["sites", "--manifest", "/bin/true"]).json();
    assert_eq!((list(&manifest, "sites").len(), &manifest["others"]), (0, &0.into()));
    assert!(invar(["sites", "--manifest", "/dev/null"]).refusal().contains("not a regular file"));
    assert!(invar(["sites", "--manifest", "/nonexistent"]).refusal().contains("/nonexistent"));
}

fn no_sites() {
    let mut shell = command("/bin/sh");
    shell.args(["-c", "echo ready; read line"]);
    let process = Waiting::of(shell);
    let (found, code) = verified(&process);
    assert_eq!(code, 0, "{found:#}");
    assert!(list(&found, "files").iter().all(|file| list(file, "sites").is_empty()));
    assert!(list(&found, "files").iter().any(|file| file["compared_bytes"].as_u64().unwrap() > 0));
}

/// A privileged reader gets at it, and any other is told that it is gone.
fn a_file_that_is_gone() {
    let file = Temporary::link("invar-gone", INVAR);
    let process = Waiting::start(&file.0);
    drop(file);
    let (found, code) = verified(&process);
    let own = own(&found);
    match own["problem"].as_str() {
        None => assert_eq!((code, list(own, "sites").is_empty()), (0, !HAS_SITES), "{found:#}"),
        Some(why) => assert_eq!((code, why), (1, "the file has been deleted since")),
    }
}

fn a_replaced_file_explains_nothing() {
    let bytes = std::fs::read(INVAR).unwrap();
    let file = Temporary::new("invar-other", &bytes);
    let process = Waiting::start(&file.0);
    let (before, _) = verified(&process);
    std::fs::remove_file(&file.0).unwrap();
    let mut other = bytes;
    other.truncate(other.len() / 2);
    std::fs::write(&file.0, &other).unwrap();
    let (found, code) = verified(&process);
    match own(&found)["problem"].as_str() {
        // What is mapped is the file that was there first.
        None => assert_eq!((code, &own(&found)["sites"]), (0, &own(&before)["sites"]), "{found:#}"),
        Some(why) => assert_eq!((code, why), (1, "the file has been deleted since")),
    }
}

fn all_processes_are_verified() {
    let process = Waiting::start(INVAR);
    let said = invar(["verify", "--all", "--json"]);
    assert!(said.code <= 1, "{}", said.errors);
    let document: Value = serde_json::from_str(&said.out).expect("JSON");
    let processes = list(&document, "processes");
    let sum = |all: &[Value]| all.iter().filter_map(|one| one["private_kib"].as_u64()).sum::<u64>();
    assert_eq!(document["private_kib"], sum(processes));
    for process in processes.iter().filter(|process| !process["private_kib"].is_null()) {
        assert_eq!(process["private_kib"], sum(list(process, "files")));
    }
    let this = processes.iter().find(|found| found["process"] == process.0.id()).expect("the process");
    assert_eq!(list(own(this), "sites").is_empty(), !HAS_SITES);
    assert!(list(own(this), "unexplained").is_empty());
    assert!(processes.iter().any(|found| found["process"].as_u64() == Some(std::process::id().into())));
    let text = invar(["verify", "--all"]).out;
    assert!(
        text.lines().any(|line| line.contains(" processes: ") && line.contains(" KiB of text private, ")),
        "{text}"
    );

    // One of them is not as its file.
    let base = number(&own(this)["base"]);
    invert(&process, base, start_of_text(&process) - base + 0x1234);
    let said = invar(["verify", "--all", "--json"]);
    assert_eq!(said.code, 1, "{}", said.errors);
    let document: Value = serde_json::from_str(&said.out).expect("JSON");
    let this =
        list(&document, "processes").iter().find(|found| found["process"] == process.0.id()).expect("the process");
    assert_eq!(list(own(this), "unexplained").len(), 1, "{this:#}");
}

/// As compilers at run time have it: in this process.
fn memory_of_no_file_is_counted() {
    const LENGTH: usize = 1 << 24;
    let of_this = || {
        let said = invar(["verify", "--json", &std::process::id().to_string()]);
        serde_json::from_str::<Value>(&said.out).expect("JSON")["processes"][0].clone()
    };
    // SAFETY: new memory, at an address that the kernel chooses, which is given back.
    let found = unsafe {
        let file = libc::memfd_create(c"compiled".as_ptr(), libc::MFD_CLOEXEC);
        assert!(file >= 0 && libc::ftruncate(file, LENGTH as i64) == 0);
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        let memory = libc::mmap(std::ptr::null_mut(), LENGTH, protection, libc::MAP_SHARED, file, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        let found = of_this();
        assert_eq!((libc::munmap(memory, LENGTH), libc::close(file)), (0, 0));
        found
    };
    assert!(found["without_file_bytes"].as_u64().unwrap() >= LENGTH as u64, "{found:#}");
    assert!(list(&found, "files").iter().all(|file| file["problem"].is_null()), "{found:#}");
}

fn what_is_no_process_is_refused() {
    let mut ended = command("/bin/true").spawn().unwrap();
    ended.wait().unwrap();
    let pid = ended.id().to_string();
    assert!(invar(["verify", &pid]).refusal().starts_with(&format!("process {pid}: ")));
    for arguments in [&["verify"][..], &["verify", "x"], &["verify", "--all", "1"], &["verify", "-1"]] {
        let output = command(INVAR).args(arguments).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
    }
}
