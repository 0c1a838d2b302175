//! Times as people say and read them.

use jiff::Timestamp;

use crate::error::Error;

/// Milliseconds since the epoch of `2h` (ago), `2026-01-31T12:00:00Z`, or of such a number.
pub(super) fn parse(flag: &str, text: &str, now_ms: i64) -> Result<i64, Error> {
    let wrong = || Error::config(format!("{flag} {text}: say 90s, 30m, 2h, 3d, or a time like 2026-01-31T12:00:00Z"));
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let ago = number.checked_mul(seconds * 1000).filter(|ago| *ago >= 0).ok_or_else(wrong)?;
    Ok(now_ms.saturating_sub(ago))
}

/// `2026-01-31T12:00:00Z`; the number, where it is no time.
pub(super) fn shown(millis: Option<i64>) -> String {
    match millis.map(|millis| (millis, Timestamp::from_millisecond(millis))) {
        None => "-".to_owned(),
        Some((_, Ok(time))) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Some((millis, Err(_))) => millis.to_string(),
    }
}

/// The hour: `2026-01-31T12`.
pub(super) fn hour(millis: Option<i64>) -> String {
    shown(millis).chars().take(13).collect()
}

pub(super) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_say_them() {
        let read = |text| parse("--since", text, 1_000_000_000).ok();
        assert_eq!(read("90s"), Some(1_000_000_000 - 90_000));
        assert_eq!(read("2h"), Some(1_000_000_000 - 7_200_000));
        assert_eq!(read("1970-01-02T00:00:00Z"), Some(86_400_000));
        assert_eq!(read("12345"), Some(12_345));
        for wrong in ["", "h", "2w", "-3d", "tomorrow", "99999999999999999d", "ü"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(shown(Some(86_400_000)), "1970-01-02T00:00:00Z");
        assert_eq!(shown(Some(i64::MAX)), i64::MAX.to_string());
    }
}
