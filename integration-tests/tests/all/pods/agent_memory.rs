//! The memory of an agent while the database cannot write: a run waits until it can, and nothing is forgotten.

use anyhow::Result;

use super::shared_database::SharedDatabase;
use super::{ensure_success, replying};

/// The error of a table that cannot grow. A sequence counts the attempts, because no transaction rolls it back.
const CANNOT_WRITE: &str = "CREATE SEQUENCE memory_attempts; \
     CREATE FUNCTION cannot_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     PERFORM nextval('memory_attempts'); RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$; \
     CREATE TRIGGER cannot_write BEFORE INSERT ON memories FOR EACH ROW EXECUTE FUNCTION cannot_write()";
const CAN_WRITE: &str = "DROP TRIGGER cannot_write ON memories";
/// One once a memory could not be stored twice.
const IS_REPEATED: &str = "SELECT count(*) FROM memory_attempts WHERE last_value >= 2";

#[test]
fn a_run_waits_until_the_database_can_store_what_its_agent_remembers() -> Result<()> {
    let database = SharedDatabase::create("remembers", [replying("draft"), replying("send")])?;
    database.add_memory("draft_agent")?;
    let a = database.start("pod_a")?;
    database.execute(CANNOT_WRITE)?;
    let run = a.start_detached("letter")?;
    database.wait_count(IS_REPEATED, 1)?;
    assert_eq!(database.calls(), 1, "the step has not ended");
    database.execute(CAN_WRITE)?;
    ensure_success(&a.wait_ended(&run)?)?;
    assert_eq!(database.calls(), 2, "no call was repeated");
    database.wait_count("SELECT count(*) FROM memories", 1)
}

#[test]
fn a_memory_of_an_execution_outside_of_a_run_does_not_wait() -> Result<()> {
    let database = SharedDatabase::create("remembers_not", [replying("draft")])?;
    database.add_memory("draft_agent")?;
    let a = database.start("pod_a")?;
    database.execute(CANNOT_WRITE)?;
    ensure_success(&a.run_agent("draft_agent")?)?;
    database.wait_count("SELECT count(*) FROM memory_attempts WHERE is_called AND last_value = 1", 1)?;
    database.wait_count("SELECT count(*) FROM memories", 0)
}
