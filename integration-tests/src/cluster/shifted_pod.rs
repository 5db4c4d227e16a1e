//! A pod as `greenroom up` runs it, except that its one clock can be put forward: each line of standard input is a
//! number of milliseconds.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use greenroom_supervisor::clock::TimeOrdered;
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Config, Flags, source};
use greenroom_supervisor::data_dir::DataDirLock;
use greenroom_supervisor::lifecycle::{ShutdownReason, Signals, run_until_shutdown};
use greenroom_supervisor::pod::Pod;
use greenroom_supervisor::telemetry;

use crate::shifted_clock::ShiftedClock;

/// Runs the pod with the configuration of the environment until a signal arrives or the pod fails. If another pod declares
/// it dead, it starts as a new one. Returns the exit code.
pub async fn up(mut signals: Signals) -> u8 {
    match Box::pin(run(&mut signals)).await {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to report an error to that cannot be written.
            let _ = writeln!(std::io::stderr(), "the pod does not start: {error:#}");
            1
        }
    }
}

async fn run(signals: &mut Signals) -> anyhow::Result<u8> {
    let config = source::load(&Flags::default(), std::env::vars_os())?.config;
    let clock = Arc::new(ShiftedClock::default());
    telemetry::start("info", clock.clone()).map_err(anyhow::Error::msg)?;
    read_shifts(Arc::clone(&clock)).context("the clock cannot be put forward")?;
    loop {
        let pod = Box::pin(start(&config, Arc::clone(&clock))).await?;
        match run_until_shutdown(pod, signals).await {
            ShutdownReason::Signal => return Ok(0),
            ShutdownReason::Failure(_) => return Ok(1),
            ShutdownReason::DeclaredDead => {}
        }
    }
}

async fn start(config: &Config, clock: Arc<ShiftedClock>) -> anyhow::Result<Pod> {
    let lock = DataDirLock::acquire(&config.data_dir).await?;
    let overrides = Overrides { lock: Some(lock), uses_nats: true, ..Overrides::default() };
    let mut pod = compose_with(config, clock, Arc::new(TimeOrdered), overrides).await?;
    pod.listen().await?;
    pod.serve_nats().await?;
    pod.watch();
    pod.recover();
    pod.sweep();
    Ok(pod)
}

/// Puts the clock forward by each line of standard input, on a thread of its own, until its end.
fn read_shifts(clock: Arc<ShiftedClock>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("shifts".to_owned());
    thread.spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if let Ok(millis) = line.trim().parse() {
                clock.put_forward(Duration::from_millis(millis));
            }
        }
    })?;
    Ok(())
}
