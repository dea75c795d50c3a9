//! A whole `impl` block: its functions get the versions that it names, or that they name.

use crate::function;
use crate::sets::Arguments;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, ImplItem, ItemFn, ItemImpl};

pub(crate) fn expand(mut block: ItemImpl, arguments: &Arguments) -> syn::Result<TokenStream> {
    if let Some((_, of, _)) = &block.trait_ {
        let why = "functions of a trait have no versions, as the compiler takes no #[target_feature] there: \
                   put the body into a function of the type, and call that";
        return Err(syn::Error::new_spanned(of, why));
    }
    let mut wrong: Option<syn::Error> = None;
    let mut items = Vec::new();
    for item in std::mem::take(&mut block.items) {
        let ImplItem::Fn(function) = item else {
            items.push(item);
            continue;
        };
        match of_block(function.into_token_stream(), arguments) {
            Ok(function) => items.push(ImplItem::Verbatim(function)),
            Err(error) => match &mut wrong {
                Some(errors) => errors.combine(error),
                None => wrong = Some(error),
            },
        }
    }
    block.items = items;
    wrong.map_or_else(|| Ok(quote!(#block)), Err)
}

/// A function of the block; an attribute of its own is more than the block's.
fn of_block(function: TokenStream, arguments: &Arguments) -> syn::Result<TokenStream> {
    let mut function: ItemFn = syn::parse2(function)?;
    let is_own = |attribute: &Attribute| {
        let last = attribute.path().segments.last();
        last.is_some_and(|name| name.ident == "multiversion")
    };
    let Some(at) = function.attrs.iter().position(is_own) else {
        let none = arguments.versions.is_empty();
        return if none { Ok(function.into_token_stream()) } else { function::expand(&function, arguments, true) };
    };
    let own = function.attrs.remove(at).parse_args::<Arguments>()?;
    function::expand(&function, &Arguments { runtime: arguments.runtime.clone(), ..own }, true)
}
