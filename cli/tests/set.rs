//! `invar set` on a real process that serves, and on others.

mod common;

use common::{HAS_SITES, INVAR, Waiting, command, invar, modules, needs, run, site_list, test};
use serde_json::Value;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let served = || needs("/proc/self/fd").or_else(|| needs("/proc/self/net/unix"));
    run([
        test("a switch is set, and set back", served(), a_switch_is_set_and_set_back),
        test("what is wrong is not set, for a reason", served(), what_is_wrong_is_not_set),
        test("who does not serve is not asked", served(), who_does_not_serve),
        test("nobody answers in the place of another process", served(), nobody_answers_for_another),
        test("nobody stands between", served(), nobody_stands_between),
    ])
}

fn serving() -> Waiting {
    let mut command = command(INVAR);
    command.args(["wait", "--serve"]);
    let process = Waiting::of(command);
    // It says that it is ready as soon as it has a thread that will serve.
    for _ in 0..1000 {
        let unix = std::fs::read_to_string(format!("/proc/{}/net/unix", process.pid())).unwrap();
        if unix.contains(&format!("@invar/{}/", process.pid())) {
            return process;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it does not serve");
}

/// Value and origin of the switch, and what its sites are.
fn switch(process: &Waiting) -> (String, String, Vec<String>) {
    let listed = invar(["sites", "--json", &process.pid()]).json();
    let keys = modules(&listed).iter().flat_map(|module| module["keys"].as_array().unwrap().clone());
    let key = keys.into_iter().find(|key| key["name"] == "tool.waiting").expect("the switch");
    assert_eq!(key["switch"], true);
    let sites = site_list(&listed).iter().filter(|site| site["key"] == "tool.waiting");
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    (word(&key["value"]), word(&key["origin"]), sites.map(|site| word(&site["status"])).collect())
}

fn a_switch_is_set_and_set_back() {
    let process = serving();
    let bound = vec!["bound".to_owned(); usize::from(HAS_SITES)];
    assert_eq!(switch(&process), ("off".into(), "probe".into(), bound.clone()));
    for value in ["on", "off", "off", "on"] {
        let text = invar(["set", &process.pid(), &format!("tool.waiting={value}")]).text();
        assert_eq!(text, format!("set: {} bound\n", if HAS_SITES { "1 site" } else { "0 sites" }));
        assert_eq!(switch(&process), (value.into(), "set".into(), bound.clone()));
        let verified = invar(["verify", &process.pid()]);
        assert_eq!(verified.code, 0, "{}", verified.out);
    }
    let document = invar(["set", "--json", &process.pid(), "tool.waiting=off"]).json();
    assert_eq!(
        (&document["schema"], &document["set"], &document["why"]),
        (&"invar.set/1".into(), &true.into(), &Value::Null)
    );
    assert_eq!((&document["bound"], &document["checked"]), (&u64::from(HAS_SITES).into(), &0.into()));
}

fn what_is_wrong_is_not_set() {
    let process = serving();
    for (setting, why) in [
        ("tool.waiting=loud", "not set: the switch has no such value\n"),
        ("tool.none=on", "not set: no such switch is decided\n"),
        ("cpu.avx2=off", "not set: the program does not allow it, or the request is none\n"),
    ] {
        let said = invar(["set", &process.pid(), setting, "tool.waiting=on"]);
        assert_eq!((&*said.out, said.code), (why, 1), "{setting}: {}", said.errors);
        assert_eq!(switch(&process).0, "off", "all of them are set, or none");
    }
    let document = invar(["set", "--json", &process.pid(), "tool.none=on"]);
    let document: Value = serde_json::from_str(&document.out).unwrap();
    assert_eq!((&document["set"], &document["bound"]), (&false.into(), &Value::Null));
    for setting in ["tool.waiting", "=on", "tool.waiting=", ""] {
        let why = invar(["set", &process.pid(), setting]).refusal();
        assert!(why.trim_end().ends_with("give NAME=VALUE"), "{why}");
    }
}

fn who_does_not_serve() {
    let process = Waiting::start(INVAR);
    let why = invar(["set", &process.pid(), "tool.waiting=on"]).refusal();
    assert!(why.trim_end().ends_with("lets nobody set its switches (invar::serve)"), "{why}");
    // A child has its parent's socket open, and is not the one that is asked by it.
    let name = format!("invar/{}/1", std::process::id() + 1);
    let _parents = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    let why = invar(["set", &std::process::id().to_string(), "tool.waiting=on"]).refusal();
    assert!(why.trim_end().ends_with("lets nobody set its switches (invar::serve)"), "{why}");
    assert!(invar(["set", "999999999", "a=b"]).refusal().contains("process 999999999"));
}

/// The kernel lists names of sockets as they are, with their ends of lines: anybody can have a line there.
fn listen(name: &str) -> UnixListener {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

fn nobody_answers_for_another() {
    let (theirs, ours) = UnixStream::pair().unwrap();
    let socket = std::fs::read_link(format!("/proc/self/fd/{}", theirs.as_raw_fd())).unwrap();
    let inode = socket.to_str().unwrap().trim_matches(|other: char| !other.is_ascii_digit()).to_owned();
    let mut process = Command::new("cat").stdin(OwnedFd::from(theirs)).spawn().unwrap();
    let name = format!("invar/{}/1", process.id());
    let listener = listen(&name);
    let _line = listen(&format!("\n0: 0 0 0 1 1 {inode} @{name}\n"));
    // Whoever asks may be gone by then.
    std::thread::spawn(move || listener.accept().map(|(mut stream, _)| stream.write_all(b"set 5 0")));
    let said = invar(["set", &process.id().to_string(), "tool.waiting=on"]);
    drop(ours);
    process.wait().unwrap();
    let why = said.refusal();
    assert!(why.trim_end().ends_with("another process has taken the name of its socket"), "{why}");
}

/// Wherever the kernel lists the lines that others have for the process's own socket.
fn nobody_stands_between() {
    let process = serving();
    let unix = std::fs::read_to_string(format!("/proc/{}/net/unix", process.pid())).unwrap();
    let begin = format!("invar/{}/", process.pid());
    let own = unix.lines().find(|line| line.contains(&begin)).unwrap();
    let inode = own.split_ascii_whitespace().nth(6).unwrap();
    let _others: Vec<_> = (0..64)
        .map(|number| {
            let name = format!("{begin}other-{number}");
            // Of every other name nobody is there.
            let listener = (number % 2 == 0).then(|| listen(&name));
            (listener, listen(&format!("{number}\n0: 0 0 0 1 1 {inode} @{name}\n")))
        })
        .collect();
    assert!(invar(["set", &process.pid(), "tool.waiting=on"]).text().starts_with("set: "));
}
