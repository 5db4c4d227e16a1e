//! The description of one setting: its key in the file, its variables of the environment, its default
//! and its documentation. Each section describes its own settings.

/// How the text of a variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// The text itself.
    Text,
    /// A whole number.
    Number,
    /// Paths, separated by `:`.
    Paths,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its dotted key in the file.
    pub key: &'static str,
    /// The variables that set it; the first that is set wins.
    pub env: &'static [&'static str],
    /// Its default, written as in a variable; empty for none.
    pub default: &'static str,
    /// How text becomes a value.
    pub kind: SettingKind,
    /// True if its value is masked wherever it is printed.
    pub secret: bool,
    /// Its documentation, one line.
    pub help: &'static str,
}

impl Setting {
    /// A text without a default.
    pub(super) const fn text(key: &'static str, env: &'static [&'static str], help: &'static str) -> Self {
        Self { key, env, default: "", kind: SettingKind::Text, secret: false, help }
    }

    /// A whole number without a default.
    pub(super) const fn number(key: &'static str, env: &'static [&'static str], help: &'static str) -> Self {
        Self { kind: SettingKind::Number, ..Self::text(key, env, help) }
    }

    /// A list of paths without a default.
    pub(super) const fn paths(key: &'static str, env: &'static [&'static str], help: &'static str) -> Self {
        Self { kind: SettingKind::Paths, ..Self::text(key, env, help) }
    }

    /// The same setting with a default.
    pub(super) const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    /// The same setting, masked.
    pub(super) const fn masked(self) -> Self {
        Self { secret: true, ..self }
    }
}
