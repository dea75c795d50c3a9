//! What binding costs in instructions: an exact count, by callgrind.

mod common;

use common::{Build, command, missing_tool, output, run, sites, test};
use std::path::Path;
use std::process::ExitCode;

/// Instructions a bound site, all of binding together.
const MOST: u64 = 130;

fn main() -> ExitCode {
    run([test("a bound site costs few instructions", sites().or_else(no_callgrind), a_bound_site_costs_few)])
}

fn no_callgrind() -> Option<String> {
    missing_tool("valgrind")
}

fn a_bound_site_costs_few() {
    let crowd = Build::release().program("crowd");
    let few = Build::release().program("few");
    for (program, sites) in [(&crowd, 100_000), (&few, 1000)] {
        let said = output(command(program).env("INVAR_REPORT", "stderr")).stderr;
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(&format!(": {sites} sites, {sites} bound by swap")), "{}", said.lines().next().unwrap());
    }
    // Whatever else a process does, both do.
    let instructions = executed(&crowd).checked_sub(executed(&few)).expect("more for more sites") / 99_000;
    println!("{instructions} instructions a site");
    assert!((20..=MOST).contains(&instructions), "{instructions} instructions a site");
}

/// How many instructions a run of a program takes in user mode.
fn executed(program: &Path) -> u64 {
    let mut callgrind = command("valgrind");
    callgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let said = String::from_utf8(output(&mut callgrind).stderr).unwrap();
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    count.unwrap_or_else(|| panic!("{said}")).1.trim().parse().unwrap()
}
