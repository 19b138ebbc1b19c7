//! The commands other than `run`: they read, print, and end.

use crate::cli::{Cli, Explain, Lint, Replay, Status, Supposed};
use crate::explain;
use crate::page::what_if::{self, Answer, Asked, Refusal};
use crate::policies;
use crate::progress::Progress;
use crate::remote;
use crate::report::{self, Report, Workload};
use crate::serve::{Past, listing, past};
use crate::terms;
use anyhow::Context;
use clap::CommandFactory;
use futures::future::BoxFuture;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trimtab_core::unit::Timestamp;
use trimtab_journal::{Filter, Reader};

/// What is waited for.
const AGENTS: &str = "waiting for the agents";

/// What a command prints, and how it ends.
#[derive(Debug)]
pub struct Printed {
    /// For standard output.
    pub text: String,
    /// 0 done; 1 the answer is no; 4 the named object was not found.
    pub code: u8,
}

impl Printed {
    pub(crate) const fn done(text: String) -> Self {
        Self { text, code: 0 }
    }

    const fn not_found(text: String) -> Self {
        Self { text, code: 4 }
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
        let waiting = Progress::waiting(AGENTS);
        let (answers, silent) = remote::get_all(&command.source, "/api/v1/report").await?;
        drop(waiting);
        let mut reports = answers.iter().map(parse::<Report>).collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(first) = reports.first_mut() {
            first.troubles.extend(silent.into_iter().map(|(agent, why)| (format!("agent {agent}"), why)));
        }
        if command.agents && !command.source.json {
            return Ok(Printed::done(explain::agents(&reports)));
        }
        if command.source.json {
            let mut report = report::of_all(reports);
            let wanted = command.namespace.as_deref();
            report.workloads.retain(|workload| {
                wanted.is_none_or(|namespace| workload.workload.split('/').next() == Some(namespace))
            });
            return Ok(Printed::done(format!("{}\n", serde_json::to_string_pretty(&report)?)));
        }
        Ok(Printed::done(explain::status(reports, command.namespace.as_deref())))
    })
}

/// `trimtab explain`.
#[must_use]
pub fn explain(command: &Explain) -> BoxFuture<'_, anyhow::Result<Printed>> {
    Box::pin(async move {
        let at = command.at.map(|at| Timestamp(at.as_millisecond()));
        if !command.what_if.is_empty() {
            return what_if(command, at).await;
        }
        let workload = if let Some(journal) = &command.journal {
            let at = at.unwrap_or(Timestamp(i64::MAX));
            match past(journal, &command.target, at).map_err(anyhow::Error::msg)? {
                Past::Known(workload) => *workload,
                Past::Unknown(why) => return Ok(Printed::not_found(format!("{why}\n"))),
            }
        } else {
            let _waiting = Progress::waiting(AGENTS);
            let query = at.map_or_else(String::new, |at| format!("?at={}", at.0));
            let path = format!("/api/v1/workloads/{}", command.target);
            let agent = who_has(command).await?;
            let answer = remote::get(&command.source, &format!("{path}{query}"), agent.as_deref()).await?;
            if answer.status == 404 {
                let said = String::from_utf8_lossy(&answer.body).trim().to_owned();
                return Ok(Printed::not_found(format!("{said}; trimtab status lists what there is\n")));
            }
            parse(&answer)?
        };
        if command.source.json {
            return Ok(Printed::done(format!("{}\n", serde_json::to_string_pretty(&workload)?)));
        }
        let asked = [
            command.why_not_more.then(|| terms::why_not_more(&workload)),
            command.why_not_fewer.then(|| terms::why_not_fewer(&workload)),
        ];
        let asked = asked.into_iter().flatten().collect::<String>();
        let text = if asked.is_empty() { explain::explain(&workload) } else { asked };
        let more =
            if command.verbose > 0 { format!("\n{}", terms::terms(&workload, command.verbose)) } else { String::new() };
        Ok(Printed::done(text + &more))
    })
}

/// The agent that has a workload: it knows why it was decided so, and has recorded it.
async fn who_has(command: &Explain) -> anyhow::Result<Option<String>> {
    if command.source.url.is_some() {
        return Ok(None);
    }
    let path = format!("/api/v1/workloads/{}", command.target);
    let first = parse::<Workload>(&remote::get(&command.source, &path, None).await?);
    Ok(first.ok().and_then(|workload| workload.claim).map(|claim| claim.agent))
}

/// `--what-if`: the recorded demand once more.
async fn what_if(command: &Explain, at: Option<Timestamp>) -> anyhow::Result<Printed> {
    let mut asked = Asked { until: at.map(|at| at.0), ..Asked::default() };
    for supposed in &command.what_if {
        match *supposed {
            Supposed::Min(min) => asked.min = Some(min),
            Supposed::Max(max) => asked.max = Some(max),
            Supposed::Slo(milliseconds) => asked.slo_ms = Some(milliseconds),
            Supposed::Startup(seconds) => asked.startup_s = Some(seconds),
        }
    }
    let name = command.target.to_string();
    let answer: Answer = if let Some(journal) = &command.journal {
        let last = last_of(journal, &name)?.unwrap_or(Timestamp(i64::MAX));
        let progress = Progress::of(1, "the recorded demand, twice");
        match what_if::answer(journal, &name, asked, asked.span(last), &progress) {
            Ok(answer) => answer,
            Err(Refusal::Unknown(why)) => return Ok(Printed::not_found(format!("{why}\n"))),
            Err(Refusal::Unable(why)) => anyhow::bail!("{why}"),
        }
    } else {
        let _waiting = Progress::waiting("the agent plays the recorded demand again, twice");
        let agent = who_has(command).await?;
        let path = format!("/api/v1/what-if/{name}?{}", asked.query());
        let answer = remote::get(&command.source, &path, agent.as_deref()).await?;
        let said = || String::from_utf8_lossy(&answer.body).trim().to_owned();
        match answer.status {
            404 => return Ok(Printed::not_found(format!("{}; trimtab status lists what there is\n", said()))),
            422 => anyhow::bail!("{}", said()),
            _ => parse(&answer)?,
        }
    };
    let text =
        if command.source.json { format!("{}\n", serde_json::to_string_pretty(&answer)?) } else { answer.text(&name) };
    Ok(Printed::done(text))
}

/// When a journal last decided a workload.
fn last_of(journal: &Path, name: &str) -> anyhow::Result<Option<Timestamp>> {
    let reader = Reader::open(journal)?;
    Ok(reader.explain(name, Timestamp(i64::MAX))?.map(|last| last.snapshot.at))
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(answer: &remote::Answer) -> anyhow::Result<T> {
    anyhow::ensure!(
        answer.status == 200,
        "the agent answered {}: {}",
        answer.status,
        String::from_utf8_lossy(&answer.body).trim()
    );
    serde_json::from_slice(&answer.body).context("the agent's answer is of another version of trimtab")
}

/// `trimtab replay`: exit code 1 where a decision comes out differently, 4 where there is none to compare.
pub fn replay(command: &Replay) -> anyhow::Result<Printed> {
    let path = command.journal.display();
    let reader = Reader::open(&command.journal)?;
    let filter = Filter { workload: command.workload.as_ref().map(ToString::to_string), ..Filter::everything() };
    let progress = Progress::of(1, "the journal");
    let watch = |done, all| {
        progress.all(all);
        progress.to(done);
    };
    let replay = trimtab_journal::replay_watched(&reader, &filter, watch).with_context(|| path.to_string())?;
    drop(progress);
    if replay.records + replay.skipped == 0 && replay.is_clean() {
        let wanted = command.workload.as_ref().map_or_else(String::new, |target| format!(" of {target}"));
        let known = reader.workloads().with_context(|| path.to_string())?;
        let text = format!("the journal {path} has no decision{wanted}; it has some of {}\n", listing(&known));
        return Ok(Printed::not_found(text));
    }
    Ok(Printed { text: format!("{replay}\n"), code: u8::from(!replay.is_clean() || replay.records == 0) })
}

/// `trimtab completions`.
#[must_use]
pub fn completions(shell: clap_complete::Shell) -> Printed {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "trimtab", &mut text);
    Printed::done(String::from_utf8_lossy(&text).into_owned())
}

/// `trimtab man`: one page on standard output, or one for each command in a directory.
///
/// # Errors
/// Where a page cannot be written: which, and why.
pub fn man(directory: Option<&Path>) -> anyhow::Result<Printed> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return Ok(Printed::done(String::from_utf8_lossy(&page).into_owned()));
    };
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| format!("failed to write manual pages into {}", directory.display()))?;
    Ok(Printed::done(format!("manual pages are in {}\n", directory.display())))
}

/// `trimtab lint`: exit code 1 where a file has a problem, or cannot be read.
#[must_use]
pub fn lint(command: &Lint) -> Printed {
    if command.schema {
        return Printed::done(format!("{}\n", crate::config::schema()));
    }
    let read = |path: &PathBuf| (path.display().to_string(), std::fs::read(path));
    let files: Vec<_> = command.files.iter().map(read).collect();
    policies::lint(&files)
}
