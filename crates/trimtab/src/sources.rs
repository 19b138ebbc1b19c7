//! The Prometheus servers that are asked: one by the command line, further ones by name from a file.
//!
//! Sources are the administrator's alone. A policy names one (`prometheus: NAME`) and can neither give a URL nor a file, so that
//! whoever may write a policy cannot make an agent send its credentials anywhere (reliability: CVE-2025-68476 of a neighbour).

use crate::cli;
use crate::prometheus::{Credentials, Secret, Source, SourceConfig, SourceError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// All sources: the first one, and the named ones.
#[derive(Clone, Debug)]
pub struct Sources {
    first: Arc<Source>,
    named: BTreeMap<String, Arc<Source>>,
}

/// What is wrong with the sources, all of it.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// With one of them.
    #[error("{}", list(.name, .problems))]
    Source {
        /// Which: `--prometheus-url`, or its name in the file.
        name: String,
        /// What.
        problems: Vec<SourceError>,
    },
    /// A header that is none.
    #[error("--prometheus-header: expected `Name: value`, got {0:?}")]
    Header(String),
    /// The file cannot be read.
    #[error("failed to read --prometheus-sources {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file says something else than sources.
    #[error("--prometheus-sources {}: {problem}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        problem: String,
    },
}

fn list(name: &str, problems: &[SourceError]) -> String {
    let problems: Vec<String> = problems.iter().map(|problem| crate::words::chain(problem)).collect();
    format!("{name}: {}", problems.join("; "))
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
    pub fn new(settings: &cli::Run) -> Result<Self, SourcesError> {
        let first = open("--prometheus-url".into(), first(settings)?)?;
        let mut named = BTreeMap::new();
        let Some(path) = &settings.prometheus_sources else { return Ok(Self { first, named }) };
        let text = std::fs::read(path).map_err(|source| SourcesError::Read { path: path.clone(), source })?;
        let parse = |problem: String| SourcesError::Parse { path: path.clone(), problem };
        let file: File = serde_saphyr::from_slice(&text).map_err(|error| parse(error.to_string()))?;
        for source in file.sources {
            let name = source.name.clone();
            let config = config(source).map_err(&parse)?;
            if named.insert(name.clone(), open(name.clone(), config)?).is_some() {
                return Err(parse(format!("two sources are called {name}")));
            }
        }
        Ok(Self { first, named })
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

fn open(name: String, config: SourceConfig) -> Result<Arc<Source>, SourcesError> {
    Source::new(config).map(Arc::new).map_err(|problems| SourcesError::Source { name, problems })
}

fn first(settings: &cli::Run) -> Result<SourceConfig, SourcesError> {
    let mut headers = BTreeMap::new();
    for header in &settings.prometheus_header {
        let (name, value) = header.split_once(':').ok_or_else(|| SourcesError::Header(header.clone()))?;
        headers.insert(name.trim().to_owned(), Secret::new(value.trim().to_owned()));
    }
    Ok(SourceConfig {
        credentials: settings.prometheus_token_file.clone().map_or(Credentials::None, Credentials::BearerFile),
        headers,
        ca_file: settings.prometheus_ca_file.clone(),
        ..SourceConfig::new(settings.prometheus_url.clone())
    })
}

fn config(source: Named) -> Result<SourceConfig, String> {
    let name = &source.name;
    let credentials = match (source.token_file, source.user, source.password_file) {
        (None, None, None) => Credentials::None,
        (Some(file), None, None) => Credentials::BearerFile(file),
        (None, Some(user), Some(file)) => {
            let password = std::fs::read_to_string(&file)
                .map_err(|error| format!("source {name}: failed to read password_file {}: {error}", file.display()))?;
            Credentials::Basic { user, password: Secret::new(password.trim_end().to_owned()) }
        }
        _ => {
            return Err(format!(
                "source {name}: expected token_file alone, or user and password_file, or none of them"
            ));
        }
    };
    Ok(SourceConfig {
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
        Sources::new(&settings)
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
    fn a_header_without_a_colon_is_refused() {
        let error =
            sources(&["--prometheus-url", "http://first:9090", "--prometheus-header", "X-Scope-OrgID"]).unwrap_err();
        assert!(error.to_string().contains("expected `Name: value`"), "{error}");
    }
}
