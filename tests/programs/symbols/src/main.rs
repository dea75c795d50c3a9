//! Copies at random sizes and alignments by the routine and by std's, and says which variant did, and what the report has.

use copy::{mylib_add, mylib_both, mylib_copy, mylib_level, mylib_mixed, mylib_ran};
use std::hint::black_box;
use std::sync::atomic::Ordering::Relaxed;

const ROOM: usize = 4096;

/// Its address in data, which the loader or linker puts there.
static BY_DATA: unsafe extern "C" fn(*mut u8, *const u8, usize) -> *mut u8 = mylib_copy;

fn main() {
    let mut state = 1_u32;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as usize % bound
    };
    let from: Vec<u8> = (0..ROOM).map(|_| random(256) as u8).collect();
    let mut differ = 0;
    for round in 0..3000 {
        let length = random(if round % 2 == 1 { 80 } else { ROOM - 128 });
        let (to_offset, from_offset) = (random(64), random(64));
        let (mut ours, mut theirs) = (vec![0xa5; ROOM], vec![0xa5; ROOM]);
        theirs[to_offset..to_offset + length].copy_from_slice(&from[from_offset..from_offset + length]);
        let (to, from) = (&mut ours[to_offset] as *mut u8, &from[from_offset] as *const u8);
        // SAFETY: both are long enough.
        unsafe {
            if round % 2 == 0 {
                mylib_copy(to, from, length)
            } else {
                black_box(BY_DATA)(to, from, length)
            };
        }
        differ += u32::from(ours != theirs);
    }
    println!("differ\t{differ}");
    for (variant, ran) in ["anywhere", "avx2", "avx512"].iter().zip(&mylib_ran) {
        if ran.load(Relaxed) > 0 {
            println!("variant\t{variant} {}", ran.load(Relaxed));
        }
    }
    let [avx512, avx2] = copy::keys();
    println!(
        "keys\t{}",
        if avx512 {
            "avx512"
        } else if avx2 {
            "avx2"
        } else {
            "anywhere"
        }
    );
    println!("level\t{}", mylib_level());
    println!("both\t{}", mylib_both());
    println!("mixed\t{}", mylib_mixed());
    println!("add\t{}", mylib_add(black_box(1), 2));
    println!("ordered\t{:?}", copy::ordered());
    print!("{}", invar::report());
}
