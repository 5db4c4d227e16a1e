//! Compares the text of a bundle with the sources that it may have been built from. OPA leaves the rules of the
//! entrypoints out of that text; every other rule has to be in both.

use std::collections::BTreeMap;

use super::module::{Module, Rule};
use super::normal_form::normal_form;
use super::{Location, RegoText};

/// How sources differ from those that a bundle was built from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// A file of the bundle has no source.
    #[error("no source has the name and the package (`{package}`) of {file}, which is a file of the bundle")]
    FileWithoutSource {
        /// The path of the file in the bundle.
        file: String,
        /// Its package.
        package: String,
    },
    /// A source is no file of the bundle.
    #[error("no file of the bundle has the name and the package (`{package}`) of the source {file}")]
    SourceWithoutFile {
        /// The path of the source.
        file: String,
        /// Its package.
        package: String,
    },
    /// The names of several files are equally similar to that of a file.
    #[error("{file} may be {}", candidates.join(" or "))]
    Ambiguous {
        /// The path of the file.
        file: String,
        /// The paths of the other files.
        candidates: Vec<String>,
    },
    /// A rule is not the same in both.
    #[error("{location}: the rule `{rule}` differs from the bundle's ({bundle})")]
    Rule {
        /// The path of the rule below `data`.
        rule: String,
        /// Its line in the source.
        location: Location,
        /// Its line in the bundle.
        bundle: Location,
    },
    /// A source lacks a rule.
    #[error("{file} does not have the rule `{rule}` of the bundle ({bundle})")]
    MissingRule {
        /// The path of the rule below `data`.
        rule: String,
        /// The path of the source.
        file: String,
        /// The line of the rule in the bundle.
        bundle: Location,
    },
    /// A source has a rule that the bundle lacks and that is no entrypoint.
    #[error("{location}: the bundle does not have the rule `{rule}`")]
    ExtraRule {
        /// The path of the rule below `data`.
        rule: String,
        /// Its line in the source.
        location: Location,
    },
    /// A name is not imported from the same path in both.
    #[error("the import `{path}` of {file} is not the bundle's")]
    Import {
        /// The path of the source.
        file: String,
        /// The path of the import.
        path: String,
    },
}

impl<'s> RegoText<'s> {
    /// Finds the source of each of these files, and requires both to have the same rules and imports, except for the
    /// rules of the entrypoints. Returns the paths of the sources by those of the files. A source that is a test
    /// (`_test.rego`) and no file of the bundle is ignored.
    pub(crate) fn match_sources<'o>(
        &self,
        sources: &RegoText<'o>,
        entrypoints: &[String],
    ) -> Result<BTreeMap<&'s str, &'o str>, Difference> {
        let mut pairs = BTreeMap::new();
        for file in &self.modules {
            let source = find_source(file, &self.modules, &sources.modules)?.ok_or_else(|| {
                Difference::FileWithoutSource { file: file.file.to_owned(), package: file.package.join(".") }
            })?;
            compare(file, source, entrypoints)?;
            pairs.insert(file.file, source.file);
        }
        let is_file = |source: &Module<'_>| pairs.values().any(|file| *file == source.file);
        match sources.modules.iter().find(|source| !is_file(source) && !source.file.ends_with("_test.rego")) {
            Some(source) => {
                Err(Difference::SourceWithoutFile { file: source.file.to_owned(), package: source.package.join(".") })
            }
            None => Ok(pairs),
        }
    }
}

/// The source of a file: the path of each is the most similar one to that of the other.
fn find_source<'m, 's>(
    file: &Module<'_>,
    files: &[Module<'_>],
    sources: &'m [Module<'s>],
) -> Result<Option<&'m Module<'s>>, Difference> {
    let Some(source) = find_similar(file, sources)? else { return Ok(None) };
    let is_mutual = find_similar(source, files)?.is_some_and(|found| found.file == file.file);
    Ok(is_mutual.then_some(source))
}

/// The module of the same package whose path ends with the most names of the other path, at least with the last one.
fn find_similar<'m, 's>(module: &Module<'_>, others: &'m [Module<'s>]) -> Result<Option<&'m Module<'s>>, Difference> {
    let equal_names = |other: &Module<'_>| {
        let names = module.file.rsplit('/').zip(other.file.rsplit('/'));
        names.take_while(|(name, other)| name == other).count()
    };
    let of_package: Vec<_> = others.iter().filter(|other| other.package == module.package).collect();
    let max = of_package.iter().map(|other| equal_names(other)).max().unwrap_or_default();
    let similar: Vec<_> = of_package.into_iter().filter(|other| max > 0 && equal_names(other) == max).collect();
    match similar.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => Err(Difference::Ambiguous {
            file: module.file.to_owned(),
            candidates: several.iter().map(|other| other.file.to_owned()).collect(),
        }),
    }
}

/// Requires a source to have the rules and imports of its file, and no others but the rules of entrypoints.
fn compare(file: &Module<'_>, source: &Module<'_>, entrypoints: &[String]) -> Result<(), Difference> {
    compare_imports(file, source, entrypoints)?;
    let mut rules: BTreeMap<_, Vec<&Rule>> = BTreeMap::new();
    for rule in &source.rules {
        rules.entry(normal_form(source.nodes(rule))).or_default().push(rule);
    }
    let mut missing = Vec::new();
    for rule in &file.rules {
        if rules.get_mut(&normal_form(file.nodes(rule))).and_then(Vec::pop).is_none() {
            missing.push(rule);
        }
    }
    let mut extra: Vec<&Rule> = rules.into_values().flatten().collect();
    extra.sort_by_key(|rule| rule.position());
    if let Some(rule) = missing.first() {
        let (path, bundle) = (rule.path.join("."), location(file, rule));
        return Err(match extra.iter().find(|other| other.path == rule.path) {
            Some(other) => Difference::Rule { rule: path, location: location(source, other), bundle },
            None => Difference::MissingRule { rule: path, file: source.file.to_owned(), bundle },
        });
    }
    match extra.iter().find(|rule| !is_entrypoint(&rule.path, entrypoints)) {
        Some(rule) => Err(Difference::ExtraRule { rule: rule.path.join("."), location: location(source, rule) }),
        None => Ok(()),
    }
}

/// Requires a name to be imported from the same path in both. OPA adds imports of the entrypoints to the file, and
/// omits those of the language itself.
fn compare_imports(file: &Module<'_>, source: &Module<'_>, entrypoints: &[String]) -> Result<(), Difference> {
    let is_exempt = |path: &[String]| match path.split_first() {
        Some((root, path)) => match root.as_str() {
            "data" => is_entrypoint(path, entrypoints),
            root => matches!(root, "rego" | "future"),
        },
        None => true,
    };
    for name in file.imports.keys().chain(source.imports.keys()) {
        let (of_file, of_source) = (file.imports.get(name), source.imports.get(name));
        if of_file != of_source
            && let Some(path) = of_file.or(of_source).filter(|path| !is_exempt(path))
        {
            return Err(Difference::Import { file: source.file.to_owned(), path: path.join(".") });
        }
    }
    Ok(())
}

fn is_entrypoint(path: &[String], entrypoints: &[String]) -> bool {
    entrypoints.iter().any(|entrypoint| entrypoint.split('/').eq(path.iter().map(String::as_str)))
}

fn location(module: &Module<'_>, rule: &Rule) -> Location {
    let line = module.nodes(rule).first().map_or(1, |node| node.line);
    Location { file: module.file.to_owned(), line }
}
