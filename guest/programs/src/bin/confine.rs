//! `confine RULE... -- PROGRAM ARGUMENT...` runs a program in which filters stand from the beginning.
#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    let mut arguments = std::env::args().skip(1);
    for rule in arguments.by_ref().take_while(|argument| argument != "--") {
        invar_guest_programs::confine(&rule);
    }
    let program = arguments.next().expect("a program behind `--`");
    let error = Command::new(&program).args(arguments).exec();
    panic!("{program}: {error}");
}
