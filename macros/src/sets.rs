//! Sets of CPU features as programs write them: `avx2`, `avx2+bmi2`, `"avx2,bmi2"`, `x86-64-v3`, `neon+crc`.

use crate::machines::{MACHINES, Machine, NOT_THE_COMPILERS, spelt_out};
use proc_macro2::Span;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Ident, Lit, LitStr, Token};

/// A feature or a level, as it was written.
#[derive(Clone)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// Some of them, which count together.
#[derive(Clone)]
pub(crate) struct Set(pub(crate) Vec<Name>);

/// One set of the attribute's list, under conditions.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) set: Set,
}

impl Parse for Name {
    /// `sse4.1` is three tokens, and `x86-64-v3` five.
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let first: Ident = input.call(syn::ext::IdentExt::parse_any)?;
        let (mut text, span) = (first.to_string(), first.span());
        loop {
            if input.peek(Token![.]) {
                input.parse::<Token![.]>()?;
                text.push('.');
            } else if input.peek(Token![-]) {
                input.parse::<Token![-]>()?;
                text.push('-');
            } else {
                return Ok(Self { text, span });
            }
            match input.parse::<Lit>() {
                Ok(part) => text += &quote::quote!(#part).to_string(),
                Err(_) => text += &input.call(<Ident as syn::ext::IdentExt>::parse_any)?.to_string(),
            }
        }
    }
}

impl Parse for Set {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        if !input.peek(LitStr) {
            return Ok(Self(Punctuated::<Name, Token![+]>::parse_separated_nonempty(input)?.into_iter().collect()));
        }
        let list: LitStr = input.parse()?;
        let (value, span) = (list.value(), list.span());
        let names = value.split([',', '+']).map(|name| Name { text: name.trim().to_owned(), span });
        Ok(Self(names.collect()))
    }
}

impl Parse for Version {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let conditions = input.call(Attribute::parse_outer)?;
        if let Some(other) = conditions.iter().find(|attribute| !attribute.path().is_ident("cfg")) {
            return Err(syn::Error::new_spanned(other, "before a version stands no attribute but #[cfg(...)]"));
        }
        let set: Set = input.parse()?;
        let is_unknown = |name: &&Name| MACHINES.iter().all(|machine| machine.closed(&name.text).is_none());
        if let Some(name) = set.0.iter().find(is_unknown) {
            return Err(syn::Error::new(name.span, format!("invar knows no CPU feature `{}`", name.text)));
        }
        if set.machines().next().is_none() {
            return Err(syn::Error::new(set.0[0].span, format!("no CPU has all of `{}`", set.text())));
        }
        Ok(Self { conditions, set })
    }
}

impl Set {
    /// As it is told.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|name| &*name.text).collect::<Vec<_>>().join("+")
    }

    /// The machines that have all of these features.
    pub(crate) fn machines(&self) -> impl Iterator<Item = &'static Machine> + '_ {
        MACHINES.iter().filter(|machine| self.0.iter().all(|name| machine.closed(&name.text).is_some()))
    }

    /// All features that are there with these on such a machine.
    pub(crate) fn features(&self, machine: &Machine) -> Vec<&'static str> {
        let mut all = Vec::new();
        for name in &self.0 {
            let closed = machine.closed(&name.text).unwrap_or_default();
            all.extend(closed.into_iter().filter(|feature| !all.contains(feature)).collect::<Vec<_>>());
        }
        all
    }

    /// Those whose keys are asked: none that another one has with it.
    pub(crate) fn roots(&self, machine: &Machine) -> Vec<&Name> {
        let names = || self.0.iter().enumerate();
        let is_root = |&(at, name): &(usize, &Name)| {
            !names().any(|(other_at, other)| {
                let both = [name, other].map(|name| machine.closed(&name.text).unwrap_or_default());
                let has = |a: &[&str], b: &[&str]| b.iter().all(|feature| a.contains(feature));
                other_at != at && has(&both[1], &both[0]) && (!has(&both[0], &both[1]) || other_at < at)
            })
        };
        names().filter(is_root).map(|(_, name)| name).collect()
    }
}

impl Name {
    /// The constant of `invar::cpu`.
    pub(crate) fn key(&self) -> Ident {
        Ident::new(&self.text.to_uppercase().replace(['.', '-'], "_"), self.span)
    }
}

/// What the attribute says.
pub(crate) struct Arguments {
    /// The path of the runtime's crate.
    pub(crate) runtime: syn::Path,
    pub(crate) versions: Vec<Version>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut runtime = syn::parse_quote!(::invar);
        if input.peek(Token![crate]) && input.peek2(Token![=]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            runtime = input.call(syn::Path::parse_mod_style)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let versions: Vec<Version> = Punctuated::<Version, Token![,]>::parse_terminated(input)?.into_iter().collect();
        for (at, version) in versions.iter().enumerate() {
            let before = version.set.machines().map(|machine| {
                let features = version.set.features(machine);
                versions[..at].iter().find(|before| {
                    before.conditions.is_empty()
                        && before.set.machines().any(|other| other == machine)
                        && before.set.features(machine).iter().all(|feature| features.contains(feature))
                })
            });
            // On each of its machines.
            if let Some(before) = before.collect::<Option<Vec<_>>>() {
                let why = format!(
                    "this version is never chosen: `{}`, which stands before it, is there wherever it is",
                    before[0].set.text()
                );
                return Err(syn::Error::new(version.set.0[0].span, why));
            }
        }
        Ok(Self { runtime, versions })
    }
}

/// A condition on the version in which it stands.
pub(crate) enum Condition {
    Known(bool),
    /// Whatever the whole program is compiled for: what goes into `cfg`.
    Asked(proc_macro2::TokenStream),
}

impl Condition {
    /// Whether all features that a `has!` names are in the version of this set; and those that may be there all the same.
    pub(crate) fn of(question: proc_macro2::TokenStream, there: &[&str]) -> syn::Result<(Self, Vec<LitStr>)> {
        let asked = Set::parse.parse2(question)?;
        let (mut left, mut known) = (Vec::new(), Vec::new());
        for name in &asked.0 {
            // A level is its features. Of one feature the compiler knows what it builds on.
            for feature in spelt_out(&name.text) {
                let is_unknown = NOT_THE_COMPILERS.contains(&feature);
                // One of a level's that the compiler does not know is no part of the question.
                if there.contains(&feature) || is_unknown && feature != name.text {
                    continue;
                }
                let literal = LitStr::new(feature, name.span);
                left.push(match is_unknown {
                    true => quote::quote!(any()),
                    false => quote::quote_spanned!(name.span=> target_feature = #literal),
                });
                known.extend((!is_unknown).then_some(literal));
            }
        }
        let condition = match left.len() {
            0 => Self::Known(true),
            _ => Self::Asked(quote::quote!(all(#(#left),*))),
        };
        Ok((condition, known))
    }

    pub(crate) fn not(self) -> Self {
        match self {
            Self::Known(is) => Self::Known(!is),
            Self::Asked(what) => Self::Asked(quote::quote!(not(#what))),
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Known(false), _) | (_, Self::Known(false)) => Self::Known(false),
            (Self::Known(true), other) | (other, Self::Known(true)) => other,
            (Self::Asked(one), Self::Asked(other)) => Self::Asked(quote::quote!(all(#one, #other))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Set {
        syn::parse_str(text).unwrap()
    }

    #[test]
    fn sets_are_read_as_they_are_written() {
        for (written, read) in [
            ("avx2", "avx2"),
            ("avx2 + bmi2+fma", "avx2+bmi2+fma"),
            ("sse4.1+sse4.2", "sse4.1+sse4.2"),
            ("x86-64-v3+avx512f", "x86-64-v3+avx512f"),
            (r#""avx2, sse4.2""#, "avx2+sse4.2"),
        ] {
            assert_eq!(set(written).text(), read);
        }
        assert!(syn::parse_str::<Set>("avx2+").is_err() && syn::parse_str::<Set>("").is_err());
    }

    #[test]
    fn a_key_is_asked_unless_another_one_proves_as_much() {
        let roots = |text| {
            let set = set(text);
            let roots = set.roots(set.machines().next().unwrap());
            roots.iter().map(|name| name.key().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(roots("avx2+bmi2+avx"), "AVX2 BMI2");
        assert_eq!(roots("sse4.2+avx512bw+fma"), "AVX512BW");
        assert_eq!(roots("x86-64-v3+avx2+sha"), "X86_64_V3 SHA");
        assert_eq!(roots("avx2+avx2"), "AVX2");
        assert_eq!(roots("neon+sve2-aes+crc"), "SVE2_AES CRC");
        assert_eq!(roots("zfhmin+zfh"), "ZFH");
    }

    #[test]
    fn a_version_is_of_the_machines_that_have_all_of_it() {
        let machines = |text| set(text).machines().map(|machine| machine.name).collect::<Vec<_>>().join(" ");
        assert_eq!(machines("avx2"), "x86_64");
        assert_eq!(machines("aes"), "x86_64 aarch64");
        assert_eq!(machines("aes+neon"), "aarch64");
        assert_eq!(machines("zba+zbb"), "riscv64");
        let read =
            |text| syn::parse_str::<Arguments>(text).map(|read| read.versions.len()).map_err(|wrong| wrong.to_string());
        assert_eq!(read("avx2, neon, zbb"), Ok(3));
        assert_eq!(read("avx2+neon"), Err("no CPU has all of `avx2+neon`".into()));
        assert_eq!(read("avx3"), Err("invar knows no CPU feature `avx3`".into()));
        // NEON is wherever AArch64's AES is, but x86-64 has another one.
        assert_eq!(read("neon, aes"), Ok(2));
        assert!(read("neon, neon+aes").unwrap_err().starts_with("this version is never chosen: `neon`"));
    }
}
