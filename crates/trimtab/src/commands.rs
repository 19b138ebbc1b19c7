//! The commands other than `run`: they read, print, and end.

use crate::cli::{Explain, Lint, Replay, Status};
use crate::explain;
use crate::policies;
use crate::remote;
use crate::report::{Report, Workload, Writes};
use crate::serve::past;
use anyhow::Context;
use futures::future::BoxFuture;
use std::process::ExitCode;
use trimtab_core::unit::Timestamp;
use trimtab_journal::{Filter, Reader};

/// What a command prints, and how it ends.
#[derive(Debug)]
pub struct Printed {
    /// For standard output.
    pub text: String,
    /// 0 done; 1 the answer is no; 4 the named object was not found.
    pub code: u8,
}

impl Printed {
    const fn done(text: String) -> Self {
        Self { text, code: 0 }
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// `trimtab status`.
#[must_use]
pub fn status(command: &Status) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        let answer = remote::get(&command.source, "/api/v1/report").await?;
        let mut report: Report = parse(&answer)?;
        if command.source.json {
            let wanted = command.namespace.as_deref();
            report.workloads.retain(|workload| {
                wanted.is_none_or(|namespace| workload.workload.split('/').next() == Some(namespace))
            });
            return Ok(Printed::done(format!("{}\n", serde_json::to_string_pretty(&report)?)));
        }
        Ok(Printed::done(explain::status(&report, command.namespace.as_deref())))
    })
}

/// `trimtab explain`.
#[must_use]
pub fn explain(command: &Explain) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        let at = command.at.map(|at| Timestamp(at.as_millisecond()));
        let workload = if let Some(journal) = &command.journal {
            let at = at.unwrap_or(Timestamp(i64::MAX));
            recorded(command, past(journal, &command.target, at).map_err(anyhow::Error::msg)?)
        } else {
            let query = at.map_or_else(String::new, |at| format!("?at={}", at.0));
            let answer = remote::get(&command.source, &format!("/api/v1/workloads/{}{query}", command.target)).await?;
            if answer.status == 404 {
                let said = String::from_utf8_lossy(&answer.body).trim().to_owned();
                return Ok(Printed { text: format!("{said}; trimtab status lists what there is\n"), code: 4 });
            }
            parse(&answer)?
        };
        if command.source.json {
            return Ok(Printed::done(format!("{}\n", serde_json::to_string_pretty(&workload)?)));
        }
        let code = if workload.last.is_none() && command.journal.is_some() { 4 } else { 0 };
        Ok(Printed { text: explain::explain(&workload), code })
    })
}

/// A workload as the journal alone knows it.
fn recorded(command: &Explain, last: Option<crate::report::Considered>) -> Workload {
    let problem = last.is_none().then(|| format!("the journal has no decision of {} at that time", command.target));
    Workload {
        workload: command.target.to_string(),
        policy_origin: "as recorded".into(),
        writes: Writes::Shadow,
        problem,
        signals: Vec::new(),
        last,
        changed: None,
    }
}

fn parse<T: serde::de::DeserializeOwned>(answer: &remote::Answer) -> anyhow::Result<T> {
    anyhow::ensure!(
        answer.status == 200,
        "the agent answered {}: {}",
        answer.status,
        String::from_utf8_lossy(&answer.body).trim()
    );
    serde_json::from_slice(&answer.body).context("the agent's answer is of another version of trimtab")
}
/// `trimtab replay`: exit code 1 where a decision comes out differently.
pub fn replay(command: &Replay) -> anyhow::Result<Printed> {
    let path = command.journal.display();
    let reader = Reader::open(&command.journal).with_context(|| format!("failed to open the journal {path}"))?;
    let filter = Filter { workload: command.workload.as_ref().map(ToString::to_string), ..Filter::everything() };
    let replay =
        trimtab_journal::replay(&reader, &filter).with_context(|| format!("failed to read the journal {path}"))?;
    Ok(Printed { text: format!("{replay}\n"), code: u8::from(!replay.is_clean()) })
}

/// `trimtab lint`: exit code 1 where a file has a problem.
pub fn lint(command: &Lint) -> anyhow::Result<Printed> {
    let mut files = Vec::new();
    for path in &command.files {
        let text = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        files.push((path.display().to_string(), text));
    }
    Ok(policies::lint(&files))
}
