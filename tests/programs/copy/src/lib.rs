//! The routine of `../c/copy.h` in Rust.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Calls of each variant.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static mylib_ran: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

invar::ifunc! {
    /// Copies as `memcpy` does.
    ///
    /// # Safety
    ///
    /// As `memcpy`'s.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn mylib_copy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        invar::cpu::AVX512BW => #[target_feature(enable = "avx512bw")] unsafe copy_avx512,
        invar::cpu::AVX2 => #[target_feature(enable = "avx2")] unsafe copy_avx2,
        _ => unsafe copy_anywhere,
    }
}

invar::ifunc! {
    /// Which of its variants it is; the loader binds it after another one of this module, or before.
    #[unsafe(no_mangle)]
    pub extern "C" fn mylib_level() -> u32 {
        invar::cpu::SSE4_2 => #[target_feature(enable = "sse4.2")] second_level,
        _ => first_level,
    }
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse4.2"))]
fn second_level() -> u32 {
    2
}

fn first_level() -> u32 {
    1
}

invar::ifunc! {
    /// By two features at once, each of which a setting can turn off.
    #[unsafe(no_mangle)]
    pub extern "C" fn mylib_both() -> u32 {
        invar::cpu::SSE4_2 && invar::cpu::AVX2 == true => #[target_feature(enable = "sse4.2,avx2")] third_level,
        invar::cpu::SSE4_2 => #[target_feature(enable = "sse4.2")] second_level,
        _ => first_level,
    }
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse4.2,avx2"))]
fn third_level() -> u32 {
    3
}

invar::ifunc! {
    /// By a feature and a key of the program's own.
    #[unsafe(no_mangle)]
    pub extern "C" fn mylib_mixed() -> u32 {
        !BACKWARDS && invar::cpu::SSE4_2 => #[target_feature(enable = "sse4.2")] second_level,
        invar::cpu::SSE4_2 && WIDTH < Width::Wide && BACKWARDS => yes,
        BACKWARDS => partly,
        _ => no,
    }
}

invar::key! {
    /// A key of the program's own.
    #[name = "copy.backwards"]
    static BACKWARDS: bool = |evidence| {
        // Needs a thread pointer and libc.
        evidence.number(std::thread::available_parallelism().map_or(1, |cpus| cpus.get()) as i64).text(" CPUs");
        Ok(true)
    };
}

invar::ifunc! {
    /// Adds, and says by which variant.
    #[unsafe(no_mangle)]
    pub extern "C" fn mylib_add(x: u32, y: u32) -> u32 {
        BACKWARDS => add_backwards,
        invar::cpu::AVX2 => #[target_feature(enable = "avx2")] add_avx2,
        _ => add,
    }
}

invar::values! { pub enum Width { Narrow, Wide, Widest } }
invar::key! {
    #[name = "copy.width"]
    static WIDTH: Width = |_| {
        Ok(match std::env::var("COPY_WIDTH").as_deref() {
            Ok("widest") => Width::Widest,
            Ok("wide") => Width::Wide,
            _ => Width::Narrow,
        })
    };
}

/// Comparisons that are no equality: each of these functions is the first of its variants whose condition holds.
macro_rules! ordered {
    ($($name:ident { $($arms:tt)+ })+) => {
        $(invar::ifunc! {
            #[unsafe(no_mangle)]
            pub extern "C" fn $name() -> u32 { $($arms)+ _ => no, }
        })+
        /// In the order in which they are declared.
        pub fn ordered() -> [u32; 6] {
            [$($name()),+]
        }
    };
}
ordered! {
    mylib_at_least { WIDTH >= Width::Widest => yes, WIDTH >= Width::Wide => partly, }
    mylib_above { WIDTH > Width::Wide => yes, WIDTH > Width::Narrow => partly, }
    mylib_below { WIDTH < Width::Wide => yes, WIDTH < Width::Widest => partly, }
    mylib_at_most { WIDTH <= Width::Narrow => yes, WIDTH <= Width::Wide => partly, }
    mylib_differs { WIDTH != Width::Narrow => yes, }
    mylib_forwards { !BACKWARDS => partly, WIDTH == Width::Wide => yes, }
}

fn yes() -> u32 {
    2
}

fn partly() -> u32 {
    1
}

fn no() -> u32 {
    0
}

fn add_backwards(x: u32, y: u32) -> u32 {
    y + x + 1000
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
fn add_avx2(x: u32, y: u32) -> u32 {
    x + y + 2000
}

fn add(x: u32, y: u32) -> u32 {
    x + y
}

unsafe fn copy_anywhere(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    mylib_ran[0].fetch_add(1, Relaxed);
    for at in 0..length {
        // SAFETY: as the caller vouches. Volatile, so as not to become a call of memcpy.
        unsafe { to.add(at).write_volatile(from.add(at).read()) };
    }
    to
}

#[target_feature(enable = "avx2")]
unsafe fn copy_avx2(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    use std::arch::x86_64::{_mm256_loadu_si256, _mm256_storeu_si256};
    mylib_ran[1].fetch_add(1, Relaxed);
    let mut at = 0;
    while at < length {
        // SAFETY: as the caller vouches.
        unsafe {
            if at + 32 <= length {
                _mm256_storeu_si256(to.add(at).cast(), _mm256_loadu_si256(from.add(at).cast()));
                at += 32;
            } else {
                to.add(at).write_volatile(from.add(at).read());
                at += 1;
            }
        }
    }
    to
}

#[target_feature(enable = "avx512bw")]
unsafe fn copy_avx512(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    use std::arch::x86_64::{_mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8};
    mylib_ran[2].fetch_add(1, Relaxed);
    for at in (0..length).step_by(64) {
        let bytes = if length - at < 64 { (1 << (length - at)) - 1 } else { u64::MAX };
        // SAFETY: as the caller vouches; no more bytes than the mask has.
        unsafe {
            _mm512_mask_storeu_epi8(to.add(at).cast(), bytes, _mm512_maskz_loadu_epi8(bytes, from.add(at).cast()));
        }
    }
    to
}

/// What the keys say.
pub fn keys() -> [bool; 2] {
    [invar::cpu::AVX512BW.get(), invar::cpu::AVX2.get()]
}
