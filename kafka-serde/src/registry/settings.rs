//! What a registry handle remembers, and for how long.

use std::borrow::Cow;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Without the dot: `staging`.
    pub(crate) context: Option<String>,
    pub(crate) capacity: usize,
    pub(crate) latest_lifetime: Duration,
    pub(crate) missing_lifetime: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            context: None,
            capacity: 4_096,
            latest_lifetime: Duration::from_secs(60),
            missing_lifetime: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// `None` for the default context, which is called `.` or nothing.
    pub(crate) fn context_named(name: &str) -> Option<String> {
        let name = name.trim_start_matches(':').trim_end_matches(':');
        let name = name.strip_prefix('.').unwrap_or(name);
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// The subject in this handle's context, unless it names one itself.
    pub(crate) fn qualified<'a>(&self, subject: &'a str) -> Cow<'a, str> {
        match &self.context {
            Some(context) if !subject.starts_with(":.") => Cow::Owned(format!(":.{context}:{subject}")),
            _ => Cow::Borrowed(subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_has_one_meaning_however_it_is_written() {
        for name in ["staging", ".staging", ":.staging:"] {
            assert_eq!(Settings::context_named(name).as_deref(), Some("staging"));
        }
        assert_eq!(Settings::context_named("."), None);
        assert_eq!(Settings::context_named(""), None);
    }

    #[test]
    fn a_subject_with_a_context_keeps_it() {
        let settings = Settings { context: Some("eu".to_owned()), ..Settings::default() };
        assert_eq!(settings.qualified("orders"), ":.eu:orders");
        assert_eq!(settings.qualified(":.us:orders"), ":.us:orders");
        assert_eq!(Settings::default().qualified("orders"), "orders");
    }
}
