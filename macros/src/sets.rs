//! Sets of CPU features as programs write them: `avx2`, `avx2+bmi2`, `"avx2,bmi2"`, `x86-64-v3`.

use crate::features::{V2, V3, V4, features};
use proc_macro2::Span;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Ident, Lit, LitStr, Token};

/// As in the condition of `arch/lib.rs` by which there are keys of CPU features.
pub(crate) const MACHINE: &str = "x86_64";

macro_rules! table {
    ($($name:literal $register:ident $bit:literal $state:ident $builds_on:literal,)*) => {
        /// Each feature, and what it builds on.
        const FEATURES: &[(&str, &str)] = &[$(($name, $builds_on)),*];
    };
}
features!(table);

/// Each level, and what it has beside what stands before it.
const LEVELS: [(&str, &str); 3] = [("x86-64-v2", V2), ("x86-64-v3", V3), ("x86-64-v4", V4)];

/// Features that are no stable `target_feature`, and none that the compiler would choose instructions by.
const NOT_THE_COMPILERS: [&str; 3] = ["ermsb", "fsrm", "lahfsahf"];

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
        match set.0.iter().find(|name| closed(&name.text).is_none()) {
            Some(name) => Err(syn::Error::new(name.span, format!("invar knows no CPU feature `{}`", name.text))),
            None => Ok(Self { conditions, set }),
        }
    }
}

impl Set {
    /// As it is told.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|name| &*name.text).collect::<Vec<_>>().join("+")
    }

    /// All features that are there with these.
    pub(crate) fn features(&self) -> Vec<&str> {
        let mut all = Vec::new();
        for name in &self.0 {
            // One that nobody knows is there with itself alone.
            let closed = closed(&name.text).unwrap_or_else(|| vec![&name.text]);
            all.extend(closed.into_iter().filter(|feature| !all.contains(feature)).collect::<Vec<_>>());
        }
        all
    }

    /// Those whose keys are asked: none that another one has with it.
    pub(crate) fn roots(&self) -> Vec<&Name> {
        let names = || self.0.iter().enumerate();
        let is_root = |&(at, name): &(usize, &Name)| {
            !names().any(|(other_at, other)| {
                let both = [name, other].map(|name| closed(&name.text).unwrap_or_default());
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

    /// What the compiler is to use with it: itself, or a level's features.
    pub(crate) fn enables(&self) -> String {
        let is_level = LEVELS.iter().any(|(level, _)| *level == self.text);
        let features = if is_level { closed(&self.text).unwrap_or_default() } else { vec![&*self.text] };
        let known = features.into_iter().filter(|feature| !NOT_THE_COMPILERS.contains(feature));
        known.collect::<Vec<_>>().join(",")
    }
}

/// A feature and all that it builds on, or all features of a level.
fn closed(name: &str) -> Option<Vec<&'static str>> {
    let mut all: Vec<&'static str> = match LEVELS.iter().position(|(level, _)| *level == name) {
        Some(last) => LEVELS[..=last].iter().flat_map(|(_, features)| features.split(' ')).collect(),
        None => vec![FEATURES.iter().find(|(feature, _)| *feature == name)?.0],
    };
    let mut at = 0;
    while let Some(feature) = all.get(at) {
        let (_, builds_on) = FEATURES.iter().find(|(name, _)| name == feature)?;
        for more in builds_on.split(',').filter(|more| !more.is_empty()) {
            if !all.contains(&more) {
                all.push(more);
            }
        }
        at += 1;
    }
    Some(all)
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
            let features = version.set.features();
            let less = |before: &&Version| {
                before.conditions.is_empty() && before.set.features().iter().all(|feature| features.contains(feature))
            };
            if let Some(before) = versions[..at].iter().find(less) {
                let why = format!(
                    "this version is never chosen: `{}`, which stands before it, is there wherever it is",
                    before.set.text()
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
            for feature in closed(&name.text).unwrap_or_else(|| vec![&name.text]) {
                // A level is its features. Of one feature the compiler knows what it builds on.
                let is_level = feature != name.text && name.text.starts_with("x86-64-");
                let is_unknown = NOT_THE_COMPILERS.contains(&feature);
                if !(is_level && !is_unknown || feature == name.text) || there.contains(&feature) {
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

    /// What is there with a feature is what the runtime takes to be there, whose table this one is.
    #[test]
    fn the_runtime_proves_the_same() {
        if invar_arch::FEATURES.is_empty() {
            return;
        }
        let names = FEATURES.iter().chain(&LEVELS).map(|(name, _)| *name);
        for name in names {
            let features = closed(name).unwrap();
            let ours = features.iter().fold(0, |all, feature| all | invar_arch::feature_mask(feature));
            assert_eq!(ours, invar_arch::feature_mask(name), "{name}");
            assert_eq!(features.len(), ours.count_ones() as usize, "{name}");
        }
        assert_eq!(FEATURES.len(), invar_arch::FEATURES.split_ascii_whitespace().count());
    }

    #[test]
    fn a_key_is_asked_unless_another_one_proves_as_much() {
        let roots = |text| set(text).roots().iter().map(|name| name.key().to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(roots("avx2+bmi2+avx"), "AVX2 BMI2");
        assert_eq!(roots("sse4.2+avx512bw+fma"), "AVX512BW");
        assert_eq!(roots("x86-64-v3+avx2+sha"), "X86_64_V3 SHA");
        assert_eq!(roots("avx2+avx2"), "AVX2");
    }

    #[test]
    fn the_compiler_gets_the_names_that_it_has() {
        let enables = |text| set(text).0.iter().map(Name::enables).collect::<Vec<_>>();
        assert_eq!(enables("fsrm+avx2"), ["", "avx2"]);
        let level = &enables("x86-64-v2")[0];
        assert!(level.split(',').any(|name| name == "sse4.2") && !level.contains("lahfsahf"), "{level}");
    }
}
