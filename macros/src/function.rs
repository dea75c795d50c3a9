//! A function with versions: which parts of it each one gets, and what is left in front.

use crate::body::{self, Found, InVersion};
use crate::machines::Machine;
use crate::sets::{Arguments, Set, Version};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, FnArg, GenericParam, Ident, ItemFn, LitStr, Meta, Pat, PatIdent, Path, Signature};

/// Where the versions stand.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Place {
    /// In the function: they see nothing of an `impl` block around it.
    Inside,
    /// Beside the function, in its `impl` block.
    Beside,
}

/// The function and its versions.
pub(crate) fn expand(function: &ItemFn, arguments: &Arguments, within_impl: bool) -> syn::Result<TokenStream> {
    check(function)?;
    let found = Found::in_function(function);
    if let Some(wrong) = found.wrong {
        return Err(wrong);
    }
    if arguments.versions.is_empty() {
        let why = "no version is named: write the CPU features, as #[invar::multiversion(avx512bw, avx2)]";
        return Err(syn::Error::new(Span::call_site(), why));
    }
    let place = if within_impl || found.names_self { Place::Beside } else { Place::Inside };

    let runtime = &arguments.runtime;
    let attributes = Attributes::of(&function.attrs);
    let front = Front::of(&function.sig);
    let mut copies = TokenStream::new();
    let mut arms = TokenStream::new();
    let versions =
        arguments.versions.iter().flat_map(|version| version.set.machines().map(move |machine| (version, machine)));
    for (Version { conditions, set }, machine) in versions {
        let name = copy_name(&function.sig.ident, &set.text());
        let architecture = machine.name;
        let conditions = quote!(#[cfg(target_arch = #architecture)] #(#conditions)*);
        let enables = enables(set, machine);
        let features = enables.map(|enables| quote!(#[target_feature(enable = #enables)]));
        let body = body::version(&function.block, Some((set, machine)), runtime)?;
        let of_copy = attributes.of_copy(features.is_some() || !body.asked.is_empty(), place);
        let copy = copy(function, &name, body);
        copies.extend(quote!(#conditions #of_copy #features #copy));

        let keys = set.roots(machine).into_iter().map(|name| {
            let (key, enables) = (name.key(), machine.enables(&name.text));
            quote!(#key #enables)
        });
        let call = front.call(&name, place);
        arms.extend(quote!(#conditions #runtime::__version! { [#(#keys)*] #call }));
    }
    let name = copy_name(&function.sig.ident, "plain");
    let body = body::version(&function.block, None, runtime)?;
    let of_copy = attributes.of_copy(!body.asked.is_empty(), place);
    let copy = copy(function, &name, body);
    copies.extend(quote!(#of_copy #copy));
    let call = front.call(&name, place);

    let (of_front, visibility, signature) = (&attributes.of_front, &function.vis, &front.signature);
    let (inside, beside) = match place {
        Place::Inside => (copies, TokenStream::new()),
        Place::Beside => (TokenStream::new(), copies),
    };
    Ok(quote! {
        #(#of_front)*
        #visibility #signature {
            #inside
            #arms
            #runtime::__version! { [] #call }
        }
        #beside
    })
}

/// Refuses functions that have no versions.
fn check(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    let refuse = |what: &dyn ToTokens, why: &str| Err(syn::Error::new_spanned(what.to_token_stream(), why));
    if let Some(word) = &signature.asyncness {
        return refuse(
            word,
            "an async function has no versions, as its future runs after the call: put what computes into a function of its own",
        );
    }
    if let Some(word) = &signature.constness {
        return refuse(word, "a const function has no versions, as nothing is decided yet when it is evaluated");
    }
    if let Some(abi) = &signature.abi {
        return refuse(abi, "a function with an ABI of its own has no versions: `invar::ifunc!` makes symbols for C");
    }
    if let Some(variadic) = &signature.variadic {
        return refuse(variadic, "a variadic function has no versions");
    }
    struct Opaque(Option<Span>);
    impl<'ast> Visit<'ast> for Opaque {
        fn visit_type_impl_trait(&mut self, opaque: &'ast syn::TypeImplTrait) {
            self.0.get_or_insert(opaque.span());
        }
        // `Fn() -> T` among bounds is looked through as well.
        fn visit_type(&mut self, inner: &'ast syn::Type) {
            visit::visit_type(self, inner);
        }
    }
    let mut opaque = Opaque(None);
    opaque.visit_return_type(&signature.output);
    if let Some(span) = opaque.0 {
        let why = "each version would return a type of its own: name the type";
        return Err(syn::Error::new(span, why));
    }
    for argument in &signature.inputs {
        let attributes = match argument {
            FnArg::Receiver(receiver) => &receiver.attrs,
            FnArg::Typed(typed) => &typed.attrs,
        };
        if let Some(condition) = attributes.iter().find(|attribute| is_any(attribute, &["cfg", "cfg_attr"])) {
            return refuse(
                condition,
                "an argument under a condition has no versions: put the condition before the function",
            );
        }
    }
    if let Some(own) = function.attrs.iter().find(|attribute| is_any(attribute, &["target_feature"])) {
        return refuse(own, "the versions have the features that `multiversion` names");
    }
    Ok(())
}

fn is_any(attribute: &Attribute, names: &[&str]) -> bool {
    names.iter().any(|name| attribute.path().is_ident(name))
}

/// The features for which the compiler makes a version, if there are any.
fn enables(set: &Set, machine: &Machine) -> Option<LitStr> {
    let all =
        set.0.iter().map(|name| machine.enables(&name.text)).filter(|enables| !enables.is_empty()).collect::<Vec<_>>();
    (!all.is_empty()).then(|| LitStr::new(&all.join(","), set.0[0].span))
}

/// A name that nobody else gives a function; and an argument of this name is not it, as it is not of this macro.
fn copy_name(function: &Ident, version: &str) -> Ident {
    let (name, span) = (function.to_string(), Span::mixed_site().located_at(function.span()));
    let version = version.replace(|other: char| !other.is_ascii_alphanumeric(), "_");
    format_ident!("__invar_{}_{}", name.trim_start_matches("r#"), version, span = span)
}

/// The function as the version of this name, with its body.
fn copy(function: &ItemFn, name: &Ident, body: InVersion) -> ItemFn {
    let mut copy = function.clone();
    copy.attrs.clear();
    if body.lacks_branches {
        // What another version's branches use is there for those.
        copy.attrs.push(syn::parse_quote!(#[allow(unused_variables, unused_mut, unused_assignments)]));
    }
    // For the whole program they are compiled in everywhere, but only a function that says so may call what needs them.
    let asked = body.asked.iter();
    copy.attrs.extend(asked.map(|feature| -> Attribute {
        syn::parse_quote!(#[cfg_attr(target_feature = #feature, target_feature(enable = #feature))])
    }));
    copy.vis = syn::Visibility::Inherited;
    copy.sig.ident = name.clone();
    *copy.block = body.block;
    copy
}

/// A function's attributes, by where they go.
struct Attributes {
    of_front: Vec<Attribute>,
    /// What holds for the body wherever it stands.
    of_body: Vec<Attribute>,
    /// `#[cfg]` before a function in an `impl` block; before others it is gone by now.
    conditions: Vec<Attribute>,
}

impl Attributes {
    fn of(all: &[Attribute]) -> Self {
        let mut sorted = Self { of_front: vec![], of_body: vec![], conditions: vec![] };
        for attribute in all {
            let mut attribute = attribute.clone();
            if is_any(&attribute, &["expect"]) {
                // In the one place or the other it would be expected in vain.
                let Meta::List(list) = &mut attribute.meta else { continue };
                list.path = syn::parse_quote!(allow);
            }
            if is_any(&attribute, &["inline", "cold", "track_caller", "allow", "warn", "deny", "forbid"]) {
                sorted.of_body.push(attribute.clone());
            }
            if is_any(&attribute, &["cfg"]) {
                sorted.conditions.push(attribute.clone());
            }
            sorted.of_front.push(attribute);
        }
        sorted
    }

    fn of_copy(&self, has_features: bool, place: Place) -> TokenStream {
        let of_body = self.of_body.iter().map(|attribute| match &attribute.meta {
            // Not to be had together with features: who calls it may not have them.
            Meta::List(list) if has_features && list.path.is_ident("inline") && list.tokens.to_string() == "always" => {
                quote!(#[inline])
            }
            _ => quote!(#attribute),
        });
        let conditions = (place == Place::Beside).then_some(&self.conditions).into_iter().flatten();
        let hidden = (place == Place::Beside).then(|| quote!(#[doc(hidden)]));
        quote!(#(#conditions)* #hidden #(#of_body)*)
    }
}

/// What is left of the function itself: its signature, with a name for each argument.
struct Front {
    signature: Signature,
    arguments: Vec<Ident>,
    /// Types and constants, which need not follow from the arguments.
    generics: Vec<Ident>,
}

/// Whether it is a name and no more, and none that a version can have: the one that stands inside would be meant.
fn is_name(pattern: &PatIdent) -> bool {
    pattern.by_ref.is_none() && pattern.subpat.is_none() && !pattern.ident.to_string().starts_with("__invar_")
}

impl Front {
    fn of(signature: &Signature) -> Self {
        let mut signature = signature.clone();
        let mut arguments = Vec::new();
        for (at, argument) in signature.inputs.iter_mut().enumerate() {
            match argument {
                FnArg::Receiver(receiver) => {
                    if receiver.reference.is_none() {
                        receiver.mutability = None;
                    }
                    receiver.attrs.clear();
                    arguments.push(Ident::new("self", receiver.self_token.span));
                }
                FnArg::Typed(typed) => {
                    let name = match &*typed.pat {
                        Pat::Ident(name) if is_name(name) => name.ident.clone(),
                        _ => Ident::new(&format!("__invar_{at}"), Span::mixed_site()),
                    };
                    *typed.pat = syn::parse_quote!(#name);
                    typed.attrs.clear();
                    arguments.push(name);
                }
            }
        }
        let generics = signature.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(of) => Some(of.ident.clone()),
            GenericParam::Const(of) => Some(of.ident.clone()),
            GenericParam::Lifetime(_) => None,
        });
        let generics = generics.collect();
        Self { signature, arguments, generics }
    }

    fn call(&self, copy: &Ident, place: Place) -> TokenStream {
        let Self { arguments, generics, .. } = self;
        let path: Path = match place {
            Place::Inside => syn::parse_quote!(#copy),
            Place::Beside => syn::parse_quote!(Self::#copy),
        };
        let generics = (!generics.is_empty()).then(|| quote!(::<#(#generics),*>));
        quote!(#path #generics (#(#arguments),*))
    }
}
