//! `confine RULE... -- [NAME=VALUE...] PROGRAM ARGUMENT...` runs a program in which filters stand from the beginning, and
//! with settings that are not for this one.
#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    let mut arguments = std::env::args().skip(1);
    for rule in arguments.by_ref().take_while(|argument| argument != "--") {
        invar_guest_programs::confine(&rule);
    }
    let (settings, mut words) = arguments.partition::<Vec<_>, _>(|argument| argument.contains('='));
    let program = words.remove(0);
    let settings = settings.iter().filter_map(|setting| setting.split_once('='));
    let error = Command::new(&program).args(words).envs(settings).exec();
    panic!("{program}: {error}");
}
