//! Measures how long the shipped catalogue takes to load: from its files, which are parsed, completed, checked and indexed,
//! and from the compiled form that the binary embeds; and what decoding all of it takes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_definitions::{Catalogue, Source, embedded, load};
use greenroom_integration_tests::bench::{Latencies, Threshold, cpu_time, record, scaled};

/// Measured loads of each kind.
const LOADS: u64 = 20;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let names = embedded::used_names().map_err(|cause| anyhow::anyhow!("{cause}"))?;
    let folder = Source::Directory(Path::new(env!("CARGO_MANIFEST_DIR")).join("../catalogue"));
    let mut measured = Measured::default();
    for _ in 0..scaled(LOADS) {
        let before = cpu_time()?;
        let loaded = load(&folder, &names);
        // The loader uses several cores: the time of all of them is what one core takes.
        measured.parsed.push(cpu_time()?.saturating_sub(before));
        ensure!(loaded.report.problems().is_empty(), "{}", loaded.report);

        let started_at = Instant::now();
        let loaded = load(&Source::Embedded, &names);
        measured.compiled.push(started_at.elapsed());
        ensure!(loaded.report.problems().is_empty(), "{}", loaded.report);
        let catalogue = loaded.catalogue.context("the binary has a catalogue")?;
        measured.decode_all(&catalogue)?;
    }
    measured.record()
}

#[derive(Default)]
struct Measured {
    parsed: Vec<Duration>,
    compiled: Vec<Duration>,
    decoded: Vec<Duration>,
}

impl Measured {
    fn decode_all(&mut self, catalogue: &Catalogue) -> anyhow::Result<()> {
        let started_at = Instant::now();
        let damages = catalogue.damages();
        self.decoded.push(started_at.elapsed());
        ensure!(damages.is_empty(), "{damages:?}");
        Ok(())
    }

    fn record(self) -> anyhow::Result<()> {
        let median = |durations: Vec<Duration>| durations.into_iter().collect::<Latencies>().millis(0.5);
        let rows = [
            ("load and check the shipped files, one core, p50", self.parsed, Threshold::AtMost(300.0)),
            ("load the embedded catalogue, p50", self.compiled, Threshold::AtMost(20.0)),
            ("decode the whole embedded catalogue, p50", self.decoded, Threshold::Informational),
        ];
        for (name, durations, threshold) in rows {
            record("catalogue", name, median(durations), "ms", threshold)?;
        }
        Ok(())
    }
}
