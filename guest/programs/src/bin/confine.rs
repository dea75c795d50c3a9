//! `confine RULE... -- PROGRAM ARGUMENT...` runs a program in which filters stand from the beginning. `confine hang`
//! confines its caller: it does nothing for ever.
#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("hang") {
        loop {
            std::thread::park();
        }
    }
    let mut arguments = std::env::args().skip(1);
    for rule in arguments.by_ref().take_while(|argument| argument != "--") {
        invar_guest_programs::confine(&rule);
    }
    let program = arguments.next().expect("a program behind `--`");
    let error = Command::new(&program).args(arguments).exec();
    panic!("{program}: {error}");
}
