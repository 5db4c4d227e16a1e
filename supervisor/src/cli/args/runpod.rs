//! The arguments of `greenroom runpod …` and `greenroom healthcheck`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use greenroom_runpod::deploy::API_URL;
use greenroom_runpod::scale::ENDPOINTS_URL;

/// Commands of `runpod`.
#[derive(Debug, Subcommand)]
pub enum RunpodCommand {
    /// Take the jobs of a queue endpoint and execute them; outside of RunPod, execute one job of a file
    Worker(RunpodWorkerArgs),
    /// Start workers for work that arrives over NATS or waits in the database, by lease jobs
    Scale(RunpodScaleArgs),
    /// Create and change endpoints as a file describes them
    Deploy(RunpodDeployArgs),
    /// Show the workers of the endpoints of a file, and what they have cost
    Status(RunpodFileArgs),
}

/// Arguments of `runpod worker`.
#[derive(Debug, Args)]
pub struct RunpodWorkerArgs {
    /// Maximum number of jobs at once
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// Send jobs to pods over NATS instead of running a pod in this process
    #[arg(long)]
    pub thin: bool,
    /// Timeout of one job
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub job_timeout: humantime::Duration,
    /// Have the worker replaced after its first job
    #[arg(long)]
    pub refresh_worker: bool,
    /// Price of one virtual processor for an hour, from the catalogue of the account, for the cost of each job
    #[arg(long, value_name = "USD", env = "RUNPOD_VCPU_USD_PER_HOUR", value_parser = parse_price)]
    pub vcpu_usd_per_hour: Option<f64>,
    /// Job as JSON, outside of RunPod; default: the file test_input.json
    #[arg(long, value_name = "JSON")]
    pub test_input: Option<String>,
}

/// Arguments of `runpod scale`.
#[derive(Debug, Args)]
pub struct RunpodScaleArgs {
    /// Id of the queue endpoint
    #[arg(long, value_name = "ID")]
    pub endpoint: String,
    /// Leases that there always are
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub min: u32,
    /// Maximum number of leases
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    pub max: u32,
    /// Runs and requests for one worker
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    pub work_per_worker: u32,
    /// Time between two rounds
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub interval: humantime::Duration,
    /// Longest lease
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub lease: humantime::Duration,
    /// Time without work after which a lease ends
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub idle: humantime::Duration,
    /// Address of the endpoints
    #[arg(long, value_name = "URL", default_value = ENDPOINTS_URL)]
    pub endpoints_url: String,
}

/// Arguments of `runpod status`, and a part of those of `runpod deploy`.
#[derive(Debug, Args)]
pub struct RunpodFileArgs {
    /// Description of endpoints, such as runpod/endpoints/queue.yaml, or a runpod-config.yaml
    pub file: PathBuf,
    /// Image of endpoints that name none, with an immutable tag
    #[arg(long, value_name = "IMAGE", default_value = concat!("ghcr.io/greenroom/greenroom:", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// Id of the credentials of a private registry
    #[arg(long, value_name = "ID")]
    pub registry: Option<String>,
    /// Address of the API
    #[arg(long, value_name = "URL", default_value = API_URL)]
    pub api_url: String,
}

/// Arguments of `runpod deploy`.
#[derive(Debug, Args)]
pub struct RunpodDeployArgs {
    /// The file, and what it leaves open
    #[command(flatten)]
    pub file: RunpodFileArgs,
    /// Print what would be created and changed, and change nothing; without RUNPOD_API_KEY, everything is new
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Address of the server; default: that of the metrics
    #[arg(long, value_name = "ADDRESS")]
    pub addr: Option<SocketAddr>,
    /// Path that responds with success
    #[arg(long, value_name = "PATH", default_value = "/metrics")]
    pub path: String,
}

fn parse_price(text: &str) -> Result<f64, String> {
    let price: Option<f64> = text.parse().ok();
    let price = price.filter(|usd| usd.is_finite() && *usd >= 0.0);
    price.ok_or_else(|| "write it as US dollars, such as 0.03".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_price;

    #[test]
    fn a_price_is_a_number_of_dollars() {
        assert_eq!(parse_price("0.03"), Ok(0.03));
        assert_eq!(parse_price("0"), Ok(0.0));
        for other in ["", "-1", "NaN", "inf", "3 cents"] {
            assert!(parse_price(other).is_err(), "{other}");
        }
    }
}
