//! `invar sites` on a program that tools have changed after it was linked, in its file and as a process: the same keys and
//! sites, or why not. tests/rewriters.rs has what becomes of the program.

mod common;
#[path = "../../tests/common/rewrite.rs"]
#[allow(dead_code, unreachable_pub)] // what is for libraries alone
mod rewrite;

use common::{INVAR, Temporary, Waiting, command, invar, modules, run, site_list, sites, test};
use libtest_mimic::Trial;
use rewrite::Rewriter;
use serde_json::Value;
use std::process::ExitCode;

fn main() -> ExitCode {
    let rewriters = rewrite::any(rewrite::NEW_RPATH).into_iter().chain(rewrite::programs()).chain([rewrite::upx("-1")]);
    // The command has no search path in which a prefix could stand.
    run(rewriters
        .filter(|rewriter| rewriter.name != rewrite::OTHER_PREFIX)
        .map(|rewriter| {
            let missing = sites().or_else(|| rewriter.missing.clone());
            let name = rewriter.name.clone();
            let compressed = name == "upx";
            test(&name, missing, move || if compressed { as_a_process(&rewriter) } else { as_both(&rewriter) })
        })
        .collect::<Vec<Trial>>())
}

/// The file itself says what it said, and so does a process of it.
fn as_both(rewriter: &Rewriter) {
    let copy = changed(rewriter);
    let said = invar(["sites", "--json", copy.path()]);
    match said.code {
        0 => {
            let document = said.json();
            if !(rewriter.hides && modules(&document).is_empty()) {
                assert_same(site_list(&document), &linked());
            }
        }
        _ => assert_reason(&said.refusal()),
    }
    look_at_the_process(&copy, rewriter);
}

/// The file has neither tables nor code, as long as it is compressed.
fn as_a_process(rewriter: &Rewriter) {
    let copy = changed(rewriter);
    assert!(modules(&invar(["sites", "--json", copy.path()]).json()).is_empty());
    look_at_the_process(&copy, rewriter);
}

fn look_at_the_process(copy: &Temporary, rewriter: &Rewriter) {
    let mut required = command(&copy.0);
    required.arg("wait").env("INVAR", "require").env("INVAR_KEYS", "slice=force");
    let process = Waiting::of(required);
    let document = invar(["sites", "--json", &process.pid()]).json();
    let Some(module) = modules(&document).first() else {
        return assert!(rewriter.hides, "a process without a module, and nothing said: {document:#}");
    };
    match module["problem"].as_str() {
        Some(why) => assert_reason(why),
        None => {
            let list = module["sites"].as_array().expect("sites");
            assert_same(list, &linked());
            assert!(list.iter().all(|site| site["status"] == "bound"), "{module:#}");
        }
    }
}

fn changed(rewriter: &Rewriter) -> Temporary {
    let name = format!("rewritten-{}", rewriter.name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"));
    let copy = Temporary::new(&name, &std::fs::read(INVAR).unwrap());
    rewriter.change(&copy.0);
    copy
}

/// The sites as the linker left them.
fn linked() -> Vec<Value> {
    site_list(&invar(["sites", "--json", INVAR]).json()).clone()
}

/// The same places, kinds and keys.
fn assert_same(list: &[Value], linked: &[Value]) {
    let facts = |list: &[Value]| {
        let fields = ["address", "kind", "key", "value", "length"];
        list.iter().map(|site| fields.map(|field| site[field].clone())).collect::<Vec<_>>()
    };
    assert!(!linked.is_empty());
    assert_eq!(facts(list), facts(linked));
}

/// What is said is of the note, or of what it leads to.
fn assert_reason(why: &str) {
    assert!(why.contains("note") || why.contains("table"), "{why}");
}
