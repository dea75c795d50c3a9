//! A function with a variant for CPUs with AVX2. It is as safe to call as any other, and no function pointer is left.

#[cfg(target_arch = "x86_64")]
invar::dispatch! {
    /// How many spaces there are.
    fn spaces(text: &[u8]) -> usize {
        invar::cpu::AVX2 => #[target_feature(enable = "avx2")] spaces_avx2,
        _ => spaces_anywhere,
    }
}

// Elsewhere there is nothing to choose.
#[cfg(not(target_arch = "x86_64"))]
use spaces_anywhere as spaces;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn spaces_avx2(text: &[u8]) -> usize {
    spaces_anywhere(text) // the compiler may use AVX2 here, also for what it inlines
}

#[inline(always)]
fn spaces_anywhere(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b' ').count()
}

fn main() {
    println!("{} spaces", spaces(b"decide once, at load"));
}
