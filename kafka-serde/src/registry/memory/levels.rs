//! Compatibility levels and modes: a subject's own, its context's, the global one.

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::store::Store;
use super::subject::Subject;
use crate::CompatibilityLevel;
use crate::registry::client::Mode;
use crate::registry::code::RegistryCode;

impl Store {
    pub(super) fn level(&self, subject: &Subject) -> CompatibilityLevel {
        self.own_level(Some(subject))
            .or_else(|| self.contexts.get(&subject.context)?.level)
            .or(self.level)
            .unwrap_or_default()
    }

    fn own_level(&self, subject: Option<&Subject>) -> Option<CompatibilityLevel> {
        match subject {
            None => Some(self.level.unwrap_or_default()),
            Some(subject) if subject.name.is_empty() => self.contexts.get(&subject.context)?.level,
            Some(subject) => self.versions(subject)?.level,
        }
    }

    fn level_slot(&mut self, subject: Option<&Subject>) -> &mut Option<CompatibilityLevel> {
        match subject {
            None => &mut self.level,
            Some(subject) if subject.name.is_empty() => &mut self.context(&subject.context).level,
            Some(subject) => {
                &mut self.context(&subject.context).subjects.entry(subject.name.clone()).or_default().level
            }
        }
    }

    pub(super) fn get_level(&self, subject: Option<&Subject>, or_global: bool) -> Result<Value, Refusal> {
        let level = match subject {
            Some(subject) if or_global => Some(self.level(subject)),
            subject => self.own_level(subject),
        };
        let level = level.ok_or_else(|| no_level(subject))?;
        Ok(json!({"compatibilityLevel": level.as_str()}))
    }

    pub(super) fn put_level(&mut self, subject: Option<&Subject>, body: &Value) -> Result<Value, Refusal> {
        let name = body.get("compatibility").and_then(Value::as_str).unwrap_or_default();
        let level: CompatibilityLevel = name.parse().map_err(|_| {
            let levels = CompatibilityLevel::ALL.map(CompatibilityLevel::as_str).join(", ");
            let message = format!("Invalid compatibility level {name:?}. Valid values are {levels}");
            Refusal::new(RegistryCode::INVALID_COMPATIBILITY, message)
        })?;
        *self.level_slot(subject) = Some(level);
        Ok(json!({"compatibility": level.as_str()}))
    }

    pub(super) fn delete_level(&mut self, subject: Option<&Subject>) -> Result<Value, Refusal> {
        let old = self.own_level(subject).ok_or_else(|| no_level(subject))?;
        *self.level_slot(subject) = None;
        Ok(json!({"compatibilityLevel": old.as_str()}))
    }

    pub(super) fn mode(&self, subject: &Subject) -> Mode {
        match self.mode {
            Some(Mode::ReadOnlyOverride) => Mode::ReadOnlyOverride,
            global => self
                .own_mode(Some(subject))
                .or_else(|| self.contexts.get(&subject.context)?.mode)
                .or(global)
                .unwrap_or_default(),
        }
    }

    fn own_mode(&self, subject: Option<&Subject>) -> Option<Mode> {
        match subject {
            None => Some(self.mode.unwrap_or_default()),
            Some(subject) if subject.name.is_empty() => self.contexts.get(&subject.context)?.mode,
            Some(subject) => self.versions(subject)?.mode,
        }
    }

    fn mode_slot(&mut self, subject: Option<&Subject>) -> &mut Option<Mode> {
        match subject {
            None => &mut self.mode,
            Some(subject) if subject.name.is_empty() => &mut self.context(&subject.context).mode,
            Some(subject) => &mut self.context(&subject.context).subjects.entry(subject.name.clone()).or_default().mode,
        }
    }

    pub(super) fn get_mode(&self, subject: Option<&Subject>, or_global: bool) -> Result<Value, Refusal> {
        let mode = match subject {
            Some(subject) if or_global => Some(self.mode(subject)),
            subject => self.own_mode(subject),
        };
        Ok(json!({"mode": mode.ok_or_else(|| no_mode(subject))?.as_str()}))
    }

    pub(super) fn put_mode(&mut self, subject: Option<&Subject>, body: &Value, force: bool) -> Result<Value, Refusal> {
        let name = body.get("mode").and_then(Value::as_str).unwrap_or_default();
        let mode: Mode =
            name.parse().map_err(|_| Refusal::new(RegistryCode::INVALID_MODE, format!("Invalid mode {name:?}")))?;
        if mode == Mode::Import && !force && self.holds_something(subject) {
            return Err(Refusal::not_permitted("Cannot import since found existing subjects"));
        }
        *self.mode_slot(subject) = Some(mode);
        Ok(json!({"mode": mode.as_str()}))
    }

    pub(super) fn delete_mode(&mut self, subject: Option<&Subject>) -> Result<Value, Refusal> {
        let old = self.own_mode(subject).ok_or_else(|| no_mode(subject))?;
        *self.mode_slot(subject) = None;
        Ok(json!({"mode": old.as_str()}))
    }

    fn holds_something(&self, subject: Option<&Subject>) -> bool {
        match subject {
            Some(subject) if !subject.name.is_empty() => self.existing(subject, false).is_ok(),
            scope => {
                let within = |context: &str| scope.is_none_or(|scope| scope.context == context);
                let contexts = self.contexts.iter().filter(|(name, _)| within(name));
                contexts.flat_map(|(_, context)| context.subjects.values()).any(|all| all.live(false).next().is_some())
            }
        }
    }
}

fn no_level(subject: Option<&Subject>) -> Refusal {
    let subject = subject.map(Subject::to_string).unwrap_or_default();
    let message = format!("Subject '{subject}' does not have subject-level compatibility configured");
    Refusal::new(RegistryCode::NO_SUBJECT_COMPATIBILITY, message)
}

fn no_mode(subject: Option<&Subject>) -> Refusal {
    let subject = subject.map(Subject::to_string).unwrap_or_default();
    Refusal::new(
        RegistryCode::NO_SUBJECT_MODE,
        format!("Subject '{subject}' does not have subject-level mode configured"),
    )
}
