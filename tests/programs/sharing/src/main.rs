//! A program with a Rust `dylib`.

#[cfg(feature = "own")]
invar::key! { #[name = "sharing.own"] static OWN: bool = |_| Ok(true); }

fn main() {
    shared::announce();
    witness::agree("read", shared::read(1_u8).into(), 1);
    #[cfg(feature = "ask")]
    witness::agree("asked", shared::ask(1_u8).into(), 1);
    #[cfg(feature = "own")]
    witness::chose("own", OWN.get(), &OWN);
    witness::tell();
}
