//! A shared library with constants whose names others in its process have as well.

invar::constant! { #[name = "numbers.line"] #[fallback(1)] static LINE: u32 = |evidence| { witness::probing("numbers.line", "numbering"); evidence.text("numbering's"); Ok(99) }; }
invar::constant! { #[name = "numbers.failing"] #[fallback(8)] static FAILING: u64 = |_| Ok(9); }
// The program's has as many bits as its type.
invar::constant! { #[name = "numbers.half"] #[fallback(5)] static HALF: u32 = |_| Ok(6); }
invar::constant! { #[name = "numbering.own"] static OWN: u64 = |_| Ok(u64::MAX); }

/// Says what this library's sites hold.
#[unsafe(no_mangle)]
pub extern "C" fn tell_story() {
    witness::result("numbering: line", invar::value!(LINE));
    witness::result("numbering: failing", invar::value!(FAILING));
    witness::result("numbering: half", invar::value!(HALF));
    witness::result("numbering: own", invar::value!(OWN));
    let agree = (invar::value!(LINE), invar::value!(FAILING), invar::value!(HALF), invar::value!(OWN))
        == (LINE.get(), FAILING.get(), HALF.get(), OWN.get());
    witness::agree("numbering: sites and constants", agree.into(), 1);
}
