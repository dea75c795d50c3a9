//! A static branch: the program asks its environment once, before `main`, and the answer is in the code from then on.
//!
//! `CHATTY=1 cargo run --example branch` takes the other way.

invar::key! {
    /// Whether the user wants to know more.
    static CHATTY: bool = |evidence| {
        let is_set = std::env::var_os("CHATTY").is_some();
        evidence.text(if is_set { "CHATTY is set" } else { "CHATTY is not set" });
        Ok(is_set)
    };
}

fn main() {
    for word in ["nop", "jump"] {
        println!("{word}");
        if invar::branch!(CHATTY) {
            println!("  has {} letters", word.len());
        }
    }
}
