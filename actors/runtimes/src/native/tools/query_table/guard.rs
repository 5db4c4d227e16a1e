//! What a statement may do, and how much: it reads the loaded tables by a closed list of functions, and ends at the first
//! of its bounds. The steps of SQLite are counted, so that the same statement always ends at the same step. One step may
//! compare long texts, so the time has a bound too, at which only statements end that take far longer than others of as
//! many steps. What the statement adds to the memory of the process is bounded last ([`super::memory`]); the sizes of values,
//! rows and tables are bounds of its connection.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use greenroom_protocol::Cause;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, Result};

use super::super::computation::too_large;
use super::TableInfo;
use super::memory::MemoryGrowth;
use super::problem::internal;

/// Steps of SQLite after which the bounds are checked: few, because each may take milliseconds.
const CHECK_STEPS: i32 = 100;
/// Checks of the steps for each check of the memory.
const MEMORY_CHECKS: u64 = 50;
/// Bytes of one text, and of one row that is sorted.
const VALUE_BYTES_MAX: i32 = 64 * 1024;
/// Bytes of the pattern of `LIKE` and `GLOB`.
const PATTERN_BYTES_MAX: i32 = 256;
/// Depth of an expression.
const EXPRESSION_DEPTH_MAX: i32 = 200;
/// Instructions of one statement.
const INSTRUCTIONS_MAX: i32 = 50_000;
/// Parts of a compound SELECT.
const COMPOUND_MAX: i32 = 16;
/// Columns of a result, which a table with units beside its figures may have.
const COLUMNS_MAX: i32 = 512;

/// The functions that a statement may use. None of them is random, changes anything or reads anything else.
const FUNCTIONS: [&str; 76] = [
    "abs",
    "avg",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "cume_dist",
    "date",
    "datetime",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "glob",
    "group_concat",
    "hex",
    "if",
    "ifnull",
    "iif",
    "instr",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "max",
    "median",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "percentile",
    "percentile_cont",
    "percentile_disc",
    "pi",
    "pow",
    "power",
    "printf",
    "quote",
    "radians",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "time",
    "timediff",
    "total",
    "trim",
    "trunc",
    "typeof",
    "unicode",
    "unixepoch",
    "upper",
];

/// The bounds of one statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Rows of the result.
    pub(super) rows: usize,
    /// Bytes of the result, as JSON.
    pub(super) result_bytes: usize,
    /// Steps of SQLite.
    pub(super) steps: u64,
    /// How long the statement may run.
    pub(super) time_max: Duration,
    /// Bytes that the statement may add to the memory of the process.
    pub(super) memory_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            rows: 100,
            result_bytes: 512 * 1024,
            steps: 50_000_000,
            time_max: Duration::from_secs(20),
            memory_bytes: 512 * 1024 * 1024,
        }
    }
}

/// The bound at which a statement ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Exceeded(Arc<AtomicU8>);

const STEPS: u8 = 1;
const MEMORY: u8 = 2;
const TIME: u8 = 3;

impl Exceeded {
    /// The cause, if a bound has ended the statement.
    pub(super) fn cause(&self, bounds: Bounds) -> Option<Cause> {
        match self.0.load(Ordering::Relaxed) {
            STEPS => Some(too_large(format!(
                "the query was ended after {} steps; join fewer rows, or filter them before they are joined",
                bounds.steps
            ))),
            TIME => Some(too_large(format!(
                "the query was ended after {} s; compare fewer rows, or shorter texts",
                bounds.time_max.as_secs()
            ))),
            MEMORY => Some(too_large(format!(
                "the query was ended because it has added more than {} MiB to the memory of the pod; sort and group fewer \
                 rows, or shorter texts",
                bounds.memory_bytes / (1024 * 1024)
            ))),
            _ => None,
        }
    }
}

/// Limits what the statements of a connection may do. The tables are loaded before.
///
/// # Errors
/// `handler_failed` if SQLite does not take a limit.
pub(super) fn protect(connection: &Connection, tables: &[TableInfo]) -> std::result::Result<(), Cause> {
    try_protect(connection, tables).map_err(|error| internal(&error))
}

fn try_protect(connection: &Connection, tables: &[TableInfo]) -> Result<()> {
    // A name in double quotes is a column, and never a text: a mistyped column is an error then.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_BYTES_MAX),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, EXPRESSION_DEPTH_MAX),
        (Limit::SQLITE_LIMIT_VDBE_OP, INSTRUCTIONS_MAX),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, COMPOUND_MAX),
        (Limit::SQLITE_LIMIT_COLUMN, COLUMNS_MAX),
        // It has no parameters.
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 0),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    let known: BTreeSet<String> = tables.iter().map(|table| table.name.to_ascii_lowercase()).collect();
    connection.authorizer(Some(move |context: AuthContext<'_>| authorize(&known, context.action)))
}

fn authorize(known: &BTreeSet<String>, action: AuthAction<'_>) -> Authorization {
    let is_allowed = match action {
        AuthAction::Select => true,
        AuthAction::Read { table_name, .. } => known.contains(&table_name.to_ascii_lowercase()),
        AuthAction::Function { function_name } => FUNCTIONS.contains(&function_name.to_ascii_lowercase().as_str()),
        // Writes, PRAGMA, ATTACH, transactions, recursion, and what a later release of SQLite adds.
        _ => false,
    };
    if is_allowed { Authorization::Allow } else { Authorization::Deny }
}

/// Ends the statements of a connection at these bounds.
///
/// # Errors
/// Those of SQLite.
pub(super) fn limit_steps(connection: &Connection, bounds: Bounds) -> Result<Exceeded> {
    let exceeded = Exceeded::default();
    let (flag, mut memory, started) = (exceeded.clone(), MemoryGrowth::begin(), Instant::now());
    let (mut steps, mut checks) = (0_u64, 0_u64);
    let check = move || {
        steps = steps.saturating_add(u64::from(CHECK_STEPS.unsigned_abs()));
        checks = checks.saturating_add(1);
        if steps > bounds.steps {
            flag.0.store(STEPS, Ordering::Relaxed);
            return true;
        }
        if started.elapsed() >= bounds.time_max {
            flag.0.store(TIME, Ordering::Relaxed);
            return true;
        }
        let is_exceeded = checks.is_multiple_of(MEMORY_CHECKS) && memory.exceeds(bounds.memory_bytes);
        if is_exceeded {
            flag.0.store(MEMORY, Ordering::Relaxed);
        }
        is_exceeded
    };
    connection.progress_handler(CHECK_STEPS, Some(check))?;
    Ok(exceeded)
}
