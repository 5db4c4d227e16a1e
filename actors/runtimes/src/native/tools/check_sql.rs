//! `native:check_sql`: parses SQL in a dialect, and reports for each statement its kind, the tables that it names, and
//! what is dangerous about it. Nothing is executed.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::thread;

use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ErrorCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlparser::ast::{Statement, visit_relations};
use sqlparser::dialect::{
    AnsiDialect, Dialect as SqlDialect, GenericDialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect,
};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::computation::{Computation, invalid, require_at_most};

/// Maximum bytes of the text.
const SQL_BYTES_MAX: usize = 128 * 1024;
/// Maximum tokens: a chain of operators is a tree as deep as it is long.
const TOKENS_MAX: usize = 10_000;
/// Maximum nesting that the parser follows.
const NESTING_MAX: usize = 40;
/// The stack of the thread that parses: enough for the deepest tree that the bounds allow.
const STACK_BYTES: usize = 128 * 1024 * 1024;
/// Maximum statements.
const STATEMENTS_MAX: usize = 500;
/// Maximum bytes of a statement of a result.
const TEXT_BYTES_MAX: usize = 600;

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Dialect {
    #[default]
    Generic,
    Ansi,
    Postgresql,
    Mysql,
    Sqlite,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// One or more statements, separated by semicolons.
    sql: String,
    /// The dialect; one that accepts most of them if absent.
    #[serde(default)]
    dialect: Dialect,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    is_valid: bool,
    /// Why the text cannot be parsed, with line and column.
    error: Option<String>,
    statements: Vec<Checked>,
    /// Every table that a statement names, without duplicates.
    tables: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Checked {
    /// The first words of the statement, such as `SELECT` or `ALTER TABLE`.
    kind: String,
    /// The statement in its normal form.
    text: String,
    tables: Vec<String>,
    findings: Vec<Finding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Finding {
    WriteWithoutWhere,
    SelectStar,
    DropsObject,
    Truncates,
    SelectWithoutLimit,
    JoinWithoutCondition,
    IndexBuiltWithLock,
    ColumnDropped,
}

/// The tool.
pub(crate) struct CheckSql;

impl Computation for CheckSql {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "check_sql";
    const DESCRIPTION: &'static str = "Parses SQL without executing it: whether it is valid, the kind and the tables \
                                       of each statement, and dangers such as an UPDATE without WHERE.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        if arguments.sql.len() > SQL_BYTES_MAX {
            return Err(invalid(format!("the SQL has at most {SQL_BYTES_MAX} bytes")));
        }
        // The tree is built, read and dropped on a stack of its own, because its depth is that of the text.
        let failed = |_| Cause::new(ErrorCode::HandlerFailed, "the SQL cannot be parsed");
        thread::scope(|scope| {
            let parser = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || check(&arguments));
            let parser = parser.map_err(|error| Cause::new(ErrorCode::HandlerFailed, error.to_string()))?;
            parser.join().map_err(failed)?
        })
    }
}

fn check(arguments: &Arguments) -> Result<Output, Cause> {
    let dialect = arguments.dialect.parser();
    let rejected =
        |error: String| Output { is_valid: false, error: Some(error), statements: Vec::new(), tables: Vec::new() };
    let tokens = match Tokenizer::new(&*dialect, &arguments.sql).tokenize() {
        Ok(tokens) => tokens,
        Err(error) => return Ok(rejected(error.to_string())),
    };
    require_at_most("tokens", tokens.len(), TOKENS_MAX)?;
    let parsed = Parser::new(&*dialect)
        .with_recursion_limit(NESTING_MAX)
        .try_with_sql(&arguments.sql)
        .and_then(|mut parser| parser.parse_statements());
    let statements = match parsed {
        Ok(statements) => statements,
        Err(error) => return Ok(rejected(error.to_string())),
    };
    require_at_most("statements", statements.len(), STATEMENTS_MAX)?;
    let statements =
        statements.iter().map(|statement| check_statement(statement, &*dialect)).collect::<Result<Vec<_>, _>>()?;
    let tables: BTreeSet<String> = statements.iter().flat_map(|statement| statement.tables.iter().cloned()).collect();
    Ok(Output { is_valid: true, error: None, statements, tables: tables.into_iter().collect() })
}

impl Dialect {
    fn parser(self) -> Box<dyn SqlDialect> {
        match self {
            Self::Generic => Box::new(GenericDialect {}),
            Self::Ansi => Box::new(AnsiDialect {}),
            Self::Postgresql => Box::new(PostgreSqlDialect {}),
            Self::Mysql => Box::new(MySqlDialect {}),
            Self::Sqlite => Box::new(SQLiteDialect {}),
        }
    }
}

fn check_statement(statement: &Statement, dialect: &dyn SqlDialect) -> Result<Checked, Cause> {
    let text = statement.to_string();
    let mut tables = BTreeSet::new();
    let _: ControlFlow<()> = visit_relations(statement, |relation| {
        tables.insert(relation.to_string());
        ControlFlow::Continue(())
    });
    let tokens = Tokenizer::new(dialect, &text).tokenize().map_err(|error| invalid(error.to_string()))?;
    let words = Words::new(&tokens);
    Ok(Checked {
        kind: words.kind(),
        text: truncate_utf8(&text, TEXT_BYTES_MAX).to_owned(),
        tables: tables.into_iter().collect(),
        findings: words.findings(),
    })
}

/// The tokens of a statement in its normal form: unquoted words in upper case, signs as they are.
struct Words(Vec<String>);

impl Words {
    fn new(tokens: &[Token]) -> Self {
        let words = tokens.iter().filter_map(|token| match token {
            Token::Whitespace(_) => None,
            Token::Word(word) if word.quote_style.is_some() => Some(format!("\"{}\"", word.value)),
            Token::Word(word) => Some(word.value.to_uppercase()),
            other => Some(other.to_string()),
        });
        Self(words.collect())
    }

    fn kind(&self) -> String {
        let first = self.0.first().map_or("", String::as_str);
        let takes_object = matches!(first, "CREATE" | "ALTER" | "DROP");
        let objects =
            ["TABLE", "INDEX", "VIEW", "SCHEMA", "DATABASE", "FUNCTION", "PROCEDURE", "TYPE", "SEQUENCE", "ROLE"];
        let object = self.0.iter().take(6).find(|word| objects.contains(&word.as_str()));
        match object.filter(|_| takes_object) {
            Some(object) => format!("{first} {object}"),
            None => first.to_owned(),
        }
    }

    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|other| other == word)
    }

    fn has_pair(&self, first: &str, second: &str) -> bool {
        self.0.iter().zip(self.0.iter().skip(1)).any(|(one, other)| one == first && other == second)
    }

    fn findings(&self) -> Vec<Finding> {
        let kind = self.kind();
        let is_query = kind == "SELECT" || (kind == "WITH" && !self.has("INSERT"));
        let reads_tables = is_query && self.has("FROM");
        let tests = [
            (Finding::WriteWithoutWhere, matches!(kind.as_str(), "UPDATE" | "DELETE") && !self.has("WHERE")),
            (Finding::SelectStar, self.has_pair("SELECT", "*")),
            (Finding::DropsObject, kind.starts_with("DROP")),
            (Finding::Truncates, kind == "TRUNCATE"),
            (Finding::SelectWithoutLimit, reads_tables && !self.has("LIMIT") && !self.has("FETCH") && !self.has("TOP")),
            (Finding::JoinWithoutCondition, self.has_pair("CROSS", "JOIN")),
            (Finding::IndexBuiltWithLock, kind == "CREATE INDEX" && !self.has("CONCURRENTLY")),
            (Finding::ColumnDropped, kind == "ALTER TABLE" && self.has_pair("DROP", "COLUMN")),
        ];
        tests.into_iter().filter(|(_, is_found)| *is_found).map(|(finding, _)| finding).collect()
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::CheckSql;

    fn compute(sql: &str, dialect: &str) -> Value {
        compute_json::<CheckSql>(json!({ "sql": sql, "dialect": dialect })).unwrap()
    }

    #[test]
    fn statements_have_kinds_tables_and_findings() {
        let output =
            compute("update users set a = 1; select * from orders o join users u on o.u = u.id;", "postgresql");
        assert_eq!((&output["is_valid"], &output["tables"]), (&json!(true), &json!(["orders", "users"])), "{output}");
        let statements = output["statements"].as_array().unwrap();
        assert_eq!(
            (&statements[0]["kind"], &statements[0]["findings"]),
            (&json!("UPDATE"), &json!(["write_without_where"]))
        );
        assert_eq!(statements[1]["findings"], json!(["select_star", "select_without_limit"]));
        let ddl = compute("CREATE INDEX i ON t (a); DROP TABLE t; DELETE FROM t WHERE a = 1", "postgresql");
        assert_eq!(ddl["statements"][0]["findings"], json!(["index_built_with_lock"]));
        assert_eq!(
            (&ddl["statements"][1]["kind"], &ddl["statements"][2]["findings"]),
            (&json!("DROP TABLE"), &json!([]))
        );
    }

    #[test]
    fn an_invalid_text_has_its_error() {
        for sql in ["selec 1", "select 'open", "select 1 +"] {
            let output = compute(sql, "ansi");
            assert!(output["is_valid"] == json!(false) && output["error"].is_string(), "{output}");
        }
    }

    #[test]
    fn hostile_texts_end_within_the_bounds() {
        let nested = format!("select {}1{}", "(".repeat(3_000), ")".repeat(3_000));
        assert_eq!(compute(&nested, "generic")["is_valid"], json!(false));
        let chain = format!("select 1{}", "+1".repeat(2_000));
        assert_eq!(compute(&chain, "generic")["is_valid"], json!(true));
        let long = compute_json::<CheckSql>(json!({ "sql": "1,".repeat(20_000) })).unwrap_err();
        assert_eq!(long.code, ErrorCode::PayloadTooLarge);
        let huge = compute_json::<CheckSql>(json!({ "sql": "x".repeat(200_000) })).unwrap_err();
        assert_eq!(huge.code, ErrorCode::InvalidInput);
    }
}
