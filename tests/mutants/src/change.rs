//! The changes: every one is compiled in at once, beside what stands there, and chosen when a program starts.

use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Block, Expr, Item, Lit, Stmt, UnOp, parse_quote};

/// One change that can be chosen.
pub struct Mutant {
    pub file: String,
    pub line: usize,
    pub what: String,
}

impl Mutant {
    /// Where it is, and what.
    pub fn place(&self) -> String {
        format!("{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Puts changes into a file; their numbers go on from those of `mutants`.
pub fn change(name: &str, source: &str, mutants: &mut Vec<Mutant>) -> String {
    let mut file = syn::parse_file(source).unwrap_or_else(|error| panic!("{name}: {error}"));
    Changer { file: name, mutants, is_const: false }.visit_file_mut(&mut file);
    file.into_token_stream().to_string()
}

struct Changer<'a> {
    file: &'a str,
    mutants: &'a mut Vec<Mutant>,
    /// In a function that may be called while something is compiled, where no trait can be used.
    is_const: bool,
}

impl Changer<'_> {
    /// Whether the change is chosen that makes this of what stands there, as an expression.
    fn chosen(&mut self, at: &impl Spanned, what: &str) -> Expr {
        let span = at.span();
        let text = span.source_text().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        let what = format!("{}: {what}", text.chars().take(90).collect::<String>());
        self.mutants.push(Mutant { file: self.file.into(), line: span.start().line, what });
        let number = self.mutants.len() as u32;
        // A crate of which each knows the name.
        if self.file.starts_with("lock/") {
            return parse_quote!(invar::__private::mutants::is(#number));
        }
        parse_quote!(invar_abi::mutants::is(#number))
    }
}

impl VisitMut for Changer<'_> {
    fn visit_item_mut(&mut self, item: &mut Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            // What is evaluated when it is compiled cannot be chosen later; the functions in it can.
            Item::Const(item) => {
                let Expr::Block(block) = &mut *item.expr else { return };
                let items = block.block.stmts.iter_mut().filter_map(|statement| match statement {
                    Stmt::Item(item) => Some(item),
                    _ => None,
                });
                return items.for_each(|item| self.visit_item_mut(item));
            }
            _ => return,
        };
        let tests = attributes.iter().any(|attribute| attribute.to_token_stream().to_string().contains("(test"));
        if !tests {
            let before = self.is_const;
            self.is_const = matches!(item, Item::Fn(item) if item.sig.constness.is_some());
            visit_mut::visit_item_mut(self, item);
            self.is_const = before;
        }
    }

    fn visit_impl_item_fn_mut(&mut self, item: &mut syn::ImplItemFn) {
        let before = std::mem::replace(&mut self.is_const, item.sig.constness.is_some());
        visit_mut::visit_impl_item_fn_mut(self, item);
        self.is_const = before;
    }

    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_trait_item_const_mut(&mut self, _: &mut syn::TraitItemConst) {}
    fn visit_attribute_mut(&mut self, _: &mut syn::Attribute) {}
    fn visit_pat_mut(&mut self, _: &mut syn::Pat) {}
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_generics_mut(&mut self, _: &mut syn::Generics) {}
    fn visit_path_arguments_mut(&mut self, _: &mut syn::PathArguments) {}
    fn visit_angle_bracketed_generic_arguments_mut(&mut self, _: &mut syn::AngleBracketedGenericArguments) {}

    /// A statement that is left out.
    fn visit_block_mut(&mut self, block: &mut Block) {
        for statement in &mut block.stmts {
            let original = statement.clone();
            visit_mut::visit_stmt_mut(self, statement);
            let Stmt::Expr(expression, Some(_)) = statement else { continue };
            let has_effect = match expression {
                Expr::Call(call) => !is_hint(&call.func),
                Expr::MethodCall(_) => true,
                Expr::Assign(assign) => !matches!(*assign.left, Expr::Path(_) | Expr::Tuple(_) | Expr::Infer(_)),
                _ => false,
            };
            if has_effect {
                let chosen = self.chosen(&original, "left out");
                *statement = parse_quote!(if !#chosen { #statement });
            }
        }
    }

    fn visit_expr_repeat_mut(&mut self, repeat: &mut syn::ExprRepeat) {
        self.visit_expr_mut(&mut repeat.expr);
    }

    fn visit_expr_const_mut(&mut self, _: &mut syn::ExprConst) {}

    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        let original = expression.clone();
        visit_mut::visit_expr_mut(self, expression);
        match expression {
            // One with a condition is there only in some builds.
            Expr::Lit(literal) if literal.attrs.is_empty() => {
                let Lit::Int(number) = &literal.lit else { return };
                let Ok(value) = number.base10_parse::<u128>() else { return };
                let changed = if value < 100 { value + 1 } else { value - 1 };
                let other = syn::LitInt::new(&format!("{changed}{}", number.suffix()), number.span());
                let chosen = self.chosen(&original, &format!("{changed}"));
                *expression = parse_quote!((if #chosen { #other } else { #number }));
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                let inner = &unary.expr;
                let chosen = self.chosen(&original, "without !");
                *expression = parse_quote!((match #inner { it => if #chosen { it } else { !it } }));
            }
            Expr::If(condition) if !has_let(&condition.cond) && !is_changed(&original) => {
                let inner = &condition.cond;
                let Expr::If(before) = &original else { return };
                let chosen = self.chosen(&before.cond, "the contrary");
                *condition.cond = parse_quote!((#inner) != #chosen);
            }
            Expr::MethodCall(call)
                if !self.is_const && call.args.len() == 1 && (call.method == "min" || call.method == "max") =>
            {
                let other = if call.method == "min" { "max" } else { "min" };
                let (receiver, method, argument) = (&call.receiver, &call.method, &call.args[0]);
                let chosen = self.chosen(&original, other);
                let other = syn::Ident::new(other, method.span());
                *expression = parse_quote!((match (#receiver, #argument) {
                    (left, right) => if #chosen { left.#other(right) } else { left.#method(right) }
                }));
            }
            Expr::Binary(_) => self.change_binary(expression, &original),
            _ => {}
        }
    }
}

impl Changer<'_> {
    fn change_binary(&mut self, expression: &mut Expr, original: &Expr) {
        let Expr::Binary(binary) = expression else { return };
        let (left, op, right) = (&binary.left, &binary.op, &binary.right);
        let other: BinOp = match op {
            BinOp::Eq(_) => parse_quote!(!=),
            BinOp::Ne(_) => parse_quote!(==),
            BinOp::Lt(_) => parse_quote!(<=),
            BinOp::Le(_) => parse_quote!(<),
            BinOp::Gt(_) => parse_quote!(>=),
            BinOp::Ge(_) => parse_quote!(>),
            BinOp::And(_) => parse_quote!(||),
            BinOp::Or(_) => parse_quote!(&&),
            BinOp::Add(_) => parse_quote!(-),
            BinOp::Sub(_) | BinOp::Mul(_) => parse_quote!(+),
            BinOp::Div(_) => parse_quote!(*),
            BinOp::Rem(_) => parse_quote!(/),
            BinOp::BitAnd(_) | BinOp::BitXor(_) => parse_quote!(|),
            BinOp::BitOr(_) => parse_quote!(&),
            BinOp::Shl(_) => parse_quote!(>>),
            BinOp::Shr(_) => parse_quote!(<<),
            BinOp::AddAssign(_) => parse_quote!(-=),
            BinOp::SubAssign(_) | BinOp::MulAssign(_) => parse_quote!(+=),
            BinOp::DivAssign(_) => parse_quote!(*=),
            BinOp::BitOrAssign(_) => parse_quote!(&=),
            BinOp::BitAndAssign(_) => parse_quote!(|=),
            _ => return,
        };
        if has_let(original) {
            return;
        }
        let chosen = self.chosen(original, &other.to_token_stream().to_string());
        *expression = match op {
            BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) if self.is_const => {
                parse_quote!((if #chosen { #left #other #right } else { #left #op #right }))
            }
            BinOp::Eq(_) | BinOp::Ne(_) => parse_quote!(((#left #op #right) != #chosen)),
            BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => parse_quote!((
                match (&(#left), &(#right)) { (left, right) => if #chosen { left #other right } else { left #op right } }
            )),
            // The right side only where it is asked for.
            BinOp::And(_) => parse_quote!((match #left { left => if left != #chosen { #right } else { left } })),
            BinOp::Or(_) => parse_quote!((match #left { left => if left == #chosen { #right } else { left } })),
            BinOp::Add(_)
            | BinOp::Sub(_)
            | BinOp::Mul(_)
            | BinOp::Div(_)
            | BinOp::Rem(_)
            | BinOp::BitAnd(_)
            | BinOp::BitXor(_)
            | BinOp::BitOr(_)
            | BinOp::Shl(_)
            | BinOp::Shr(_) => parse_quote!((
                match (#left, #right) { (left, right) => if #chosen { left #other right } else { left #op right } }
            )),
            _ => parse_quote!((if #chosen { #left #other #right } else { #left #op #right })),
        };
    }
}

/// Whether a function is called for speed only.
fn is_hint(function: &Expr) -> bool {
    let Expr::Path(function) = function else { return false };
    let name = function.path.segments.last().map(|segment| segment.ident.to_string());
    name.is_some_and(|name| matches!(&*name, "cold_path" | "spin_loop"))
}

/// Whether a condition binds something, which only `if` and `while` can.
fn has_let(condition: &Expr) -> bool {
    match condition {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// Whether a change of the condition has made it the contrary already.
fn is_changed(condition: &Expr) -> bool {
    let Expr::If(condition) = condition else { return false };
    match &*condition.cond {
        Expr::Unary(unary) => matches!(unary.op, UnOp::Not(_)),
        Expr::Binary(binary) => matches!(binary.op, BinOp::Eq(_) | BinOp::Ne(_)),
        _ => false,
    }
}
