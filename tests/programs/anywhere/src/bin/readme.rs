//! The program in README.md.

invar::key! {
    /// Whether this program was asked to explain itself.
    static CHATTY: bool = |_| Ok(std::env::var_os("CHATTY").is_some());
}

#[invar::multiversion(avx2)]
fn spaces(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b' ').count() // the compiler may use AVX2 here
}

fn main() {
    if invar::branch!(CHATTY) {
        println!("counting");
    }
    println!("{}", spaces(b"a b c"));
    print!("{}", invar::report());
}
