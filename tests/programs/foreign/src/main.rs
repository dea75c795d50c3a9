//! A Rust program, with the runtime in it, and a C object that has keys and sites: one ABI for both.

unsafe extern "C" {
    safe fn c_mode() -> i32;
    safe fn c_lost() -> i32;
    safe fn c_lost_too() -> i32;
    safe fn c_wild() -> i32;
    safe fn c_slice() -> i32;
}

invar::key! { #[name = "foreign.here"] static HERE: bool = |_| Ok(true); }

fn main() {
    witness::chose("Rust", invar::branch!(HERE), &HERE);
    witness::agree("C mode", c_mode() as u8, 1);
    witness::agree("C lost", c_lost() as u8, 0);
    witness::agree("C lost too", c_lost_too() as u8, 0);
    witness::agree("C wild", c_wild() as u8, 0);
    witness::agree("C slice", c_slice() as u8, invar::timeslice::SLICE.get().into());
    witness::tell();
}
