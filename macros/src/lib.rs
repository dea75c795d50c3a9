//! The attribute [`multiversion`](macro@multiversion) of `invar`. Programs use it by the package `invar-rt`, with the Cargo
//! feature `multiversion`.

mod block;
mod body;
mod function;
mod machines;
mod sets;

use proc_macro2::TokenStream;
use quote::quote;
use sets::Arguments;
use syn::Item;

/// Compiles a function's body once for each set of CPU features that is named, and once without any: its *versions*. Which
/// one is called is decided once, at load, by the keys `cpu.*`.
///
/// ```
/// #[invar::multiversion(avx512bw, avx2)]
/// pub fn spaces(text: &[u8]) -> usize {
///     text.iter().filter(|&&byte| byte == b' ').count() // the compiler may use AVX-512 or AVX2 here
/// }
///
/// assert_eq!(spaces(b"a b c"), 2);
/// ```
///
/// The function means the same as without the attribute. A call is a call of what [`dispatch!`] would make: where sites are
/// bound, it is nops, or a jump, and a jump to the version. The first version whose features are all there is called; the
/// body without features comes last. Settings lower the keys: `INVAR_KEYS=cpu.avx512bw=off`.
///
/// [`dispatch!`]: https://docs.rs/invar-rt/latest/invar/macro.dispatch.html
///
/// # Versions
///
/// | version | what it is |
/// |---|---|
/// | `avx2` | a CPU feature of which there is a key in `invar::cpu`, with all that it builds on |
/// | `avx2+bmi2+fma`, `"avx2,bmi2,fma"` | some that are to be there together |
/// | `x86-64-v3` | a level of the psABI |
/// | `#[cfg(feature = "wide")] avx512bw` | one under a condition |
///
/// There is a site for each feature of a version, without those that others of it build on. A version that could never be
/// chosen, as it stands behind one that needs less, does not compile. A version is there on the machines that have its features:
/// `#[invar::multiversion(avx2, neon+crc, zbb)]` has one on x86-64, one on AArch64 and one on RISC-V. Where there is none the body
/// is compiled once, and called.
///
/// ```compile_fail
/// #[invar::multiversion(avx2, avx512bw)]
/// fn spaces(text: &[u8]) -> usize { text.len() }
/// ```
///
/// # What the body knows
///
/// `invar::has!(avx2)` says in a body whether its version has a feature, or several. It is a constant. An `if` that asks
/// nothing but `has!`, with `!`, `&&` and `||`, is decided before names are looked up and types are checked: of its branches
/// one is compiled. So it can call what needs the feature, without `unsafe`. Features for which the whole program is compiled
/// are there in all versions, also on other machines. `invar::version!()` is the version's name: `"avx2"`, or `"plain"`.
///
/// ```
/// #[invar::multiversion(avx2+bmi2, avx2)]
/// pub fn gather(word: u64, mask: u64) -> u64 {
///     if invar::has!(bmi2) {
///         std::arch::x86_64::_pext_u64(word, mask)
///     } else {
///         let bits = (0..64).filter(|bit| mask >> bit & 1 == 1);
///         bits.enumerate().map(|(to, from)| (word >> from & 1) << to).sum()
///     }
/// }
///
/// assert_eq!(gather(0b1010, 0b1110), 0b101);
/// ```
///
/// Closures have the features of the version in which they stand. Functions inside a body do not, and nor do the functions that
/// it calls, unless they are inlined, or have versions themselves. A function that calls itself is dispatched again, which
/// costs what any call of it does.
///
/// # Methods and `impl` blocks
///
/// The attribute can stand before a method, and before a whole `impl` block. There each function gets the versions, and one with
/// an attribute of its own gets those that this names. Without versions, as in `#[invar::multiversion]`, the block's other
/// functions stay as they are.
///
/// ```
/// pub struct Text<T>(Vec<T>);
///
/// impl<T: PartialEq> Text<T> {
///     #[invar::multiversion(avx2)]
///     pub fn count(&self, one: &T) -> usize {
///         self.0.iter().filter(|&other| other == one).count()
///     }
/// }
///
/// #[invar::multiversion(avx2)]
/// impl<T: Copy> Text<T> {
///     pub fn of(all: &[T]) -> Text<T> { Text(all.to_vec()) }
/// }
///
/// assert_eq!(Text::of(b"a b c").count(&b' '), 2);
/// ```
///
/// A function that neither takes nor names `Self` does not show that it stands in an `impl` block. If it uses the block's generic
/// parameters, the attribute is to stand before the block.
///
/// # What it takes
///
/// Generics, `where` clauses, `const` parameters, `unsafe` functions, patterns, `impl Trait` as arguments. Attributes stay
/// before the function. Lint levels, `#[inline]`, `#[cold]` and `#[track_caller]` hold for its versions too; `#[expect]`
/// becomes `#[allow]`. `#[inline(always)]` is `#[inline]` for versions with features, which cannot be inlined everywhere.
///
/// It refuses what would not mean the same: `async`, `const` and variadic functions, those with an ABI, `impl Trait` as result,
/// functions of a trait, and a body with a `static`, of which each version would have its own. [`ifunc!`] makes symbols for C.
///
/// If the runtime's crate has another name than `invar`, the attribute begins with `crate = path`; in the body `has!` and
/// `version!` are then called by that path.
///
/// [`ifunc!`]: https://docs.rs/invar-rt/latest/invar/macro.ifunc.html
#[proc_macro_attribute]
pub fn multiversion(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let item = TokenStream::from(item);
    let expanded = syn::parse::<Arguments>(arguments).and_then(|arguments| expand(item.clone(), &arguments));
    expanded
        .unwrap_or_else(|wrong| {
            let wrong = wrong.into_compile_error();
            // With the item, so that what uses it is not wrong too.
            quote!(#wrong #item)
        })
        .into()
}

fn expand(item: TokenStream, arguments: &Arguments) -> syn::Result<TokenStream> {
    match syn::parse2::<Item>(item.clone())? {
        Item::Fn(function) => function::expand(&function, arguments, false),
        Item::Impl(block) => block::expand(block, arguments),
        other => {
            Err(syn::Error::new_spanned(other, "multiversion stands before a function with a body, or an `impl` block"))
        }
    }
}
