//! A table of routines. The pointers are chosen before `main`, and lie in memory that is read-only from then on.

#[cfg(target_arch = "x86_64")]
invar::pointers! {
    static DSP: struct Dsp { add: fn(u32, u32) -> u32, sum: fn(&[u8]) -> u32 } = {
        invar::cpu::AVX2 => #[target_feature(enable = "avx2")] { add: add_avx2, sum: sum_avx2 },
        _ => { add: add_anywhere, sum: sum_anywhere },
    };
}

#[cfg(not(target_arch = "x86_64"))]
invar::pointers! {
    static DSP: struct Dsp { add: fn(u32, u32) -> u32, sum: fn(&[u8]) -> u32 } = {
        _ => { add: add_anywhere, sum: sum_anywhere },
    };
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_avx2(one: u32, other: u32) -> u32 {
    add_anywhere(one, other)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> u32 {
    sum_anywhere(bytes)
}

fn add_anywhere(one: u32, other: u32) -> u32 {
    one.wrapping_add(other)
}

fn sum_anywhere(bytes: &[u8]) -> u32 {
    bytes.iter().map(|&byte| u32::from(byte)).sum()
}

fn main() {
    println!("{}", (DSP.add)(1, (DSP.sum)(b"abc")));
}
