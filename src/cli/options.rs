//! The options of every command, and the configuration that they make.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::exit::Failure;
use crate::config::{Config, Sources};

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Options {
    /// Configuration file (TOML).
    #[arg(
        long,
        short,
        global = true,
        env = "DORMOUSE_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    /// The broker, or the nodes of a cluster: amqp[s]://user:password@host:port/vhost[,…].
    #[arg(long, global = true, value_name = "URI")]
    uri: Option<String>,
    /// The management API; by default guessed from the AMQP address.
    #[arg(long, global = true, value_name = "URI")]
    management_uri: Option<String>,
    /// Sets any configuration key, such as topology.unit=5s. May be repeated.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// How to print results.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

impl Options {
    /// Defaults, file, environment and flags as one checked configuration.
    pub fn load(&self) -> Result<Config, Failure> {
        crate::config::load(self.sources()?).map_err(|faults| Failure::usage(faults.to_string()))
    }

    /// The same options for another process of ours, but for the broker.
    pub fn arguments(&self) -> Vec<String> {
        let file = self.config.iter().map(|file| file.display().to_string());
        let file = file.flat_map(|file| ["--config".to_owned(), file]);
        let settings = self.settings.iter().cloned();
        file.chain(settings.flat_map(|setting| ["--set".to_owned(), setting])).collect()
    }

    pub fn sources(&self) -> Result<Sources, Failure> {
        let mut overrides = Vec::new();
        for setting in &self.settings {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--set {setting}: write it as KEY=VALUE")))?;
            overrides.push((key.to_owned(), value.to_owned()));
        }
        overrides.extend(self.uri.iter().map(|uri| ("broker.uri".to_owned(), uri.clone())));
        overrides.extend(
            self.management_uri.iter().map(|uri| ("broker.management_uri".to_owned(), uri.clone())),
        );
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Sources { file: self.config.clone(), environment, overrides })
    }
}
