//! Decimals: a two's-complement big-endian number, of which the schema says how many digits stand behind the point.

use super::fault::Fault;

/// The longest form, without redundant sign bytes, that has a text: what an `i128` holds, 38 digits.
const LONGEST: usize = 16;

/// The number without redundant sign bytes, which some clients write and some do not; at least one byte.
pub(crate) fn minimal(mut bytes: &[u8]) -> &[u8] {
    while let [0x00, next, ..] | [0xff, next, ..] = bytes
        && (bytes[0] == 0xff) == (next & 0x80 != 0)
    {
        bytes = &bytes[1..];
    }
    bytes
}

/// `-12.50`, with as many digits behind the point as the scale says.
pub(crate) fn to_text(bytes: &[u8], scale: u32) -> Result<String, Fault> {
    let number = to_number(bytes)?;
    let digits = number.unsigned_abs().to_string();
    let scale = scale as usize;
    let sign = if number < 0 { "-" } else { "" };
    if scale == 0 {
        return Ok(format!("{sign}{digits}"));
    }
    // A scale is at most the precision, but the schema may claim any precision.
    if scale > 1000 {
        return Err(Fault::new(format!("a decimal of scale {scale} has no text; read it as bytes")));
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    Ok(format!("{sign}{whole}.{fraction}"))
}

fn to_number(bytes: &[u8]) -> Result<i128, Fault> {
    let minimal = minimal(bytes);
    let Some(first) = minimal.first() else { return Ok(0) };
    if minimal.len() > LONGEST {
        return Err(Fault::new("a decimal has more than 38 digits; read it as bytes"));
    }
    let mut all = [if first & 0x80 == 0 { 0x00 } else { 0xff }; LONGEST];
    all[LONGEST - minimal.len()..].copy_from_slice(minimal);
    Ok(i128::from_be_bytes(all))
}

/// The number behind a text as `-12.5`, at this scale; refused where digits would be lost.
pub(crate) fn from_text(text: &str, scale: u32) -> Result<i128, Fault> {
    let wrong = || Fault::new(format!("{text:?} is not a decimal with up to {scale} digits behind the point"));
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = if fraction.len() > scale as usize { fraction.trim_end_matches('0') } else { fraction };
    if whole.is_empty() && fraction.is_empty() || fraction.len() > scale as usize {
        return Err(wrong());
    }
    let mut number = 0_i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return Err(wrong());
        }
        let digit = sign * i128::from(digit - b'0');
        number = number.checked_mul(10).and_then(|number| number.checked_add(digit)).ok_or_else(wrong)?;
    }
    scaled(number, scale - fraction.len() as u32).ok_or_else(wrong)
}

/// `number` with `digits` zeros more.
pub(crate) fn scaled(number: i128, digits: u32) -> Option<i128> {
    if number == 0 {
        return Some(0);
    }
    10_i128.checked_pow(digits).and_then(|factor| number.checked_mul(factor))
}

/// Appends the number: after its length in the least bytes, or in exactly `size`.
pub(crate) fn put(number: &[u8], size: Option<usize>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let number = minimal(number);
    match size {
        None => super::input::put_bytes(number, out),
        Some(size) if number.len() <= size => {
            let sign = if number.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0x00 };
            out.extend(std::iter::repeat_n(sign, size - number.len()));
            out.extend_from_slice(number);
        }
        Some(size) => {
            return Err(Fault::new(format!("a decimal of {} bytes does not fit into {size}", number.len())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redundant_sign_bytes_change_nothing() {
        for (bytes, text) in [
            (&[0x80][..], "-1.28"),
            (&[0xff, 0x80], "-1.28"),
            (&[0xff, 0xff, 0xff, 0x80], "-1.28"),
            (&[0x00, 0x7f], "1.27"),
            (&[0x00, 0x80], "1.28"),
            (&[0x00, 0x00], "0.00"),
            (&[], "0.00"),
            (&[0xff], "-0.01"),
            (&[0xff; 20], "-0.01"),
        ] {
            assert_eq!(to_text(bytes, 2).unwrap(), text, "{bytes:x?}");
        }
    }

    #[test]
    fn the_least_bytes_are_written_as_java_does() {
        for (text, bytes) in [("-1.28", &[0x80][..]), ("1.28", &[0, 0x80]), ("0", &[0]), ("-0.01", &[0xff])] {
            let mut out = Vec::new();
            put(&from_text(text, 2).unwrap().to_be_bytes(), None, &mut out).unwrap();
            assert_eq!(out[1..], *bytes, "{text}");
        }
        let mut out = Vec::new();
        put(&from_text("-1.28", 2).unwrap().to_be_bytes(), Some(4), &mut out).unwrap();
        assert_eq!(out, [0xff, 0xff, 0xff, 0x80]);
    }

    #[test]
    fn digits_are_never_lost() {
        for text in ["1.234", "", ".", "-", "1e3", "0x1", "1.2.3", "999999999999999999999999999999999999999"] {
            assert!(from_text(text, 2).is_err(), "{text}");
        }
        assert_eq!(from_text("1.2000", 2).unwrap(), 120);
        assert_eq!(from_text("170141183460469231731687303715884105727", 0).unwrap(), i128::MAX);
        assert_eq!(from_text("-170141183460469231731687303715884105728", 0).unwrap(), i128::MIN);
        assert_eq!(to_text(&i128::MIN.to_be_bytes(), 0).unwrap(), "-170141183460469231731687303715884105728");
        assert!(to_text(&[0x7f; 17], 2).is_err());
    }
}
