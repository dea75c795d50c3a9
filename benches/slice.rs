//! Slice enter and leave: exact counts, then times, warm and cold.

use crate::cold::{COLD, COPIES};
use crate::form::Form;
use invar::Kind::{SliceEnter, SliceLeave};
use invar_measure::cold::{self, Functions};
use invar_measure::machine::{self, Slice};
use invar_measure::{Part, Samples, Table, Targets};
use std::io;
use std::time::Duration;

macro_rules! functions {
    ($($variants:tt)*) => { const FUNCTIONS: &[Functions<COPIES>] = invar_measure::cold_functions!(4096; $($variants)*); };
}
invar_measure::slice_variants!(functions);

pub(crate) fn run() -> io::Result<()> {
    println!("{}", exact());
    let warm = machine::measure(Duration::from_secs(12));
    println!("{}", Table::slice(&warm));

    let names = machine::names();
    let cold = cold::measure(FUNCTIONS, Duration::from_secs(16));
    let parts = [
        Part { title: "critical section, code cold, ns", names: &names, first: 0 },
        Part { title: "critical section, code and data cold, ns", names: &names, first: names.len() },
    ];
    println!("{}", Table::of(&cold, &parts, &[COLD]));

    let mut targets = Targets::default();
    let places =
        [("around nothing", &warm), ("around a lock", &warm), ("code cold", &cold), ("code and data cold", &cold)];
    for (at, (place, samples)) in places.into_iter().enumerate() {
        against_targets(&mut targets, place, at % 2 * names.len(), samples);
    }
    print!("{targets}");
    Ok(())
}

/// What needs no clock.
fn exact() -> Targets {
    let [enter, leave] = [SliceEnter, SliceLeave].map(|kind| Form::of("invar-measure.on", kind));
    let [no_enter, no_leave] = [SliceEnter, SliceLeave].map(|kind| Form::of("invar-measure.off", kind));
    let mut targets = Targets::default();
    let met = (enter.instructions(), enter.bytes()) == (2, 12) && enter.uses_no_register();
    targets.add("enter, bound", enter.to_string(), "a store and a nop, 12 bytes, no register", met);
    let met = leave.instructions() == 2 && leave.touches_one_byte_of_the_thread();
    targets.add("leave, bound", leave.to_string(), "2 instructions, no load of anything else", met);
    targets.add("enter, bound, absent", no_enter.to_string(), "touches no memory", no_enter.is_nop());
    targets.add("leave, bound, absent", no_leave.to_string(), "touches no memory", no_leave.is_nop());
    targets
}

/// The variants in one place, from this sample on, beside the numbers to reach.
fn against_targets(targets: &mut Targets, place: &str, first: usize, samples: &Samples) {
    let at = |variant: Slice| first + variant as usize;
    for other in [Slice::FromGot, Slice::Hoisted] {
        let ratio = samples.ratio(at(Slice::BoundOn), at(other));
        let what = format!("{place}: bound against {}", other.name());
        targets.add(&what, format!("{ratio} {}", ratio.word()), "< 1.0", ratio.word() == "faster");
    }
    let ratio = samples.ratio(at(Slice::BoundOff), at(Slice::NoCode));
    let (what, figure) = (format!("{place}: bound, absent, against no code"), format!("{ratio} {}", ratio.word()));
    if place.ends_with("cold") {
        targets.show(&what, figure, "to be published");
    } else {
        targets.add(&what, figure, "within noise", ratio.word() == "within noise");
    }
    for (bound, flag) in [(Slice::BoundOn, Slice::FlagOn), (Slice::BoundOff, Slice::FlagOff)] {
        let what = format!("{place}: added by {}, as a part of what {} adds", bound.name(), flag.name());
        match samples.added(at(bound), at(flag), at(Slice::NoCode)) {
            None => targets.show(&what, "that is within noise".into(), "<= 0.5, of more than noise"),
            Some(part) => targets.add(&what, part.to_string(), "<= 0.5", part.median <= 0.5),
        }
    }
}
