// SPDX-License-Identifier: Apache-2.0
//! What every command that talks to a broker is told: where it is, how long to wait, whether to print JSON.

use super::outcome::CommandError;
use crate::client::Client;
use crate::settings::value::read_host;
use clap::Args;
use std::time::Duration;

const DEFAULT_PORT: u16 = 9092;

#[derive(Args, Debug)]
pub struct Broker {
    /// Broker to talk to
    #[arg(long, value_name = "HOST:PORT", env = "POLYLOG_SERVER", default_value = "127.0.0.1:9092")]
    server: String,
    /// How long one request may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = read_timeout)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn read_timeout(text: &str) -> Result<Duration, String> {
    match super::moment::read_duration_ms(text)? {
        0 => Err("must be longer than 0".to_owned()),
        ms => Ok(Duration::from_millis(ms.unsigned_abs())),
    }
}

impl Broker {
    pub fn connect(&self) -> Result<Client, CommandError> {
        let (host, port) =
            read_host(&self.server).map_err(|_| CommandError::usage(format!("{:?} is no HOST:PORT", self.server)))?;
        let port = port.unwrap_or(DEFAULT_PORT);
        let server = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Client::connect(&server, self.timeout)?)
    }
}
