//! One body, which is compiled once for CPUs with AVX2 and once for all others.
//!
//! `INVAR_KEYS=cpu.avx2=off cargo run --example multiversion` takes the plain version anywhere.

/// How many spaces there are, and which version counted them.
#[invar::multiversion(avx2)]
fn spaces(text: &[u8]) -> (usize, &'static str) {
    (text.iter().filter(|&&byte| byte == b' ').count(), invar::version!())
}

fn main() {
    let (count, version) = spaces(b"decide once, at load");
    println!("{count} spaces, by the version {version}");
}
