//! trimtab: one binary that decides replicas of Kubernetes workloads ahead of demand, and shows its reasons.

use std::io::Write;
use std::process::ExitCode;
use trimtab::cli::{Cli, Command};
use trimtab::commands::{self, Printed};
use trimtab::{agent, bench, demo, drive, telemetry, top};

/// Exit code of wrong usage or configuration, and of data or an API that cannot be reached.
const FAILED: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::of(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match run(cli) {
        Ok(printed) => match anstream::stdout().write_all(printed.text.as_bytes()) {
            // Whoever reads us may stop reading.
            Ok(()) | Err(_) => printed.exit(),
        },
        Err(error) => {
            let _ = writeln!(anstream::stderr(), "error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Printed> {
    // One TLS provider in the whole process; a second install is refused and harmless.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match cli.command {
        Command::Run(settings) => {
            telemetry::start(settings.log_json);
            runtime.block_on(agent::run(*settings))?;
            Ok(Printed { text: String::new(), code: 0 })
        }
        Command::Status(command) => runtime.block_on(commands::status(&command)),
        Command::Top(command) => {
            runtime.block_on(top::top(&command))?;
            Ok(Printed { text: String::new(), code: 0 })
        }
        Command::Completions { shell } => Ok(commands::completions(shell)),
        Command::Man { directory } => commands::man(directory.as_deref()),
        Command::Explain(command) => runtime.block_on(commands::explain(&command)),
        Command::Replay(command) => commands::replay(&command),
        Command::Lint(command) => Ok(commands::lint(&command)),
        Command::Demo(settings) => runtime.block_on(demo::demo(settings)),
        Command::Bench(command) => bench::bench(&command),
        Command::Drive(command) => {
            let forecasts = command.forecast.as_deref().map(bench::forecasts).transpose()?.unwrap_or_default();
            let (input, output, errors) = (std::io::stdin().lock(), std::io::stdout().lock(), std::io::stderr().lock());
            drive::drive(&forecasts, command.method.into(), input, output, errors)?;
            Ok(Printed { text: String::new(), code: 0 })
        }
        Command::Hpa(command) => runtime.block_on(trimtab::hpa::hpa(&command)),
        Command::Import(command) => runtime.block_on(trimtab::import::import(&command)),
        Command::Compare(command) => runtime.block_on(trimtab::compare::compare(&command)),
        Command::Backtest(command) => runtime.block_on(trimtab::compare::backtest(&command)),
        Command::Own(command) => runtime.block_on(trimtab::own::own(&command)),
        Command::Release(command) => runtime.block_on(trimtab::own::release(&command)),
        Command::Schema => Ok(Printed { text: format!("{}\n", trimtab::config::schema()), code: 0 }),
    }
}
