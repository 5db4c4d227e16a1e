//! Full-text search over definitions, in a database that exists only while it is searched. It stores nothing: whoever
//! searches passes all texts, so that the result is always that of the catalogue as it is.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::sqlite::error::rusqlite_error;

/// Words of a query; the others are ignored.
const WORDS_MAX: usize = 16;
/// Rows of a result.
const ROWS_MAX: u32 = 1_000;
/// The table. Words are compared by their stems, and an id by its parts.
const TABLE: &str = "CREATE VIRTUAL TABLE entries USING fts5(kind UNINDEXED, id, name, description, words, \
                     tokenize = 'porter unicode61')";
const INSERT: &str = "INSERT INTO entries (kind, id, name, description, words) VALUES (?1, ?2, ?3, ?4, ?5)";
/// The rank of a row: a word of its name counts most, then of its id, of the words, and of the description.
const SEARCH: &str = "SELECT kind, id, name, description, words FROM entries WHERE entries MATCH ?1 \
                      ORDER BY bm25(entries, 0.0, 3.0, 5.0, 1.0, 2.0), kind, id LIMIT ?2";

/// A definition, as the search reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchEntry {
    /// The kind of definition, in one word; it is not searched.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its display name.
    pub name: String,
    /// Its purpose.
    pub description: String,
    /// Everything else by which it is found, such as capabilities and tags, separated by spaces.
    pub words: String,
}

/// A definition that the search has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchHit {
    /// The kind of definition.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its display name.
    pub name: String,
    /// Its purpose.
    pub description: String,
}

/// Finds the entries that have every word of the query, or begin with it, the best first; if there is none, those that
/// have some of the words. What has the words themselves precedes what only has their stems, because `customs` and
/// `customer` have one stem. A query without a word finds nothing.
///
/// # Errors
/// [`StoreError::Failed`] if SQLite fails.
pub fn search(entries: &[SearchEntry], query: &str, limit: u32) -> Result<Vec<SearchHit>, StoreError> {
    let words: Vec<&str> = words_of(query).take(WORDS_MAX).collect();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = try_search(entries, &words).map_err(|error| rusqlite_error(&error))?;
    let roots: BTreeSet<String> = words.iter().map(|word| root(word)).collect();
    found.sort_by_cached_key(|row| Reverse(row.matches(&roots)));
    found.truncate(limit as usize);
    Ok(found.into_iter().map(|row| row.hit).collect())
}

/// A row that matches, in the order of the engine.
struct Found {
    hit: SearchHit,
    words: String,
}

impl Found {
    /// How many of the words it has as they are, apart from a plural.
    fn matches(&self, roots: &BTreeSet<String>) -> usize {
        let SearchHit { id, name, description, .. } = &self.hit;
        let own: BTreeSet<String> =
            [id, name, description, &self.words].into_iter().flat_map(|text| words_of(text)).map(root).collect();
        roots.intersection(&own).count()
    }
}

/// A word in lower case, without the `s` of a plural.
fn root(word: &str) -> String {
    let word = word.to_lowercase();
    word.strip_suffix('s').map(str::to_owned).unwrap_or(word)
}

fn try_search(entries: &[SearchEntry], words: &[&str]) -> rusqlite::Result<Vec<Found>> {
    let mut connection = Connection::open_in_memory()?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLE)?;
    {
        let mut insert = transaction.prepare(INSERT)?;
        for entry in entries {
            insert.execute(params![entry.kind, entry.id, entry.name, entry.description, entry.words])?;
        }
    }
    transaction.commit()?;
    let terms: Vec<String> = words.iter().map(|word| term(word)).collect();
    let all = find(&connection, &terms.join(" AND "))?;
    if !all.is_empty() {
        return Ok(all);
    }
    find(&connection, &terms.join(" OR "))
}

fn find(connection: &Connection, expression: &str) -> rusqlite::Result<Vec<Found>> {
    let mut statement = connection.prepare(SEARCH)?;
    let rows = statement.query_map(params![expression, ROWS_MAX], |row| {
        let hit = SearchHit { kind: row.get(0)?, id: row.get(1)?, name: row.get(2)?, description: row.get(3)? };
        Ok(Found { hit, words: row.get(4)? })
    })?;
    rows.collect()
}

/// The words of a text. An id has several.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// A word as a term of the engine: quoted, so that no text of a user is an operator, and the beginning of a word.
fn term(word: &str) -> String {
    format!("\"{word}\"*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, name: &str, description: &str, words: &str) -> SearchEntry {
        let (id, name, description, words) = (id.into(), name.into(), description.into(), words.into());
        SearchEntry { kind: "agent".into(), id, name, description, words }
    }

    fn entries() -> Vec<SearchEntry> {
        vec![
            entry("contract_renewal_agent", "Contract Renewal Agent", "Reads how a contract continues", "legal"),
            entry("contract_drafting_agent", "Contract Drafting Agent", "Drafts clauses", "legal"),
            entry("invoice_agent", "Invoice Agent", "Checks an invoice against its contract", "financial_analysis"),
            entry("menu_agent", "Speisekarte für Äpfel", "Plans meals", ""),
        ]
    }

    fn found(query: &str) -> Vec<String> {
        search(&entries(), query, 10).unwrap().into_iter().map(|hit| hit.id).collect()
    }

    #[test]
    fn every_word_is_found_and_names_come_first() {
        assert_eq!(found("contract renewal"), ["contract_renewal_agent"]);
        assert_eq!(found("renewals"), ["contract_renewal_agent"], "words are compared by their stems");
        assert_eq!(found("contract").len(), 3);
        assert_eq!(found("contract").last().unwrap(), "invoice_agent");
        assert_eq!(found("fin"), ["invoice_agent"], "a word may be the beginning of one");
        assert_eq!(found("contract_renewal_agent"), ["contract_renewal_agent"]);
        assert_eq!(found("apfel"), ["menu_agent"], "letters are compared without their marks");
    }

    #[test]
    fn the_word_itself_precedes_another_one_with_its_stem() {
        let entries = [
            entry("customer_agent", "Customer Agent", "Writes to a customer about the customer", "customer"),
            entry("clearance_agent", "Clearance Agent", "Prepares goods for customs", ""),
        ];
        let ids = |query: &str| -> Vec<String> {
            search(&entries, query, 10).unwrap().into_iter().map(|hit| hit.id).collect()
        };
        assert_eq!(ids("customs"), ["clearance_agent", "customer_agent"]);
        assert_eq!(ids("customers"), ["customer_agent", "clearance_agent"], "a plural is the word itself");
        assert_eq!(search(&entries, "customs", 1).unwrap()[0].id, "clearance_agent", "the limit follows the order");
    }

    #[test]
    fn without_an_entry_with_all_words_those_with_some_are_found() {
        assert_eq!(found("meals renewal").len(), 2);
        assert_eq!(found("submarine"), [] as [String; 0]);
    }

    #[test]
    fn no_text_is_an_operator() {
        for query in
            ["", "  ", "\"", "*", "AND", "NEAR(", "name:contract", "contract NOT renewal", "a\"b'c;--", "x^2 -y"]
        {
            search(&entries(), query, 10).unwrap();
        }
        assert_eq!(found("\""), [] as [String; 0]);
    }

    #[test]
    fn the_number_of_rows_is_limited() {
        assert_eq!(search(&entries(), "agent", 2).unwrap().len(), 2);
        assert_eq!(search(&entries(), "agent", 0).unwrap().len(), 0);
    }
}
