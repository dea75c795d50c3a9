//! The macros mean the same wherever they stand: in a crate that has names of its own for what the prelude has, beside
//! statics and functions of any name, under conditions.
#![forbid(unsafe_code)]
#![allow(non_upper_case_globals, dead_code)]

/// Shadows what a careless expansion would use.
mod shadows {
    pub(crate) struct Option;
    pub(crate) struct Result;
    pub(crate) struct Some;
    pub(crate) struct Ok;
    pub(crate) mod core {}
    pub(crate) mod std {}
    pub(crate) mod invar_arch {}
}

mod shadowed {
    #[allow(unused_imports)]
    use super::shadows::*;

    invar::values! { pub(crate) enum Width { Narrow, Wide } }
    invar::key! { #[name = "test.shadowed"] pub(crate) static WIDTH: Width = super::wide; }
    invar::dispatch! {
        pub(crate) fn chosen() -> u8 { WIDTH == Width::Wide => super::one, _ => super::zero }
    }
}

fn wide(_: &mut invar::Evidence) -> Result<shadowed::Width, &'static str> {
    Ok(shadowed::Width::Wide)
}
fn yes(_: &mut invar::Evidence) -> Result<bool, &'static str> {
    Ok(true)
}
fn probe(_: &mut invar::Evidence) -> Result<bool, &'static str> {
    Ok(true)
}
fn one() -> u8 {
    1
}
fn zero() -> u8 {
    0
}

// Names that the expansion has, or had, for itself.
invar::key! { #[name = "test.probed"] static PROBED: bool = probe; }
invar::key! { #[name = "test.keep"] static KEEP: bool = yes; }
invar::key! { #[name = "test.names"] static NAMES: bool = yes; }
invar::key! { static r#match: bool = yes; }

invar::key! {
    /// What it would need is not there either.
    #[cfg(any())]
    static NOWHERE: Nothing = nothing;
}
invar::key! {
    #[cfg(all())]
    #[name = "test.somewhere"]
    static SOMEWHERE: bool = yes;
}

#[test]
fn names_are_not_captured() {
    assert!(invar::branch!(PROBED) && invar::branch!(KEEP) && invar::branch!(NAMES) && invar::branch!(SOMEWHERE));
    assert_eq!(shadowed::chosen(), 1);
}

#[test]
fn keys_are_found_by_any_path() {
    macro_rules! inside {
        () => {
            invar::branch!($crate::PROBED)
        };
    }
    assert!(
        inside!() && invar::branch!(self::PROBED) && invar::branch!(crate::shadowed::WIDTH == shadowed::Width::Wide)
    );
    assert_eq!(invar::branch!(::invar::timeslice::SLICE), invar::timeslice::SLICE.get());
    assert_eq!(invar::branch!(::invar::timeslice::SLICE == false), !invar::timeslice::SLICE.get());
    assert_eq!(invar::branch!(!::invar::timeslice::SLICE), !invar::timeslice::SLICE.get());
    assert_eq!(invar::branch!(::invar::timeslice::SLICE >= true), invar::timeslice::SLICE.get());
    let selected = invar::select!(::invar::timeslice::SLICE { true => true, false => false });
    assert_eq!(selected, invar::timeslice::SLICE.get());
}

#[test]
fn a_raw_identifier_gives_its_name() {
    assert!(invar::branch!(r#match));
    let mut found = false;
    invar::report().modules(|module| found |= module.keys().any(|key| key.name() == "invar-rt.match"));
    assert!(found);
}

#[test]
fn branches_stand_anywhere() {
    async fn in_async() -> bool {
        invar::branch!(PROBED)
    }
    fn in_const_generic<const N: usize>() -> usize {
        (0..N).filter(|_| invar::branch!(PROBED)).count()
    }
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = std::pin::pin!(in_async()).poll(&mut context);
    assert_eq!(polled, std::task::Poll::Ready(true));
    assert_eq!(in_const_generic::<3>(), 3);
    let labelled = '__invar_site: {
        if invar::branch!(PROBED) {
            break '__invar_site 1;
        }
        2
    };
    assert_eq!(labelled, 1);
}
