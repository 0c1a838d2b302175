//! The registry's API beyond finding schemas: subjects, versions, deletions, compatibility, modes, contexts.

mod catalog;
mod compatibility;
mod deletion;
mod mode;

pub use catalog::{Deleted, SubjectVersion, Version};
pub use compatibility::Compatibility;
pub use deletion::Delete;
pub use mode::Mode;

use serde_json::Value;

/// A list of strings.
fn strings(body: &Value) -> Result<Vec<String>, String> {
    let list = body.as_array().ok_or("no list")?;
    let text = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| "a list of something else".to_owned());
    list.iter().map(text).collect()
}

/// A number.
fn integer(body: &Value) -> Result<i32, String> {
    body.as_i64().and_then(|number| i32::try_from(number).ok()).ok_or_else(|| "no 32-bit number".to_owned())
}

/// A list of numbers.
fn integers(body: &Value) -> Result<Vec<i32>, String> {
    body.as_array().ok_or("no list")?.iter().map(integer).collect()
}
