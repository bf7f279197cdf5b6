//! What every command shares: where the mesh is, how to print, how long to wait.

use clap::Args;
use std::time::Duration;

/// Global options; each may stand before or after the command.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Settings {
    /// Kafka addresses to start from; any node of the mesh will do
    #[arg(
        long,
        global = true,
        env = "RAFKA_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT[,..]",
        value_parser = parse_addresses
    )]
    pub(crate) bootstrap: String,
    /// HTTP address of a node, for `nodes`, `lookup` and the details of `topic describe`
    #[arg(
        long,
        global = true,
        env = "RAFKA_HTTP",
        default_value = "127.0.0.1:9292",
        value_name = "HOST:PORT",
        value_parser = parse_address
    )]
    pub(crate) http: String,
    /// Print JSON, for scripts: one object, or one per line for records
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Seconds to wait for an answer before giving up
    #[arg(long, global = true, default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    /// Show what librdkafka, the Kafka client inside, logs
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

impl Settings {
    /// `--timeout` as a duration.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn parse_address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| format!("\"{text}\" has no port; write HOST:PORT"))?;
    if host.is_empty() || host.contains(['/', ' ', ',']) {
        return Err(format!("\"{host}\" is not a host name; write HOST:PORT"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(text.to_owned()),
        _ => Err(format!("\"{port}\" is not a port from 1 to 65535; write HOST:PORT")),
    }
}

fn parse_addresses(text: &str) -> Result<String, String> {
    let addresses: Result<Vec<String>, String> = text.split(',').map(parse_address).collect();
    Ok(addresses?.join(","))
}

#[cfg(test)]
mod tests {
    use super::{parse_address, parse_addresses};

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(parse_address("http://node-1:9292/").unwrap(), "node-1:9292");
        assert_eq!(parse_address("[::1]:9292").unwrap(), "[::1]:9292");
        for wrong in ["node-1", ":9092", "node-1:0", "node-1:70000", "node-1:http", "a b:1", "a/b:1", ""] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_of_addresses_is_checked_one_by_one() {
        assert_eq!(parse_addresses("a:1, b:2").unwrap(), "a:1,b:2");
        assert!(parse_addresses("a:1,,b:2").is_err());
        assert!(parse_addresses("a:1,b").is_err());
    }
}
