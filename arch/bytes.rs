//! The bytes of a site at their place in memory. Nothing here is of one machine: where loads and stores have to be aligned, the compiler
//! makes several of one.

use invar_abi::Code;

/// Stores a site's bytes at `to`, and touches nothing beside it. `LONG` is for those of eight at least, which most are.
///
/// # Safety
///
/// `to` must be valid for writes of this many bytes; with `LONG` there must be eight or more.
#[inline(always)]
pub unsafe fn store<const LONG: bool>(code: Code, to: *mut u8) {
    if !LONG && code.len() < 8 {
        let last = code.len().saturating_sub(4);
        // SAFETY: both lie in the code's length, which is that of a site of this machine: more than four.
        return unsafe {
            to.cast::<u32>().write_unaligned(code.first() as u32);
            to.add(last).cast::<u32>().write_unaligned((code.first() >> (8 * last)) as u32);
        };
    }
    // SAFETY: both lie in the code's length.
    unsafe {
        to.cast::<u64>().write_unaligned(code.first());
        to.add(code.len() - 8).cast::<u64>().write_unaligned(code.last());
    }
}

/// Whether a site's bytes stand at `at`; `LONG` as for [`store`].
///
/// # Safety
///
/// `at` must be valid for reads of this many bytes; with `LONG` there must be eight or more.
#[inline(always)]
pub unsafe fn stands<const LONG: bool>(code: Code, at: *const u8) -> bool {
    if !LONG && code.len() < 8 {
        // SAFETY: as the caller vouches.
        return unsafe { short(at, code.len()) } == code.first();
    }
    // SAFETY: both lie in the code's length.
    unsafe {
        at.cast::<u64>().read_unaligned() == code.first()
            && at.add(code.len() - 8).cast::<u64>().read_unaligned() == code.last()
    }
}

/// [`Code::print`] of a site's bytes at `at`; 0 for a length that no site of this machine has.
///
/// # Safety
///
/// `at` must be valid for reads of this many bytes, if they are no more than [`Code::LONGEST`]. `LONG` as for [`store`], but that
/// a shorter length gives 0.
#[inline(always)]
pub unsafe fn print<const LONG: bool>(at: *const u8, length: usize) -> u64 {
    let behind = length.wrapping_sub(8);
    if behind > Code::LONGEST - 8 {
        // SAFETY: as the caller vouches.
        return if LONG { 0 } else { unsafe { short_print(at, length) } };
    }
    // SAFETY: both lie in the length.
    unsafe {
        let last = at.add(behind).cast::<u64>().read_unaligned();
        at.cast::<u64>().read_unaligned() ^ last.rotate_left(Code::ROTATED)
    }
}

/// [`print`] of fewer than eight bytes, or too many.
///
/// # Safety
///
/// See [`print`].
#[cold]
#[inline(never)]
unsafe fn short_print(at: *const u8, length: usize) -> u64 {
    // SAFETY: as the caller vouches.
    if (4..8).contains(&length) { unsafe { short(at, length) } } else { 0 }
}

/// Four to seven bytes at `at`, as [`Code::first`] has them.
///
/// # Safety
///
/// `at` must be valid for reads of this many bytes.
unsafe fn short(at: *const u8, length: usize) -> u64 {
    let last = length.saturating_sub(4) & 3;
    // SAFETY: both lie in the length, of four at least.
    let [first, last_four] = unsafe { [at, at.add(last)].map(|at| at.cast::<u32>().read_unaligned()) };
    u64::from(first) | u64::from(last_four) << (8 * last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use invar_abi::machine::{RISCV, X86_64};
    use invar_abi::{Kind, Site, forms};

    /// Of every length that a site has: what is stored stands there, nothing beside it has changed, and each other byte is seen.
    #[test]
    fn what_is_stored_stands_there() {
        // By the kind's number in a record.
        let lengths = [
            (RISCV, 1, 4),
            (RISCV, 2, 8),
            (RISCV, 3, 16),
            (X86_64, 5, 7),
            (X86_64, 6, 9),
            (X86_64, 1, 10),
            (X86_64, 3, 11),
            (X86_64, 2, 12),
            (X86_64, 1, 14),
        ];
        for (machine, kind, length) in lengths {
            let kind = Kind::of(kind, 0).expect("a kind");
            let site = Site { address: 0x1000, target: 0x1040, state: 0x4008, length, kind, value: 0 };
            let code = forms::checked(machine, &site).expect("a form");
            let length = usize::from(length);
            assert_eq!(code.len(), length);
            let mut memory = [0xa5_u8; 32];
            let at = memory[5..].as_mut_ptr();
            // SAFETY: more than any site's length.
            unsafe {
                store::<false>(code, at);
                assert!(stands::<false>(code, at) && print::<false>(at, length) == code.print(), "{code:?}");
                if length >= 8 {
                    store::<true>(code, at);
                    assert!(stands::<true>(code, at) && print::<true>(at, length) == code.print(), "{code:?}");
                }
            }
            assert_eq!(&memory[5..5 + length], code.write_to(&mut [0; Code::LONGEST]));
            assert!(memory.iter().enumerate().all(|(at, byte)| (5..5 + length).contains(&at) || *byte == 0xa5));
            for changed in 5..5 + length {
                memory[changed] ^= 1;
                let at = memory[5..].as_ptr();
                // SAFETY: as above.
                unsafe {
                    assert!(!stands::<false>(code, at) && print::<false>(at, length) != code.print(), "{code:?}")
                };
                memory[changed] ^= 1;
            }
        }
    }
}
