//! The processor time of processes, as the kernel reports it.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// The unit of `/proc/PID/stat`; Linux reports 100 to programs, whatever it uses internally.
const TICKS_PER_SECOND: u64 = 100;

/// The fields of `/proc/PID/stat` from the id of the parent to the time of the children that have ended.
const FIELDS: usize = 14;

/// Processor time that a process has used so far, on all its threads. `self` is this process.
///
/// # Errors
/// If the process has ended.
pub fn processor_time(process: &str) -> anyhow::Result<Duration> {
    Ok(to_duration(Stat::read(process)?.own))
}

/// Processor time that a process and its children have used so far, those that have ended included.
///
/// # Errors
/// If the process has ended, or `/proc` cannot be read.
pub fn processor_time_with_children(process: &str) -> anyhow::Result<Duration> {
    let stat = Stat::read(process)?;
    let mut ticks = stat.own + stat.ended_children;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        // It may have ended meanwhile.
        ticks += Stat::read(id).ok().filter(|child| child.parent == process).map_or(0, |child| child.own);
    }
    Ok(to_duration(ticks))
}

/// The process that has started this one.
///
/// # Errors
/// If the process has ended.
pub fn parent(process: &str) -> anyhow::Result<String> {
    Ok(Stat::read(process)?.parent)
}

/// The times are in ticks.
struct Stat {
    parent: String,
    own: u64,
    ended_children: u64,
}

impl Stat {
    fn read(process: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).context("the process has ended")?;
        // The program's name is in parentheses and may contain anything; the state and then numbers follow it.
        let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = fields.split_whitespace().skip(1).take(FIELDS).collect();
        let [parent, .., user, system, children_user, children_system] = fields.as_slice() else {
            anyhow::bail!("{text} has too few fields");
        };
        let sum = |user: &str, system: &str| anyhow::Ok(user.parse::<u64>()? + system.parse::<u64>()?);
        let (own, ended_children) = (sum(user, system)?, sum(children_user, children_system)?);
        Ok(Self { parent: (*parent).to_owned(), own, ended_children })
    }
}

const fn to_duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * (1_000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_and_of_its_children_is_read_and_does_not_decrease() {
        let own = std::process::id().to_string();
        let before = processor_time("self").unwrap();
        let mut command = std::process::Command::new("sh");
        let mut child = command.args(["-c", "read line"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let spun = (0..5_000_000_u64).fold(0, |sum: u64, n| std::hint::black_box(sum.wrapping_add(n)));
        let with_children = processor_time_with_children(&own).unwrap();
        let started_by = parent(&child.id().to_string()).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(spun > 0 && before <= processor_time("self").unwrap() && before <= with_children);
        assert_eq!(started_by, own);
        assert!(parent("0").is_err());
    }
}
