//! What the library of `invar run` costs a program where no time is granted: sysbench takes and releases one lock, again and again, by
//! itself and with the library in front. The library steps aside when it is loaded; sysbench's own clock starts later.

use crate::program::output;
use invar_measure::{Batch, Targets, alternate};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = "sysbench";
/// One thread: several would wait for each other, and measure the scheduler.
const ARGUMENTS: [&str; 6] =
    ["mutex", "--threads=1", "--mutex-num=1", "--mutex-locks=4000000", "--mutex-loops=1", "run"];
const LIBRARY: &str = "libinvar-preload.so.0";

pub(crate) fn run() -> io::Result<()> {
    let mut targets = Targets::default();
    let what = "unmodified program: time for its locks";
    if Command::new(PROGRAM).arg("--version").output().is_err() {
        targets.show(what, "not measured".into(), "no sysbench here");
    } else {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("run");
        let capi = concat!(env!("CARGO_MANIFEST_DIR"), "/../capi");
        output(Command::new("make").args(["-C", capi]).arg(format!("BUILD={}", folder.display())))?;
        let library = folder.join(LIBRARY);
        let samples = alternate(Duration::from_secs(30), &mut [batch(None), batch(Some(&library))])?;
        let ratio = samples.ratio(1, 0);
        let [alone, with] = [0, 1].map(|variant| samples.time(variant).median * 1000.0);
        let what = format!("{what}, {} rounds", samples.rounds());
        targets.add(&what, format!("{with:.1} ms / {alone:.1} ms = {ratio}"), "<= 1.01", ratio.median <= 1.01);
    }
    print!("{targets}");
    Ok(())
}

/// The seconds that sysbench says.
fn batch(library: Option<&Path>) -> Batch<'_, io::Error> {
    Box::new(move || {
        let mut command = Command::new(PROGRAM);
        command.args(ARGUMENTS);
        if let Some(library) = library {
            // Off as on a kernel that grants nothing.
            command.env("LD_PRELOAD", library).env("INVAR_KEYS", "slice=off");
        }
        let said = String::from_utf8_lossy(&output(&mut command)?.stdout).into_owned();
        let time = said.split_once("total time:").and_then(|(_, rest)| rest.split_whitespace().next());
        let time = time.and_then(|time| time.strip_suffix('s')?.parse().ok());
        time.ok_or_else(|| io::Error::other(format!("sysbench says no time: {said}")))
    })
}
