#![allow(missing_docs)]
use invar::{branch, key};
invar::values! { pub enum Width { Narrow, Wide } }
key! { pub static WIDE: bool = |e| { e.text("says so"); Ok(true) }; }
key! { pub static WIDTH: Width = |_| Ok(Width::Wide); }
key! { #[name = "first.bad"] pub static BAD: bool = |_| Err("cannot tell"); }
#[inline(never)]
fn f(x: u64) -> u64 { if branch!(WIDE) { x * 3 } else { x + 1 } }
#[inline(never)]
fn g(x: u64) -> u64 { if branch!(WIDTH == Width::Wide) { x * 3 } else { x + 1 } }
#[inline(never)]
fn h(x: &mut u64) { let _s = invar::slice::enter(); *x += 1; }
invar::dispatch! { fn maxi<'a, T: Ord + Copy, const N: usize>(x: &'a [T; N], y: Option<Vec<Vec<T>>>) -> Option<T> where T: 'static {
   invar::cpu::AVX2 => #[target_feature(enable = "avx2")] fast,
   BAD => slow,
   WIDTH == Width::Wide => slow,
   _ => slow,
}}
#[target_feature(enable = "avx2")]
fn fast<T: Ord + Copy, const N: usize>(x: &[T; N], _y: Option<Vec<Vec<T>>>) -> Option<T> { x.iter().copied().max() }
fn slow<T: Ord + Copy, const N: usize>(x: &[T; N], _y: Option<Vec<Vec<T>>>) -> Option<T> { x.iter().copied().max() }
fn main() {
  let mut x = 1; h(&mut x);
  println!("{} {} {} {:?}", f(5), g(5), x, maxi(&[1,5,2], None));
  println!("{}", invar::report());
}
