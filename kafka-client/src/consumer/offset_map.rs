//! Stand-in until the offset map of its own room arrives.

#[derive(Clone, Debug, Default)]
pub struct OffsetMap {}

#[derive(Debug)]
pub struct DecodeError {}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("damaged")
    }
}

pub fn decode(_text: &str, _committed: i64) -> Result<Option<OffsetMap>, DecodeError> {
    Ok(None)
}
