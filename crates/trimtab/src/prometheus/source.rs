//! Where a Prometheus is and how it wants to be spoken to. Secrets have no text form: not in logs, not in errors.

use crate::words::chain;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Identity, Url};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret in.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How we say who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Not at all, or by the user and password in the URL.
    None,
    /// A bearer token in a file, read for every round because tokens of service accounts rotate.
    BearerFile(PathBuf),
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// One Prometheus-compatible server, as the configuration has it.
#[derive(Clone)]
pub struct SourceConfig {
    /// The URL under which `/api/v1/query` lies, e.g. `http://prometheus.monitoring:9090`.
    pub url: String,
    /// Who we are.
    pub credentials: Credentials,
    /// Further headers, e.g. `X-Scope-OrgID`.
    pub headers: BTreeMap<String, Secret>,
    /// A PEM file with certificates of authorities to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with our own certificate and its key, for servers that ask for one.
    pub identity_file: Option<PathBuf>,
    /// Whether to accept any certificate. Whoever is in between can then read the credentials and forge demand.
    pub accept_any_certificate: bool,
    /// The longest that a round may take.
    pub deadline: Duration,
}

impl fmt::Debug for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceConfig").field("url", &without_user(&self.url)).finish_non_exhaustive()
    }
}

impl SourceConfig {
    /// Of two 15 s scrapes, one round may be late and still be there before the next; the server gives up earlier.
    pub const DEADLINE: Duration = Duration::from_secs(5);

    /// A server without credentials, reached through the system's authorities.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self {
            url,
            credentials: Credentials::None,
            headers: BTreeMap::new(),
            ca_file: None,
            identity_file: None,
            accept_any_certificate: false,
            deadline: Self::DEADLINE,
        }
    }
}

/// What is wrong with the configuration of a server, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URL.
    #[error("the Prometheus URL {url:?} {why}; expected e.g. http://prometheus.monitoring:9090")]
    Url {
        /// Without credentials.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A file that cannot be read.
    #[error("cannot read the {what} {}", .path.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that holds something else.
    #[error("the {what} {} holds none in PEM form (-----BEGIN ...)", .path.display())]
    NotPem {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A header.
    #[error("the header {name:?} has a name or value that HTTP does not allow")]
    Header {
        /// Its name.
        name: String,
    },
    /// Two ways to say who we are.
    #[error("the Prometheus URL holds a user and other credentials are given too; give one of them")]
    TwoCredentials,
    /// A deadline of nothing.
    #[error("a deadline of 0 lets no query be answered; the default is 5 s")]
    NoDeadline,
    /// The process has no TLS implementation.
    #[error("no TLS provider is installed in this process")]
    NoTls,
    /// The HTTP client cannot be made.
    #[error(
        "cannot set up TLS for {server}: {cause}; where the system has no certificate authorities, name a file with them"
    )]
    Client {
        /// The URL without credentials.
        server: String,
        /// The chain of causes.
        cause: String,
    },
}

/// The parts of a configuration, checked.
pub(super) struct Parts {
    /// With a path that ends in `/`, without credentials.
    pub(super) base: Url,
    pub(super) credentials: Credentials,
    pub(super) client: reqwest::Client,
}

/// Checks everything and reports all that is wrong.
pub(super) fn check(config: SourceConfig) -> Result<Parts, Vec<SourceError>> {
    let mut errors = Vec::new();
    let url = base(&config.url).map_err(|error| errors.push(error)).ok();
    let headers = headers(&config.headers, &mut errors);
    let authorities = config.ca_file.as_deref().and_then(|path| authorities(path, &mut errors));
    let identity = config.identity_file.as_deref().and_then(|path| identity(path, &mut errors));
    if config.deadline.is_zero() {
        errors.push(SourceError::NoDeadline);
    }
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        errors.push(SourceError::NoTls);
    }
    let Some((base, user)) = url else { return Err(errors) };
    let credentials = match (user, config.credentials) {
        (Some(user), Credentials::None) => user,
        (Some(_), _) => {
            errors.push(SourceError::TwoCredentials);
            Credentials::None
        }
        (None, credentials) => credentials,
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut builder = reqwest::Client::builder()
        .default_headers(headers)
        .user_agent(concat!("trimtab/", env!("CARGO_PKG_VERSION")))
        // a redirect would carry our token to wherever it points
        .redirect(reqwest::redirect::Policy::none())
        .tls_danger_accept_invalid_certs(config.accept_any_certificate);
    builder = if base.scheme() == "http" {
        // a minimal image has no authorities, which must not matter where none are needed
        builder.tls_certs_only([])
    } else {
        builder.tls_certs_merge(authorities.unwrap_or_default())
    };
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    match builder.build() {
        Ok(client) => Ok(Parts { base, credentials, client }),
        Err(error) => Err(vec![SourceError::Client { server: base.to_string(), cause: chain(&error.without_url()) }]),
    }
}

/// The base URL without user and password, and these.
fn base(raw: &str) -> Result<(Url, Option<Credentials>), SourceError> {
    let wrong = |why: String| SourceError::Url { url: without_user(raw), why };
    let mut url = Url::parse(raw.trim()).map_err(|error| wrong(format!("is not a URL ({error})")))?;
    let user = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some(Credentials::Basic {
            user: unescape(user),
            password: Secret::new(unescape(password.unwrap_or_default())),
        }),
    };
    // both fail only for URLs without a host, which are refused next
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("is neither http:// nor https://".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or fragment (? or #), which the API has no room for".to_owned()));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    for page in ["/api/v1/query", "/api/v1", "/graph", "/query"] {
        if let Some(prefix) = path.strip_suffix(page) {
            let mut cure = url.clone();
            cure.set_path(prefix);
            return Err(wrong(format!("names a page of the server, not its base: give {cure}")));
        }
    }
    url.set_path(&format!("{path}/"));
    Ok((url, user))
}

/// A URL as it may be shown; also what is no URL may hold a password.
fn without_user(raw: &str) -> String {
    raw.rsplit_once('@').map_or_else(|| raw.to_owned(), |(_, rest)| format!("...@{rest}"))
}

/// Undoes percent-encoding.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()))
            .flatten();
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn headers(raw: &BTreeMap<String, Secret>, errors: &mut Vec<SourceError>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in raw {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value.reveal())) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            _ => errors.push(SourceError::Header { name: name.clone() }),
        }
    }
    headers
}

fn file(what: &'static str, path: &Path, errors: &mut Vec<SourceError>) -> Option<Vec<u8>> {
    std::fs::read(path).map_err(|source| errors.push(SourceError::File { what, path: path.to_owned(), source })).ok()
}

fn authorities(path: &Path, errors: &mut Vec<SourceError>) -> Option<Vec<Certificate>> {
    let what = "certificate authorities";
    let pem = file(what, path, errors)?;
    let certificates = Certificate::from_pem_bundle(&pem).ok().filter(|certificates| !certificates.is_empty());
    if certificates.is_none() {
        errors.push(SourceError::NotPem { what, path: path.to_owned() });
    }
    certificates
}

fn identity(path: &Path, errors: &mut Vec<SourceError>) -> Option<Identity> {
    let what = "certificate and key";
    let pem = file(what, path, errors)?;
    Identity::from_pem(&pem).map_err(|_| errors.push(SourceError::NotPem { what, path: path.to_owned() })).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(config: SourceConfig) -> Vec<String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        check(config).err().into_iter().flatten().map(|error| chain(&error)).collect()
    }

    #[test]
    fn user_and_password_leave_the_url_and_are_never_printed() {
        let (url, user) = base("https://an%40a:s3%2Fcret@prometheus:9090/prom").unwrap();
        assert_eq!(url.as_str(), "https://prometheus:9090/prom/");
        let Some(Credentials::Basic { user, password }) = &user else { panic!("no user") };
        assert_eq!((user.as_str(), password.reveal()), ("an@a", "s3/cret"));
        assert_eq!(format!("{password:?}"), "(secret)");
        for raw in [
            "ftp://ana:s3cret@prometheus",
            "https://ana:s3cret@prometheus:port",
            "ana:s3cret@prometheus",
            "http://ana:s3cret@p?x=1",
        ] {
            let config = SourceConfig::new(raw.to_owned());
            let printed = format!("{config:?} {:?}", errors(config.clone()));
            assert!(printed.contains("the Prometheus URL") && !printed.contains("s3cret"), "{printed}");
        }
    }

    #[test]
    fn a_page_instead_of_the_base_is_refused_with_the_cure() {
        for (raw, cure) in [
            ("http://p:9090/api/v1/query", "give http://p:9090/;"),
            ("http://p:9090/prom/graph", "give http://p:9090/prom;"),
            ("http://p:9090/api/v1/", "give http://p:9090/;"),
            ("http://p:9090/?q=1", "has a query or fragment"),
            ("p:9090", "is neither http:// nor https://"),
            ("", "is not a URL"),
        ] {
            let errors = errors(SourceConfig::new(raw.to_owned()));
            assert!(matches!(errors.as_slice(), [error] if error.contains(cure)), "{raw}: {errors:?}");
        }
    }

    #[test]
    fn everything_wrong_is_reported_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let not_pem = directory.path().join("ca.pem");
        std::fs::write(&not_pem, "nothing").unwrap();
        let errors = errors(SourceConfig {
            credentials: Credentials::BearerFile(directory.path().join("token")),
            headers: BTreeMap::from([("X Bad".to_owned(), Secret::new("v".to_owned()))]),
            ca_file: Some(not_pem.clone()),
            identity_file: Some(directory.path().join("missing.pem")),
            deadline: Duration::ZERO,
            ..SourceConfig::new("https://u:p@prometheus".to_owned())
        });
        assert_eq!(errors.len(), 5, "{errors:?}");
    }
}
