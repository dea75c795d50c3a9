//! A body in one version: `has!` and `version!` get their values, and of an `if` that asks nothing else one branch is left.

use crate::machines::Machine;
use crate::sets::{Condition, Set};
use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Block, Expr, ExprBlock, LitStr, Macro, Path, UnOp};

/// A body as one version has it.
pub(crate) struct InVersion {
    pub(crate) block: Block,
    /// Branches that other versions have.
    pub(crate) lacks_branches: bool,
    /// Features that it asks for, and has if the whole program has them.
    pub(crate) asked: Vec<LitStr>,
}

/// The body in the version of this set, on such a machine; the plain one has none.
pub(crate) fn version(body: &Block, set: Option<(&Set, &Machine)>, runtime: &Path) -> syn::Result<InVersion> {
    let text = set.map_or_else(|| "plain".to_owned(), |(set, _)| set.text());
    let there = set.map_or_else(Vec::new, |(set, machine)| set.features(machine));
    let mut values = Values { there, text, runtime, lacks_branches: false, asked: Vec::new(), wrong: None };
    let mut block = body.clone();
    values.visit_block_mut(&mut block);
    let Values { lacks_branches, asked, wrong, .. } = values;
    wrong.map_or(Ok(InVersion { block, lacks_branches, asked }), Err)
}

struct Values<'a> {
    there: Vec<&'a str>,
    text: String,
    runtime: &'a Path,
    lacks_branches: bool,
    asked: Vec<LitStr>,
    wrong: Option<syn::Error>,
}

impl Values<'_> {
    /// Whether a path leads to this macro of the runtime.
    fn is(&self, path: &Path, name: &str) -> bool {
        let names = |path: &Path| path.segments.iter().map(|part| part.ident.to_string()).collect::<Vec<_>>();
        let mut whole = names(self.runtime);
        whole.push(name.to_owned());
        names(path) == whole
    }

    fn has(&mut self, question: TokenStream) -> Condition {
        match Condition::of(question, &self.there) {
            Ok((condition, asked)) => {
                self.asked.extend(asked);
                condition
            }
            Err(wrong) => {
                self.wrong.get_or_insert(wrong);
                Condition::Known(false)
            }
        }
    }

    /// The value of a macro's call, if it is one of the two.
    fn value(&mut self, path: &Path, arguments: &TokenStream) -> Option<TokenStream> {
        if self.is(path, "version") && arguments.is_empty() {
            let text = &self.text;
            return Some(quote!(#text));
        }
        if !self.is(path, "has") {
            return None;
        }
        Some(match self.has(arguments.clone()) {
            Condition::Known(is) => quote!(#is),
            Condition::Asked(what) => quote!(::core::cfg!(#what)),
        })
    }

    /// An expression that is made of `has!` alone.
    fn condition(&mut self, expression: &Expr) -> Option<Condition> {
        match expression {
            Expr::Macro(call) if self.is(&call.mac.path, "has") => Some(self.has(call.mac.tokens.clone())),
            Expr::Paren(inner) => self.condition(&inner.expr),
            Expr::Group(inner) => self.condition(&inner.expr),
            Expr::Unary(not) if matches!(not.op, UnOp::Not(_)) => Some(self.condition(&not.expr)?.not()),
            Expr::Binary(two) => {
                let (one, other) = (self.condition(&two.left)?, self.condition(&two.right)?);
                match two.op {
                    BinOp::And(_) => Some(one.and(other)),
                    BinOp::Or(_) => Some(one.not().and(other.not()).not()),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// What a macro is called with, which has no structure that we know: calls are found by their tokens.
    fn tokens(&mut self, tokens: TokenStream) -> TokenStream {
        let mut done: Vec<TokenTree> = Vec::new();
        for token in tokens {
            if let TokenTree::Group(group) = &token {
                let before = call_before(&done);
                if let Some((path, length)) = before
                    && let Some(value) = self.value(&path, &group.stream())
                {
                    done.truncate(done.len() - length);
                    done.extend(value);
                    continue;
                }
                let mut inner = Group::new(group.delimiter(), self.tokens(group.stream()));
                inner.set_span(group.span());
                done.push(inner.into());
            } else {
                done.push(token);
            }
        }
        done.into_iter().collect()
    }
}

/// The path of the macro that is called where these tokens end with `path!`, and how many tokens that is.
fn call_before(tokens: &[TokenTree]) -> Option<(Path, usize)> {
    let is = |at: usize, mark: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == mark);
    let mut at = tokens.len().checked_sub(1)?;
    if !is(at, '!') {
        return None;
    }
    let end = at;
    while at > 0 && (is(at - 1, ':') || matches!(tokens[at - 1], TokenTree::Ident(_))) {
        // Two names are not one path.
        if matches!((&tokens[at - 1], &tokens[at]), (TokenTree::Ident(_), TokenTree::Ident(_))) {
            break;
        }
        at -= 1;
    }
    let path: TokenStream = tokens[at..end].iter().cloned().collect();
    let path = syn::parse::Parser::parse2(Path::parse_mod_style, path).ok()?;
    Some((path, tokens.len() - at))
}

impl VisitMut for Values<'_> {
    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        if let Expr::If(choice) = expression
            && let Some(condition) = self.condition(&choice.cond)
        {
            let then = ours(&choice.then_branch);
            let other = match choice.else_branch.as_ref().map(|(_, other)| &**other) {
                None => syn::parse_quote!({}),
                Some(Expr::Block(block)) => ours(&block.block),
                Some(other) => syn::parse_quote!({ #other }),
            };
            let chosen = match condition {
                Condition::Known(true) => then,
                Condition::Known(false) => other,
                Condition::Asked(what) => syn::parse_quote!({ #[cfg(#what)] #then #[cfg(not(#what))] #other }),
            };
            self.lacks_branches = true;
            *expression = Expr::Block(ExprBlock { attrs: Vec::new(), label: None, block: chosen });
        }
        if let Expr::Macro(call) = expression
            && let Some(value) = self.value(&call.mac.path, &call.mac.tokens)
        {
            *expression = syn::parse_quote!(#value);
        }
        visit_mut::visit_expr_mut(self, expression);
    }

    fn visit_macro_mut(&mut self, call: &mut Macro) {
        call.tokens = self.tokens(std::mem::take(&mut call.tokens));
    }

    /// An item inside is compiled without the version's features.
    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
}

/// A block whose braces were not written for nothing, as the compiler would say where a branch stands alone.
fn ours(block: &Block) -> Block {
    let span = Span::mixed_site().located_at(block.brace_token.span.join());
    Block { brace_token: syn::token::Brace(span), stmts: block.stmts.clone() }
}

/// What in a function keeps it from being one body of several, and what shows where it stands.
pub(crate) struct Found {
    pub(crate) wrong: Option<syn::Error>,
    /// It names the type that it belongs to.
    pub(crate) names_self: bool,
    /// In how many items inside: their `Self` is another one.
    items: u32,
}

impl Found {
    pub(crate) fn in_function(function: &syn::ItemFn) -> Self {
        let mut found = Self { names_self: function.sig.receiver().is_some(), wrong: None, items: 0 };
        found.visit_signature(&function.sig);
        found.visit_block(&function.block);
        found
    }

    fn refuse(&mut self, what: impl ToTokens) {
        let why = "each version would have a static of its own: put it before the function";
        self.wrong.get_or_insert_with(|| syn::Error::new_spanned(what, why));
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.items += 1;
        visit::visit_item(self, item);
        self.items -= 1;
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.refuse(&item.ident);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        if call.path.segments.last().is_some_and(|name| name.ident == "thread_local") {
            self.refuse(&call.path);
        }
        self.names_self |= self.items == 0 && has_self(call.tokens.clone());
    }

    fn visit_ident(&mut self, name: &'ast syn::Ident) {
        self.names_self |= self.items == 0 && name == "Self";
    }
}

fn has_self(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => has_self(group.stream()),
        TokenTree::Ident(name) => name == "Self",
        _ => false,
    })
}
