//! Error codes, and the error objects that librdkafka hands out.

use std::ffi::CStr;
use std::fmt;

pub(crate) use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys::bindings as sys;

/// The symbolic name of a code, as Kafka's documentation spells it: `REQUEST_TIMED_OUT`, `_MSG_TIMED_OUT`.
pub(crate) fn name(raw: sys::rd_kafka_resp_err_t) -> &'static str {
    // SAFETY: librdkafka returns a static C string for every code, also for unknown ones.
    unsafe { CStr::from_ptr(sys::rd_kafka_err2name(raw)) }.to_str().unwrap_or("UNKNOWN")
}

/// What a code means, in librdkafka's words.
pub(crate) fn description(raw: sys::rd_kafka_resp_err_t) -> &'static str {
    // SAFETY: as above, `rd_kafka_err2str` returns a static C string.
    unsafe { CStr::from_ptr(sys::rd_kafka_err2str(raw)) }.to_str().unwrap_or("unknown error")
}

/// An error of a native call: its code, what librdkafka says about it, and what it advises.
#[derive(Clone, Debug)]
pub(crate) struct NativeError {
    pub(crate) code: Code,
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) fatal: bool,
    pub(crate) retriable: bool,
    /// The transaction can only be aborted.
    pub(crate) requires_abort: bool,
}

impl NativeError {
    pub(crate) fn from_raw(raw: sys::rd_kafka_resp_err_t) -> Self {
        Self { text: description(raw).to_owned(), ..Self::named(Some(raw.into()), name(raw)) }
    }

    /// `Ok` for the code that means success.
    pub(crate) fn check(raw: sys::rd_kafka_resp_err_t) -> Result<(), Self> {
        match raw {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            raw => Err(Self::from_raw(raw)),
        }
    }

    /// An error of which only code and name are left.
    pub(crate) fn named(code: Option<Code>, name: &'static str) -> Self {
        let code = code.unwrap_or(Code::Unknown);
        Self { code, name, text: code.to_string(), fatal: false, retriable: false, requires_abort: false }
    }

    pub(crate) fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    pub(crate) fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    /// Takes over an `rd_kafka_error_t`; null means success.
    ///
    /// # Safety
    /// `error` is null or an error object that this call may destroy.
    pub(super) unsafe fn take(error: *mut sys::rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: not null, and ours until destroyed below; the string is copied before that.
        let taken = unsafe {
            let raw = sys::rd_kafka_error_code(error);
            let text = CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned();
            let taken = Self {
                code: raw.into(),
                name: name(raw),
                text,
                fatal: sys::rd_kafka_error_is_fatal(error) != 0,
                retriable: sys::rd_kafka_error_is_retriable(error) != 0,
                requires_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            sys::rd_kafka_error_destroy(error);
            taken
        };
        Err(taken)
    }
}

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.name)
    }
}

impl std::error::Error for NativeError {}

/// The longest error text that a native call writes into a caller's buffer.
pub(super) const ERROR_TEXT_BYTES: usize = 512;

/// The text in a buffer that a native call filled with a C string.
pub(super) fn text_of(buffer: &[u8; ERROR_TEXT_BYTES]) -> String {
    CStr::from_bytes_until_nul(buffer).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}
