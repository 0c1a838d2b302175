//! What librdkafka knows about a property, asked of a scratch configuration.

use std::ffi::CString;
use std::ptr::NonNull;

use rdkafka_sys::bindings as sys;

use super::code::{ERROR_TEXT_BYTES, text_of};

/// Why a property is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PropertyError {
    /// librdkafka has no property of this name.
    Unknown,
    /// The value does not fit, in librdkafka's words. They may repeat the value: not to be printed for a secret.
    Invalid(String),
}

/// Whether librdkafka takes the value for the property, and takes it whole: `5ms` is not read as 5.
pub(crate) fn check_property(key: &str, value: &str) -> Result<(), PropertyError> {
    let contains_nul = |_| PropertyError::Invalid("it contains a NUL".to_owned());
    let (name, text) = (CString::new(key).map_err(contains_nul)?, CString::new(value).map_err(contains_nul)?);
    let scratch = Scratch::new();
    let mut error = [0u8; ERROR_TEXT_BYTES];
    // SAFETY: the configuration and both C strings are alive, and the buffer has the length that is passed.
    let answer = unsafe {
        sys::rd_kafka_conf_set(scratch.raw(), name.as_ptr(), text.as_ptr(), error.as_mut_ptr().cast(), error.len())
    };
    match answer {
        sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => scratch.read_whole(&name, value),
        sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => Err(PropertyError::Unknown),
        sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => {
            Err(PropertyError::Invalid(text_of(&error).trim().to_owned()))
        }
    }
}

/// Whether librdkafka has a property of this name.
pub(crate) fn is_property(key: &str) -> bool {
    // Nothing fits every property, but it is not why a name is unknown.
    check_property(key, "") != Err(PropertyError::Unknown) && !key.contains('\0')
}

/// An `rd_kafka_conf_t` that no client is made of.
struct Scratch {
    ptr: NonNull<sys::rd_kafka_conf_t>,
}

impl Scratch {
    fn new() -> Self {
        // SAFETY: never null; ours.
        let ptr = unsafe { sys::rd_kafka_conf_new() };
        Self { ptr: NonNull::new(ptr).unwrap_or_else(|| unreachable!("the configuration is never null")) }
    }

    fn raw(&self) -> *mut sys::rd_kafka_conf_t {
        self.ptr.as_ptr()
    }

    /// What a property is set to; longer text than the buffer is cut, which a number never is.
    fn get(&self, name: &CString) -> Option<String> {
        let mut text = [0u8; ERROR_TEXT_BYTES];
        let mut size = text.len();
        // SAFETY: configuration and name are alive, and `size` is the length of the buffer.
        let answer = unsafe { sys::rd_kafka_conf_get(self.raw(), name.as_ptr(), text.as_mut_ptr().cast(), &mut size) };
        (answer == sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK).then(|| text_of(&text))
    }

    /// librdkafka reads numbers as C does: up to the first character that is none, octal after a zero, cut to 32 bits.
    fn read_whole(&self, name: &CString, value: &str) -> Result<(), PropertyError> {
        let value = value.trim();
        if !value.starts_with(|first: char| first.is_ascii_digit() || "+-".contains(first)) {
            return Ok(());
        }
        let Some(taken) = self.get(name).filter(|taken| taken != value) else { return Ok(()) };
        let Ok(number) = taken.parse::<f64>() else { return Ok(()) };
        match value.parse::<f64>() {
            // A property with a fraction is printed with six digits.
            Ok(wanted) if (wanted - number).abs() <= wanted.abs() * 1e-5 => Ok(()),
            _ => Err(PropertyError::Invalid(format!("not a plain number: it would be read as {taken}"))),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: ours, never handed to a client, and dropped once.
        unsafe { sys::rd_kafka_conf_destroy(self.raw()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(key: &str, value: &str) -> String {
        match check_property(key, value) {
            Err(PropertyError::Invalid(text)) => text,
            other => panic!("{key}={value}: {other:?}"),
        }
    }

    #[test]
    fn known_properties_with_fitting_values_pass() {
        for (key, value) in [
            ("linger.ms", "5"),
            ("linger.ms", "0.25"),
            ("linger.ms", "12345.678"),
            ("queue.buffering.max.ms", "900000"),
            ("acks", "all"),
            ("acks", "-1"),
            ("request.required.acks", "1"),
            ("topic.acks", "all"),
            ("compression.type", "gzip"),
            ("enable.idempotence", "true"),
            ("enable.idempotence", "1"),
            ("client.id", "007"),
            ("client.id", "2-orders"),
            ("client.id", "  spaced"),
            ("debug", "broker,topic"),
            ("message.timeout.ms", "2147483647"),
            ("topic.blacklist", "^__.*"),
            ("group.instance.id", "1e5"),
        ] {
            assert_eq!(check_property(key, value), Ok(()), "{key}={value}");
        }
    }

    #[test]
    fn unknown_properties_are_told_from_malformed_values() {
        for key in ["liger.ms", "LINGER.MS", "linger_ms", "", "heap.opts", "home", "topic.liger.ms"] {
            assert_eq!(check_property(key, "1"), Err(PropertyError::Unknown), "{key}");
        }
        for (key, value) in [
            ("linger.ms", "soon"),
            ("linger.ms", ""),
            ("linger.ms", "-1"),
            ("acks", "most"),
            ("compression.type", "rar"),
            ("enable.idempotence", "yes"),
            ("message.max.bytes", "1"),
            ("opaque", "x"),
            ("dr_msg_cb", "x"),
            ("client.id", "nul\0nul"),
        ] {
            assert_ne!(invalid(key, value), "", "{key}={value}");
        }
    }

    #[test]
    fn a_number_is_taken_whole_or_not_at_all() {
        for (key, value) in [
            ("session.timeout.ms", "5s"),
            ("linger.ms", "5ms"),
            ("message.timeout.ms", "2m"),
            ("message.timeout.ms", "1e5"),
            ("message.timeout.ms", "1_000"),
            ("message.timeout.ms", "010"),
            ("message.timeout.ms", "0x10"),
            ("max.in.flight", "5.5"),
            ("message.timeout.ms", "4294967297"),
            ("acks", "1 or so"),
        ] {
            assert!(invalid(key, value).contains("read as"), "{key}={value}");
        }
    }

    #[test]
    fn names_are_known_without_a_value() {
        for key in ["linger.ms", "acks", "bootstrap.servers", "log_level", "sasl.password", "topic.acks"] {
            assert!(is_property(key), "{key}");
        }
        for key in ["log.level", "heap.opts", "", "nul\0"] {
            assert!(!is_property(key), "{key:?}");
        }
    }
}
