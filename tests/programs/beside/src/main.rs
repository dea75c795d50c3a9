//! A Rust program, with the runtime in it, and a C object that was written for libinvar.

unsafe extern "C" {
    safe fn beside(x: i32) -> i32;
    safe fn asks() -> i32;
    safe fn by_pointer(x: i32) -> i32;
}

invar::key! { #[name = "beside.rust"] static RUST: bool = |_| { witness::probing("beside.rust", "beside"); Ok(true) }; }

fn main() {
    let rust = u8::from(invar::branch!(RUST));
    witness::result("beside", format_args!("{} {rust} {}", beside(0), u8::from(RUST.get())));
    witness::result("asks", asks());
    witness::result("pointer", by_pointer(1));
    witness::tell();
}
