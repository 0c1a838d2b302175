//! What `#[avro(..)]` and `#[serde(..)]` say.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, DeriveInput, Expr, ExprLit, Field, Lit, LitStr, Meta, Path, Result, Token, Variant, parse_quote};

use crate::cases::renamed;

/// On the type.
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) doc: Option<String>,
    pub(crate) aliases: Vec<String>,
    /// Where this macro's traits are.
    pub(crate) krate: Path,
    rename_all: Option<String>,
}

impl Container {
    pub(crate) fn of(input: &DeriveInput) -> Result<Self> {
        let mut container = Self {
            name: input.ident.to_string(),
            namespace: None,
            doc: doc(&input.attrs),
            aliases: Vec::new(),
            krate: parse_quote!(::kafka_serde),
            rename_all: None,
        };
        each(&input.attrs, "avro", |meta| {
            if meta.path.is_ident("namespace") {
                container.namespace = Some(text(&meta)?);
            } else if meta.path.is_ident("name") {
                container.name = text(&meta)?;
            } else if meta.path.is_ident("alias") {
                container.aliases.push(text(&meta)?);
            } else if meta.path.is_ident("doc") {
                container.doc = Some(text(&meta)?);
            } else if meta.path.is_ident("crate") {
                container.krate = meta.value()?.parse::<LitStr>()?.parse()?;
            } else {
                return Err(meta.error("a type has `namespace`, `name`, `alias`, `doc` and `crate`"));
            }
            Ok(())
        })?;
        each(&input.attrs, "serde", |meta| {
            match meta.path.is_ident("rename_all") && meta.input.peek(Token![=]) {
                true => container.rename_all = Some(text(&meta)?),
                false => ignore(&meta)?,
            }
            Ok(())
        })?;
        Ok(container)
    }

    pub(crate) fn field_name(&self, field: &Field, member: &Member) -> String {
        let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
        self.renamed(ident.trim_start_matches("r#"), member, false)
    }

    pub(crate) fn variant_name(&self, variant: &Variant, member: &Member) -> String {
        self.renamed(&variant.ident.to_string(), member, true)
    }

    fn renamed(&self, ident: &str, member: &Member, variant: bool) -> String {
        match (&member.rename, &self.rename_all) {
            (Some(name), _) => name.clone(),
            (None, Some(rule)) => renamed(ident, rule, variant),
            (None, None) => ident.to_owned(),
        }
    }
}

/// On a field or a variant.
#[derive(Default)]
pub(crate) struct Member {
    pub(crate) aliases: Vec<String>,
    pub(crate) doc: Option<String>,
    /// As JSON.
    pub(crate) default: Option<String>,
    /// In place of what the type has.
    pub(crate) schema: Option<String>,
    pub(crate) skipped: bool,
    pub(crate) is_default: bool,
    rename: Option<String>,
}

impl Member {
    pub(crate) fn of(field: &Field) -> Result<Self> {
        Self::read(&field.attrs)
    }

    pub(crate) fn of_variant(variant: &Variant) -> Result<Self> {
        Self::read(&variant.attrs)
    }

    fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut member = Self { doc: doc(attributes), ..Self::default() };
        each(attributes, "avro", |meta| {
            if meta.path.is_ident("default") {
                // Alone, for the symbol that stands for those a reader does not know.
                match meta.input.peek(Token![=]) {
                    true => member.default = Some(text(&meta)?),
                    false => member.is_default = true,
                }
            } else if meta.path.is_ident("alias") {
                member.aliases.push(text(&meta)?);
            } else if meta.path.is_ident("doc") {
                member.doc = Some(text(&meta)?);
            } else if meta.path.is_ident("schema") {
                member.schema = Some(text(&meta)?);
            } else if meta.path.is_ident("bytes") {
                member.schema = Some("\"bytes\"".into());
            } else {
                return Err(meta.error("a field has `default`, `alias`, `doc`, `schema` and `bytes`"));
            }
            Ok(())
        })?;
        each(attributes, "serde", |meta| {
            if meta.path.is_ident("rename") && meta.input.peek(Token![=]) {
                member.rename = Some(text(&meta)?);
            } else if meta.path.is_ident("skip") {
                member.skipped = true;
            } else if meta.path.is_ident("flatten") {
                return Err(meta.error("a flattened field has no place in a derived schema: write it by hand"));
            } else {
                ignore(&meta)?;
            }
            Ok(())
        })?;
        Ok(member)
    }
}

fn each(attributes: &[Attribute], name: &str, mut read: impl FnMut(ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident(name))
        .try_for_each(|attribute| attribute.parse_nested_meta(&mut read))
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<String> {
    Ok(meta.value()?.parse::<LitStr>()?.value())
}

/// What is serde's business.
fn ignore(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        meta.parse_nested_meta(|inner| ignore(&inner))?;
    }
    Ok(())
}

/// The comment on it.
fn doc(attributes: &[Attribute]) -> Option<String> {
    let lines: Vec<String> = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n").trim().to_owned())
}
