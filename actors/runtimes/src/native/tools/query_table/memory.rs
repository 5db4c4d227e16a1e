//! The memory that one statement adds to the process. SQLite bounds values, rows and tables of a connection, and neither bounds
//! nor counts what a sort or a grouping stores: with `temp_store = MEMORY` their tables have no maximum, its status of a
//! connection knows the caches of the databases only, and its two limits of the heap are those of the whole process, where they
//! would fail the commits of the store. With `temp_store = FILE` they would be on a disk, without a bound there.
//!
//! So the last bound is the growth of the process, from which the work of others is told apart twice: the growth counts since
//! the least memory that was seen, so that what others have returned before hides nothing, and only once the thread of the
//! statement has touched as much for the first time, which Linux counts for each thread.

use std::fs;
use std::path::Path;

use nix::unistd::{SysconfVar, sysconf};

/// Where Linux says whether one fault may add several pages: in this file of the folder, and of the folder of each size.
const LARGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage";
const LARGE_PAGES_FILE: &str = "enabled";
/// What such a file has if that is so for every memory.
const ALWAYS: &str = "[always]";
/// The position of the minor faults in the status of a thread, after its name.
const FAULTS_FIELD: usize = 7;

/// Watches what a statement adds to the memory of the process, on the thread that executes it.
#[derive(Debug)]
pub(super) struct MemoryGrowth {
    /// The least memory of the process so far; `None` where the system does not report it.
    least: Option<u64>,
    /// What the thread had touched before; `None` where that is not known.
    touched_before: Option<u64>,
}

impl MemoryGrowth {
    /// Begins before the statement.
    pub(super) fn begin() -> Self {
        Self { least: resident_bytes(), touched_before: touched_bytes() }
    }

    /// True if the statement has added more bytes than these.
    pub(super) fn exceeds(&mut self, bytes_max: u64) -> bool {
        self.is_beyond(bytes_max, resident_bytes(), touched_bytes)
    }

    fn is_beyond(&mut self, bytes_max: u64, resident: Option<u64>, touched: impl FnOnce() -> Option<u64>) -> bool {
        let Some(resident) = resident else { return false };
        let least = self.least.map_or(resident, |least| least.min(resident));
        self.least = Some(least);
        // What the thread has touched is read once the process has grown so much, which is seldom.
        resident.saturating_sub(least) > bytes_max
            && touched().zip(self.touched_before).is_none_or(|(now, before)| now.saturating_sub(before) > bytes_max)
    }
}

/// The memory of the process that is in no file; all of it where the system does not distinguish. `None` where it reports none.
fn resident_bytes() -> Option<u64> {
    resident_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_of(status: &str) -> Option<u64> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let line = field("RssAnon:").or_else(|| field("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The bytes that this thread has touched for the first time, more than once if they were returned in between; `None` where the
/// system does not count them.
fn touched_bytes() -> Option<u64> {
    if !adds_single_pages(Path::new(LARGE_PAGES)) {
        return None;
    }
    let page_bytes = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    // A thread that runs has touched something; a system that says otherwise does not count.
    let faults = faults_of(&fs::read_to_string("/proc/thread-self/stat").ok()?).filter(|faults| *faults > 0)?;
    faults.checked_mul(page_bytes)
}

/// The minor faults in the status of a thread. Its name may have spaces and parentheses.
fn faults_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(FAULTS_FIELD)?.parse().ok()
}

/// True if each fault adds one page, also where the system has larger ones for those who ask for them.
fn adds_single_pages(folder: &Path) -> bool {
    let is_known = |file: &Path| fs::read_to_string(file).is_ok_and(|text| !text.contains(ALWAYS));
    let Ok(sizes) = fs::read_dir(folder) else { return false };
    is_known(&folder.join(LARGE_PAGES_FILE))
        && sizes
            .flatten()
            .map(|size| size.path().join(LARGE_PAGES_FILE))
            .filter(|file| file.exists())
            .all(|file| is_known(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// True if a growth from 100 MiB, with nothing touched, exceeds 50 MiB at the last of these moments: the memory of the
    /// process in MiB, and what the thread has touched.
    fn exceeds(moments: &[(Option<u64>, Option<u64>)]) -> bool {
        let mut growth = MemoryGrowth { least: Some(100 * MIB), touched_before: Some(7 * MIB) };
        let mut exceeds = false;
        for (resident, touched) in moments {
            let touched = touched.map(|touched| (7 + touched) * MIB);
            exceeds = growth.is_beyond(50 * MIB, resident.map(|resident| resident * MIB), || touched);
        }
        exceeds
    }

    #[test]
    fn only_what_the_statement_itself_adds_ends_it() {
        assert!(exceeds(&[(Some(151), Some(51))]));
        assert!(!exceeds(&[(Some(150), Some(51))]), "it has added no more than the bound");
        assert!(!exceeds(&[(Some(900), Some(50))]), "others have grown");
        assert!(exceeds(&[(Some(40), Some(0)), (Some(91), Some(51))]), "others have returned memory before");
        assert!(exceeds(&[(Some(151), None)]), "it is not known who has grown");
        assert!(!exceeds(&[(None, Some(900))]), "the system reports nothing");
    }

    #[test]
    fn the_reports_of_the_system_are_read() {
        let status = "Name:\tpod\nVmRSS:\t  300 kB\nRssAnon:\t  200 kB\n";
        assert_eq!(resident_of(status), Some(200 * 1024));
        assert_eq!(resident_of("VmRSS:\t  300 kB\n"), Some(300 * 1024));
        assert_eq!(resident_of("Name:\tpod\n"), None);
        assert_eq!(faults_of("12 (a ) b) S 1 2 3 4 5 6 77 8 9\n"), Some(77));
        assert_eq!(faults_of("12 S 1"), None);
    }

    #[test]
    fn a_system_with_large_pages_for_everyone_counts_no_touched_bytes() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!adds_single_pages(folder.path()), "it is not known");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("enabled", "always [madvise] never\n");
        fs::create_dir(folder.path().join("hugepages-64kB")).unwrap();
        write("hugepages-64kB/enabled", "always [inherit] madvise never\n");
        assert!(adds_single_pages(folder.path()));
        write("hugepages-64kB/enabled", "[always] inherit madvise never\n");
        assert!(!adds_single_pages(folder.path()));
        write("hugepages-64kB/enabled", "always inherit madvise [never]\n");
        write("enabled", "[always] madvise never\n");
        assert!(!adds_single_pages(folder.path()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_that_another_thread_adds_is_not_counted() {
        // Where large pages are for everyone, this cannot be told.
        let Some(before) = touched_bytes() else { return };
        let touched = || touched_bytes().unwrap().saturating_sub(before);
        let others = std::thread::spawn(|| std::hint::black_box(vec![1_u8; 64 * 1024 * 1024])).join().unwrap();
        assert!(touched() < 32 * MIB, "{}", touched());
        let own = std::hint::black_box(vec![1_u8; 64 * 1024 * 1024]);
        assert!(touched() >= 64 * MIB, "{}", touched());
        drop((others, own));
    }
}
