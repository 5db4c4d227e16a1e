//! What the binary embeds: the compiled form of all definitions, and the files that definitions of a folder may need
//! too, which are the categories, the capabilities, the models and the snippets.
//!
//! The compiled form and the list of files are written by `UPDATE=1 cargo test -p greenroom-definitions`, and tests
//! compare them with the folder `catalogue`, so that no new definition is omitted.

use greenroom_protocol::Cause;

use crate::compiled::Compiled;
use crate::known_names::KnownNames;

/// The index of the compiled form.
static INDEX: &str = include_str!("../compiled/index.txt");
/// The texts of the compiled form.
static BODIES: &str = include_str!("../compiled/bodies.txt");

/// The names that the embedded definitions use, and that the host owns.
///
/// # Errors
/// `invalid_definition` if the compiled form is damaged.
pub fn used_names() -> Result<KnownNames, Cause> {
    compiled().map(|compiled| compiled.names().clone())
}

/// The compiled form of all definitions.
pub(crate) fn compiled() -> Result<Compiled, Cause> {
    Compiled::read(INDEX, BODIES)
}

/// Each file's name in its folder, and its text.
pub const FILES: &[(&str, &str)] = &[
    ("capabilities.yaml", include_str!("../../catalogue/capabilities.yaml")),
    ("categories.yaml", include_str!("../../catalogue/categories.yaml")),
    ("models.yaml", include_str!("../../catalogue/models.yaml")),
    ("snippets/computed_figures.md", include_str!("../../catalogue/snippets/computed_figures.md")),
    ("snippets/draft_for_a_person.md", include_str!("../../catalogue/snippets/draft_for_a_person.md")),
    ("snippets/figures_are_copied.md", include_str!("../../catalogue/snippets/figures_are_copied.md")),
    ("snippets/house_style.md", include_str!("../../catalogue/snippets/house_style.md")),
    ("snippets/missing_information.md", include_str!("../../catalogue/snippets/missing_information.md")),
    ("snippets/no_advice.md", include_str!("../../catalogue/snippets/no_advice.md")),
    ("snippets/personal_data.md", include_str!("../../catalogue/snippets/personal_data.md")),
    ("snippets/quoted_evidence.md", include_str!("../../catalogue/snippets/quoted_evidence.md")),
    ("snippets/table_facts.md", include_str!("../../catalogue/snippets/table_facts.md")),
];
