//! The Prometheus servers that are asked: one by the command line, further ones by name from a file.
//!
//! Sources are the administrator's alone. A policy names one (`prometheus: NAME`) and can neither give a URL nor a file, so that
//! whoever may write a policy cannot make an agent send its credentials anywhere (reliability: CVE-2025-68476 of a neighbour).

use crate::cli;
use crate::prometheus::{Credentials, Secret, Source, SourceConfig, SourceError};
use crate::words::{chain, without_secrets};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// All sources: the first one, and the named ones.
#[derive(Clone, Debug)]
pub struct Sources {
    first: Arc<Source>,
    named: BTreeMap<String, Arc<Source>>,
}

/// What is wrong with the sources, all of it.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.0))]
pub struct SourcesError(Vec<Problem>);

/// One thing that is wrong with the sources.
#[derive(Debug, thiserror::Error)]
enum Problem {
    /// With one of them; the name is `--prometheus-url`, or its own in the file.
    #[error("{name}: {}", chain(.problem))]
    Source { name: String, problem: SourceError },
    #[error("--prometheus-header: expected `Name: value`, got {}", shown(.0))]
    Header(String),
    #[error("failed to read --prometheus-sources {}: {why}", .path.display())]
    Read { path: PathBuf, why: std::io::Error },
    /// The file says something else than sources.
    #[error("--prometheus-sources {}: {why}", .path.display())]
    Parse { path: PathBuf, why: String },
    #[error("{name}: failed to read password_file {}: {why}", .path.display())]
    Password { name: String, path: PathBuf, why: std::io::Error },
    #[error("{0}: expected token_file alone, or user and password_file, or none of them")]
    Credentials(String),
    #[error("two sources are called {0}: give each a name of its own")]
    Twice(String),
}

fn list(problems: &[Problem]) -> String {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    all.join("\n  ")
}

/// A header without a colon may be all secret: its beginning tells which one it was.
fn shown(header: &str) -> String {
    format!("`{}...`", header.chars().take(4).collect::<String>())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sources: Vec<Named>,
}

/// One source of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    url: String,
    token_file: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    ca_file: Option<PathBuf>,
    identity_file: Option<PathBuf>,
    #[serde(default)]
    accept_any_certificate: bool,
}

impl Sources {
    /// The sources that the command line and its file name. Sends nothing.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn new(settings: &cli::Prometheus) -> Result<Self, SourcesError> {
        Self::patient(settings, None)
    }

    /// The same, for questions that may take so long.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn patient(settings: &cli::Prometheus, deadline: Option<Duration>) -> Result<Self, SourcesError> {
        let mut problems = Vec::new();
        let patient = |config: SourceConfig| SourceConfig { deadline: deadline.unwrap_or(config.deadline), ..config };
        let first = open("--prometheus-url", patient(first(settings, &mut problems)), &mut problems);
        let mut named = BTreeMap::new();
        let file = settings.prometheus_sources.as_deref();
        for source in file.map(|path| read(path, &mut problems)).unwrap_or_default() {
            let name = source.name.clone();
            let Some(config) = config(source, &mut problems) else { continue };
            let Some(source) = open(&name, patient(config), &mut problems) else { continue };
            if named.insert(name.clone(), source).is_some() {
                problems.push(Problem::Twice(name));
            }
        }
        match first {
            Some(first) if problems.is_empty() => Ok(Self { first, named }),
            _ => Err(SourcesError(problems)),
        }
    }

    /// The source of this name, or the first one; `None` where no source has it.
    #[must_use]
    pub fn get(&self, name: Option<&str>) -> Option<&Arc<Source>> {
        name.map_or(Some(&self.first), |name| self.named.get(name))
    }

    /// The names that a policy may use.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.named.keys().map(String::as_str).collect()
    }
}

fn open(name: &str, config: SourceConfig, problems: &mut Vec<Problem>) -> Option<Arc<Source>> {
    let wrong = |problem| Problem::Source { name: name.to_owned(), problem };
    Source::new(config).map_err(|found| problems.extend(found.into_iter().map(wrong))).ok().map(Arc::new)
}

/// The sources in a file.
fn read(path: &Path, problems: &mut Vec<Problem>) -> Vec<Named> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(why) => {
            problems.push(Problem::Read { path: path.to_owned(), why });
            return Vec::new();
        }
    };
    let parsed: Result<File, _> = serde_saphyr::from_slice(&text);
    let wrong = |error| Problem::Parse { path: path.to_owned(), why: without_secrets(&error) };
    parsed.map_err(|error| problems.push(wrong(error))).map(|file| file.sources).unwrap_or_default()
}

fn first(settings: &cli::Prometheus, problems: &mut Vec<Problem>) -> SourceConfig {
    let mut headers = BTreeMap::new();
    for header in &settings.prometheus_header {
        match header.split_once(':') {
            Some((name, value)) => {
                headers.insert(name.trim().to_owned(), Secret::new(value.trim().to_owned()));
            }
            None => problems.push(Problem::Header(header.clone())),
        }
    }
    SourceConfig {
        credentials: settings.prometheus_token_file.clone().map_or(Credentials::None, Credentials::BearerFile),
        headers,
        ca_file: settings.prometheus_ca_file.clone(),
        ..SourceConfig::new(settings.prometheus_url.clone())
    }
}

fn config(source: Named, problems: &mut Vec<Problem>) -> Option<SourceConfig> {
    let credentials = match (source.token_file, source.user, source.password_file) {
        (None, None, None) => Credentials::None,
        (Some(file), None, None) => Credentials::BearerFile(file),
        (None, Some(user), Some(path)) => match std::fs::read_to_string(&path) {
            Ok(password) => Credentials::Basic { user, password: Secret::new(password.trim_end().to_owned()) },
            Err(why) => {
                problems.push(Problem::Password { name: source.name, path, why });
                return None;
            }
        },
        _ => {
            problems.push(Problem::Credentials(source.name));
            return None;
        }
    };
    Some(SourceConfig {
        credentials,
        headers: source.headers.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
        ca_file: source.ca_file,
        identity_file: source.identity_file,
        accept_any_certificate: source.accept_any_certificate,
        ..SourceConfig::new(source.url)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn sources(arguments: &[&str]) -> Result<Sources, SourcesError> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let all = ["trimtab", "run"].iter().chain(arguments);
        let cli::Command::Run(settings) = cli::Cli::try_parse_from(all).unwrap().command else { panic!("it was run") };
        Sources::new(&settings.prometheus)
    }

    #[test]
    fn a_policy_finds_the_source_that_it_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "sources:\n- name: infra\n  url: http://infra:9090\n").unwrap();
        let path = file.path().to_str().unwrap();
        let sources = sources(&["--prometheus-url", "http://first:9090", "--prometheus-sources", path]).unwrap();
        assert!(sources.get(None).unwrap().url().contains("first"));
        assert!(sources.get(Some("infra")).unwrap().url().contains("infra"));
        assert!(sources.get(Some("other")).is_none());
    }

    #[test]
    fn what_is_wrong_with_a_source_is_said_with_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "sources:\n- name: infra\n  url: ftp://infra\n").unwrap();
        let path = file.path().to_str().unwrap();
        let error = sources(&["--prometheus-url", "http://first:9090", "--prometheus-sources", path]).unwrap_err();
        assert!(error.to_string().starts_with("infra: the Prometheus URL"), "{error}");
        std::fs::write(file.path(), "sources:\n- name: infra\n  url: http://infra\n  user: me\n").unwrap();
        let error = sources(&["--prometheus-url", "http://first:9090", "--prometheus-sources", path]).unwrap_err();
        assert!(error.to_string().contains("user and password_file"), "{error}");
    }

    #[test]
    fn backtest_reaches_prometheus_as_run_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "sources:\n- name: infra\n  url: http://infra:9090\n").unwrap();
        let path = file.path().to_str().unwrap();
        let flags = [
            ["--prometheus-url", "http://first:9090"],
            ["--prometheus-header", "X-Scope-OrgID: shop"],
            ["--prometheus-token-file", "token"],
            ["--prometheus-ca-file", "ca.pem"],
            ["--prometheus-sources", path],
        ];
        let of = |command: &[&str]| {
            let all = ["trimtab"].iter().chain(command).chain(flags.as_flattened());
            match cli::Cli::try_parse_from(all).unwrap().command {
                cli::Command::Run(settings) => settings.prometheus,
                cli::Command::Backtest(settings) => settings.prometheus,
                other => panic!("{other:?}"),
            }
        };
        let [run, backtest] = [of(&["run"]), of(&["backtest", "shop/web"])];
        assert_eq!(format!("{run:?}"), format!("{backtest:?}"));
        assert!(backtest.prometheus_header == ["X-Scope-OrgID: shop"] && backtest.prometheus_ca_file.is_some());
    }

    #[test]
    fn a_header_without_a_colon_is_refused() {
        let error =
            sources(&["--prometheus-url", "http://first:9090", "--prometheus-header", "X-Scope-OrgID"]).unwrap_err();
        assert!(error.to_string().contains("expected `Name: value`"), "{error}");
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_and_no_secret_with_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let two = "- name: infra\n  url: ftp://infra\n- name: legacy\n  url: http://legacy\n  user: me\n";
        std::fs::write(file.path(), format!("sources:\n{two}")).unwrap();
        let arguments = ["--prometheus-url", "nowhere", "--prometheus-header", "s3cret", "--prometheus-sources", path];
        let error = sources(&arguments).unwrap_err().to_string();
        for part in ["--prometheus-url: ", "--prometheus-header: ", "infra: ", "legacy: "] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!error.contains("s3cret"), "{error}");

        for wrong in ["headers: s3cret", "headers: {X: s3cret}\n  urrl: x", "headers: [s3cret\n"] {
            std::fs::write(file.path(), format!("sources:\n- name: infra\n  url: http://infra\n  {wrong}\n")).unwrap();
            let error = sources(&["--prometheus-url", "http://first", "--prometheus-sources", path]).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("line ") && !error.contains("s3cret"), "{error}");
        }
    }
}
