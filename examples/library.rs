//! A program with a library (`src/lib.rs`) that has a key of its own.
//!
//! `FOLD_CASE=1 cargo run --example library` changes what the library does.

use invar_examples::is_same;

fn main() {
    println!("nop and NOP are the same: {}", is_same("nop", "NOP"));
}
