//! `#[derive(AvroSchema)]`: see `kafka_serde::AvroSchema`, which documents it.

#![forbid(unsafe_code)]

mod attributes;
mod cases;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result, parse_macro_input};

use self::attributes::{Container, Member};

/// Makes the Avro schema of a struct or an enum; see `kafka_serde::AvroSchema`.
#[proc_macro_derive(AvroSchema, attributes(avro, serde))]
pub fn derive_avro_schema(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "a type with parameters has no one schema: write it by hand"));
    }
    let container = Container::of(input)?;
    let body = match &input.data {
        Data::Struct(data) => structure(&container, &data.fields, input)?,
        Data::Enum(data) if data.variants.iter().all(|variant| matches!(variant.fields, Fields::Unit)) => {
            enumeration(&container, data)?
        }
        Data::Enum(data) => union(&container, data)?,
        Data::Union(_) => return Err(Error::new_spanned(&input.ident, "a union has no Avro schema")),
    };
    let (ident, krate) = (&input.ident, &container.krate);
    Ok(quote! {
        #[automatically_derived]
        impl #krate::avro::AvroType for #ident {
            fn write(schema: &mut #krate::avro::SchemaText) {
                #body
            }
        }

        #[automatically_derived]
        impl #krate::AvroSchema for #ident {
            fn avro_schema() -> #krate::Schema {
                #krate::avro::SchemaText::of::<Self>()
            }
        }
    })
}

fn structure(container: &Container, fields: &Fields, input: &DeriveInput) -> Result<TokenStream> {
    let krate = &container.krate;
    let fields = match fields {
        Fields::Named(fields) => &fields.named,
        // serde sees through it, and so does its schema.
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
            let inner = &fields.unnamed[0].ty;
            return Ok(quote! { <#inner as #krate::avro::AvroType>::write(schema); });
        }
        _ => return Err(Error::new_spanned(&input.ident, "a record has fields with names")),
    };
    let mut parts = Vec::new();
    for field in fields {
        let member = Member::of(field)?;
        if member.skipped {
            continue;
        }
        let name = container.field_name(field, &member);
        let Member { aliases, doc, default, schema: text, .. } = &member;
        let default = option(default.as_ref());
        let doc = option(doc.as_ref());
        let inner = &field.ty;
        let write = match text {
            Some(text) => quote! { |schema| schema.raw(#text) },
            None => quote! { <#inner as #krate::avro::AvroType>::write },
        };
        parts.push(quote! { record.field(#name, &[#(#aliases),*], #doc, #default, #write); });
    }
    let Container { name, namespace, doc, aliases, .. } = container;
    let (namespace, doc) = (option(namespace.as_ref()), option(doc.as_ref()));
    Ok(quote! {
        schema.record(#name, #namespace, #doc, &[#(#aliases),*], |record| { #(#parts)* });
    })
}

fn enumeration(container: &Container, data: &syn::DataEnum) -> Result<TokenStream> {
    let mut symbols = Vec::new();
    let mut default = None;
    for variant in &data.variants {
        let member = Member::of_variant(variant)?;
        let symbol = container.variant_name(variant, &member);
        if member.is_default {
            default = Some(symbol.clone());
        }
        symbols.push(symbol);
    }
    let default = option(default.as_ref());
    let Container { name, namespace, doc, aliases, .. } = container;
    let (namespace, doc) = (option(namespace.as_ref()), option(doc.as_ref()));
    Ok(quote! {
        schema.enumeration(#name, #namespace, #doc, &[#(#aliases),*], &[#(#symbols),*], #default);
    })
}

/// An enum with data: each variant holds one type, and is a branch.
fn union(container: &Container, data: &syn::DataEnum) -> Result<TokenStream> {
    let krate = &container.krate;
    let mut branches = Vec::new();
    for variant in &data.variants {
        branches.push(match &variant.fields {
            Fields::Unit if variant.ident == "Null" => quote! { |schema| schema.raw("\"null\"") },
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                let inner = &fields.unnamed[0].ty;
                quote! { <#inner as #krate::avro::AvroType>::write }
            }
            _ => {
                let message = "a variant of a union holds one type, `Paid(Paid)`, or is called `Null`";
                return Err(Error::new_spanned(&variant.ident, message));
            }
        });
    }
    Ok(quote! { schema.union(&[#(#branches),*]); })
}

fn option(value: Option<&String>) -> TokenStream {
    match value {
        Some(value) => quote! { ::core::option::Option::Some(#value) },
        None => quote! { ::core::option::Option::None },
    }
}
