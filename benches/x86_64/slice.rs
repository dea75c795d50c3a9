//! Slice enter and leave: exact counts, then times, warm and cold.

#[macro_use]
#[path = "cold.rs"]
mod cold;
#[path = "form.rs"]
mod form;

use form::Form;
use invar::Kind::{SliceEnter, SliceLeave};
use invar_bench::machine::{self, Slice};
use invar_bench::{Samples, Table, Target};
use std::time::Duration;

invar_bench::slice_variants!(functions);

pub(crate) fn main() {
    exact();
    let warm = machine::measure(Duration::from_secs(12));
    println!("{}", Table::of(&warm));
    let cold = cold::measure(FUNCTIONS, Duration::from_secs(12));
    cold::print(&machine::names(), &cold);

    against_targets("around nothing", |variant| variant as usize, &warm);
    against_targets("around a lock", |variant| Slice::ALL.len() + variant as usize, &warm);
    against_targets("cold", |variant| variant as usize, &cold);
}

/// What needs no clock.
fn exact() {
    let [enter, leave] = [SliceEnter, SliceLeave].map(|kind| Form::of("invar-bench.on", kind));
    let [no_enter, no_leave] = [SliceEnter, SliceLeave].map(|kind| Form::of("invar-bench.off", kind));
    let show = |what, figure, wanted, met| println!("{}", Target { what, figure, wanted, met });
    let met = (enter.instructions(), enter.bytes()) == (1, 9);
    show("enter, bound", enter.to_string(), "1 instruction, 9 bytes, no register", met);
    show("leave, bound", leave.to_string(), "2 instructions, no other load", leave.instructions() == 2);
    show("enter, bound, absent", no_enter.to_string(), "touches no memory", is_nop(&no_enter));
    show("leave, bound, absent", no_leave.to_string(), "touches no memory", is_nop(&no_leave));
    println!();
}

/// Whether it is there, and does nothing.
fn is_nop(form: &Form) -> bool {
    !form.0.is_empty() && form.0.iter().all(|instruction| instruction.mnemonic() == iced_x86::Mnemonic::Nop)
}

/// The variants in one place beside the numbers to reach.
fn against_targets(place: &str, at: impl Fn(Slice) -> usize, samples: &Samples) {
    for other in [Slice::FromGot, Slice::Hoisted] {
        let ratio = samples.ratio(at(Slice::BoundOn), at(other));
        let what = format!("{place}: bound against {}", other.name());
        let figure = format!("{ratio}, {}", ratio.word());
        println!("{}", Target { what: &what, figure, wanted: "< 1.0", met: ratio.word() == "faster" });
    }
    let ratio = samples.ratio(at(Slice::BoundOff), at(Slice::NoCode));
    let what = format!("{place}: bound, absent, against no code");
    let met = ratio.word() == "within noise";
    println!("{}", Target { what: &what, figure: ratio.to_string(), wanted: "its middle half includes 1", met });
    for (bound, flag) in [(Slice::BoundOn, Slice::FlagOn), (Slice::BoundOff, Slice::FlagOff)] {
        let what = format!("{place}: added by {}, as a part of what {} adds", bound.name(), flag.name());
        match samples.added(at(bound), at(flag), at(Slice::NoCode)) {
            None => println!("{what}: that is within noise  no target"),
            Some(part) => {
                let (figure, met) = (part.to_string(), part.median <= 0.5);
                println!("{}", Target { what: &what, figure, wanted: "<= 0.5", met });
            }
        }
    }
}
