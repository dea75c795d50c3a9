//! Functions of every sort with `multiversion`. Each tells its version beside its result.

use std::fmt::{Debug, Display};
use std::hint::black_box;
use std::panic::Location;

/// What is told: the version, and what it computed.
type Told<T> = (&'static str, T);

fn tell<T: Display>(name: &str, (version, value): Told<T>) {
    witness::result(&format!("{name}: version"), version);
    witness::result(name, value);
}

/// The one whose code is looked at, with a result that needs no memory.
#[invar::multiversion(avx512bw, avx2)]
#[inline(never)]
pub fn spaces(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b' ').count()
}

#[invar::multiversion(avx512bw, avx2)]
#[inline(never)]
#[must_use]
fn free(x: u64) -> Told<u64> {
    (invar::version!(), x + 1)
}

#[invar::multiversion(avx2)]
fn generic<'a, T: ?Sized, const N: usize>(all: [&'a T; N], or: &'a T) -> Told<&'a T>
where
    T: PartialOrd + Debug,
{
    (invar::version!(), all.into_iter().fold(or, |a, b| if b > a { b } else { a }))
}

/// Nothing follows from the arguments.
#[invar::multiversion(avx2)]
fn explicit<T, const N: usize>() -> Told<usize> {
    (invar::version!(), size_of::<T>() * N)
}

#[invar::multiversion(avx2)]
fn patterns((a, b): (u64, u64), [x, ..]: [u64; 2], mut c: u64, _: u8, whole @ (_, d): (u64, u64)) -> Told<u64> {
    c += a + b + x + d + whole.0;
    (invar::version!(), c)
}

#[invar::multiversion(avx2)]
fn opaque(text: impl AsRef<[u8]> + Clone, other: &dyn AsRef<[u8]>) -> Told<usize> {
    (invar::version!(), text.clone().as_ref().len() + other.as_ref().len())
}

#[invar::multiversion(avx2)]
fn elided(text: &str) -> Told<&str> {
    (invar::version!(), text.split(' ').next().unwrap_or(text))
}

#[invar::multiversion(avx2)]
fn early(text: &str) -> Result<Told<u32>, std::num::ParseIntError> {
    if text.is_empty() {
        return Ok((invar::version!(), 0));
    }
    Ok((invar::version!(), text.parse::<u32>()?))
}

#[invar::multiversion(avx2)]
fn changes(all: &mut Vec<u64>, x: u64) -> &mut u64 {
    all.push(if invar::has!(avx2) { 1 } else { x });
    all.last_mut().expect("it was pushed")
}

/// Calls itself by its name: each call is dispatched.
#[invar::multiversion(avx2)]
fn recursive(x: u64) -> Told<u64> {
    if x == 0 { (invar::version!(), 1) } else { (invar::version!(), x * recursive(x - 1).1) }
}

/// # Safety
///
/// The address must be that of a number.
#[invar::multiversion(avx2)]
unsafe fn peek(address: *const u64) -> Told<u64> {
    // SAFETY: as the caller promises.
    (invar::version!(), unsafe { *address })
}

#[invar::multiversion(
    #[cfg(any())]
    avx512bw,
    #[cfg(all())]
    avx2,
)]
fn conditions() -> Told<u8> {
    (invar::version!(), 1)
}

#[invar::multiversion(avx512bw+gfni, "avx2,bmi2", sse4.2)]
fn together() -> Told<u8> {
    (invar::version!(), 1)
}

#[invar::multiversion(x86-64-v4, x86-64-v3, x86-64-v2)]
fn levels() -> Told<u8> {
    (invar::version!(), 1)
}

/// A feature of which the compiler knows nothing.
#[invar::multiversion(fsrm, ermsb)]
fn copies() -> Told<u8> {
    (invar::version!(), u8::from(!invar::has!(fsrm) || invar::version!() == "fsrm"))
}

#[invar::multiversion(avx2)]
#[inline(always)]
fn inlined(x: u64) -> Told<u64> {
    (invar::version!(), x * 2)
}

#[invar::multiversion(avx2)]
#[track_caller]
fn tracked() -> Told<u32> {
    (invar::version!(), Location::caller().line())
}

#[invar::multiversion(avx2)]
fn r#match(r#in: u8) -> Told<u8> {
    (invar::version!(), r#in)
}

#[expect(clippy::too_many_arguments, unused_variables)]
#[invar::multiversion(avx2)]
fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> Told<u8> {
    (invar::version!(), a)
}

macro_rules! function {
    ($name:ident, $type:ty, $result:expr) => {
        #[invar::multiversion(avx2)]
        fn $name(x: $type) -> Told<$type> {
            (invar::version!(), x + $result)
        }
    };
}
function!(by_macro, u32, 2);

use invar::multiversion as several;

#[several(avx2)]
fn renamed() -> Told<u8> {
    (invar::version!(), 1)
}

#[invar::multiversion(crate = ::invar, avx2)]
fn by_path() -> Told<u8> {
    (invar::version!(), 1)
}

/// Versions for other machines than x86-64, which knows nothing of them.
#[invar::multiversion(sve2, crc+lse, crc, zba+zbb)]
fn elsewhere() -> Told<u32> {
    let sum = if invar::has!(crc) {
        std::arch::aarch64::__crc32b(0, 1)
    } else {
        0x7707_3096 // of the same byte
    };
    (invar::version!(), sum)
}

/// What `has!` says, everywhere where it can stand.
#[invar::multiversion(avx512bw, avx2+bmi2, avx)]
fn knows() -> Told<String> {
    let mut said =
        vec![invar::has!(avx512bw), invar::has!(avx2), invar::has!(bmi2), invar::has!(avx), invar::has!("avx,fma")];
    // What it builds on, and what every program of this machine has.
    said.extend([invar::has!(sse4.2), invar::has!(sse2) == cfg!(target_arch = "x86_64"), invar::has!(x86 - 64 - v3)]);
    const CONSTANT: bool = true;
    let text = format!("{} {:?}", invar::has!(avx2), (invar::has!(bmi2), [invar::has!(avx) && CONSTANT]));
    let said: String = said.iter().map(|&is| if is { '1' } else { '0' }).collect();
    let branch = if invar::has!(avx512bw) {
        "wide"
    } else if invar::has!(avx2) && !invar::has!(avx512bw) {
        "narrow"
    } else if !(invar::has!(avx) || invar::has!(neon)) || said.is_empty() {
        "none"
    } else {
        "other"
    };
    let closure = || if invar::has!(avx) { 1 } else { 0 };
    let unit = vec![()];
    if invar::has!(bmi2) {
        drop(unit);
    }
    (invar::version!(), format!("{said} {text} {branch} {}", closure()))
}

/// Calls what needs features, without `unsafe`.
#[invar::multiversion(avx2+bmi2, avx2, bmi2)]
#[inline(never)]
fn uses(word: u64, mask: u64) -> Told<u64> {
    let sum = if invar::has!(avx2) {
        // Closures have the features too.
        let eight = |x| {
            let all = std::arch::x86_64::_mm256_set1_epi32(x);
            std::arch::x86_64::_mm256_extract_epi32::<3>(std::arch::x86_64::_mm256_add_epi32(all, all))
        };
        eight(21) as u64
    } else {
        42
    };
    let bits: u64 = if invar::has!(bmi2) {
        std::arch::x86_64::_pext_u64(word, mask)
    } else {
        let bits = (0..64).filter(|bit| mask >> bit & 1 == 1);
        bits.enumerate().map(|(to, from)| (word >> from & 1) << to).sum()
    };
    (invar::version!(), sum << 32 | bits)
}

struct Sum<T>(Vec<T>);

trait Adds {
    const START: u64;
}

impl<T> Adds for Sum<T> {
    const START: u64 = 5;
}

impl<T: Copy + Into<u64>> Sum<T> {
    /// By reference, with `Self` in a path.
    #[invar::multiversion(avx512bw, avx2)]
    fn get(&self) -> Told<u64> {
        (invar::version!(), self.0.iter().map(|&x| x.into()).sum::<u64>() + <Self as Adds>::START)
    }

    #[invar::multiversion(avx2)]
    fn add<U: Into<T> + Copy, const N: usize>(&mut self, more: &[U; N]) -> Told<&mut Self> {
        self.0.extend(more.iter().map(|&x| x.into()));
        (invar::version!(), self)
    }

    #[invar::multiversion(avx2)]
    fn whole(mut self) -> Told<usize> {
        self.0.pop();
        (invar::version!(), self.0.len())
    }

    #[invar::multiversion(avx2)]
    fn boxed(mut self: Box<Self>, (at, by): (usize, T)) -> Told<u64> {
        self.0[at] = by;
        (invar::version!(), self.0.iter().map(|&x| x.into()).sum())
    }

    #[invar::multiversion(avx2)]
    fn new(of: T) -> Told<Self> {
        (invar::version!(), Self(vec![of]))
    }

    /// Names nothing of the block's.
    #[invar::multiversion(avx2)]
    fn apart(x: u64) -> Told<u64> {
        (invar::version!(), x)
    }
}

/// The whole block: each function has these versions, or its own.
#[invar::multiversion(avx2)]
impl<T: Copy + PartialEq> Sum<T> {
    const TWICE: usize = 2;

    pub fn count(&self, one: T) -> Told<usize> {
        (invar::version!(), self.0.iter().filter(|&&x| x == one).count() * Self::TWICE)
    }

    /// Uses the block's parameter, and shows that by nothing else.
    fn same(a: T, b: T) -> Told<bool> {
        (invar::version!(), a == b)
    }

    #[invar::multiversion(avx512bw, avx2)]
    fn own(&self) -> Told<usize> {
        (invar::version!(), self.0.len())
    }

    #[cfg(any())]
    fn nowhere(&self) -> Nothing {}
}

/// A block in which some functions have versions.
#[invar::multiversion]
impl Sum<u8> {
    fn without(&self) -> usize {
        self.0.len()
    }

    #[multiversion(avx2)]
    fn with(&self) -> Told<usize> {
        (invar::version!(), self.without())
    }
}

fn main() {
    let x = black_box(14);
    witness::result("spaces", spaces(black_box(b"a b c")));
    tell("free", free(x));
    tell("generic", generic(["b", "c"], "a"));
    tell("explicit", explicit::<u32, 3>());
    tell("patterns", patterns((1, 2), [3, 4], 5, 6, (7, 8)));
    tell("opaque", opaque("abc", &"de"));
    tell("elided", elided("one two"));
    let ends = [early("").expect("no number").1, early("7").expect("a number").1];
    witness::result("early", format!("{ends:?} {}", early("x").is_err()));
    *changes(&mut vec![], 1) += 1;
    witness::result("changes", *changes(&mut vec![], 1));
    tell("recursive", recursive(5));
    // SAFETY: a number.
    tell("peek", unsafe { peek(&raw const x) });
    tell("conditions", conditions());
    tell("together", together());
    tell("levels", levels());
    tell("copies", copies());
    tell("inlined", inlined(x));
    let (version, line) = tracked();
    tell("tracked", (version, line + 1 == line!()));
    tell("match", r#match(1));
    tell("many", many(1, 2, 3, 4, 5, 6, 7, 8));
    tell("by macro", by_macro(1));
    tell("renamed", renamed());
    tell("by path", by_path());
    tell("elsewhere", elsewhere());
    tell("knows", knows());
    tell("uses", uses(0b1010, 0b1110));

    let mut sum = Sum(vec![1u32, 2, 3]);
    tell("get", sum.get());
    let (version, own) = sum.add(&[4u16, 5]);
    own.0.push(6);
    tell("add", (version, own.0.len()));
    tell("count", sum.count(3));
    tell("own", sum.own());
    tell("boxed", Box::new(Sum(vec![1u32, 2])).boxed((1, 9)));
    tell("whole", sum.whole());
    let (version, new) = Sum::new(8u8);
    tell("new", (version, new.0.len()));
    tell("apart", Sum::<u32>::apart(3));
    tell("same", Sum::same(1, 1));
    tell("with", new.with());

    // SAFETY: its code is looked at, and not called.
    witness::code("spaces", unsafe { std::mem::transmute::<fn(&[u8]) -> usize, fn()>(spaces) });
    witness::tell();
}
