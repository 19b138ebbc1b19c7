use super::*;
use crate::cli::{Cli, Command};
use clap::Parser;
use std::collections::BTreeMap;
use std::path::Path;
use trimtab_core::unit::Timestamp;

fn command(arguments: &[&str]) -> Bench {
    match Cli::try_parse_from(["trimtab", "bench"].iter().chain(arguments)).unwrap().command {
        Command::Bench(command) => *command,
        other => panic!("{other:?}"),
    }
}

/// A small trace in a directory of its own.
fn trace(directory: &Path) -> String {
    let trace = directory.join("trace.csv");
    let rows: Vec<String> = (0..24).map(|row| format!("{},{}\n", row * 30, 60 + 10 * (row % 12))).collect();
    std::fs::write(&trace, format!("# history_rows=4 period=12\nt_seconds,rate\n{}", rows.concat())).unwrap();
    trace.to_str().unwrap().to_owned()
}

/// Every file of a directory; PNG are made of the SVG by another program, where it is there.
fn contents(directory: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let text = entries.filter(|path| path.extension().is_some_and(|extension| extension != "png"));
    text.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn the_same_command_gives_the_same_files_figures_too() {
    let directory = tempfile::tempdir().unwrap();
    let trace = trace(directory.path());
    // As many seeds as pairs are compared of, and elsewhere fewer.
    let table = ["--trace", &trace, "--seeds", "5"];
    let on_trace = ["--trace", &trace, "--seeds", "2"];
    // Fewer replicas than the surge needs, and clients that give up: the same code in a tenth of the time.
    let small = ["--boot", "30s", "--max", "30", "--patience", "1s", "--seeds", "2"];
    for (view, arguments, expected) in [
        ("table", &table[..], vec!["intervals.csv", "pairs.csv", "runs.csv", "series-trace.svg", "violations.svg"]),
        ("frontier", &on_trace, vec!["frontier.csv", "frontier.svg"]),
        ("churn", &on_trace, vec!["churn.csv"]),
        ("ablation", &on_trace, vec!["ablation.csv"]),
        ("forecasters", &on_trace, vec!["forecasters.csv"]),
        ("horizon", &on_trace, vec!["horizon.csv"]),
        ("model-error", &on_trace, vec!["model-error.csv"]),
        ("surge", &small, vec!["surge.csv", "surge.svg"]),
    ] {
        let files = ["one", "other"].map(|name| {
            let out = directory.path().join(view).join(name);
            let out = out.to_str().unwrap();
            let printed = bench(&command(&[&[view], arguments, &["--out", out]].concat())).unwrap();
            (printed.text.replace(out, ""), contents(Path::new(out)))
        });
        assert_eq!(files[0], files[1], "{view}");
        assert_eq!(files[0].1.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_row_stands_for_each_run_and_for_each_interval() {
    let directory = tempfile::tempdir().unwrap();
    let (trace, out) = (trace(directory.path()), directory.path().join("out"));
    let start_ups = ["--trace", &trace, "--seeds", "2", "--start-up", "0s,60s", "--out", out.to_str().unwrap()];
    let printed = bench(&command(&start_ups)).unwrap();
    assert!(printed.text.contains("Start-up 60 s"), "{}", printed.text);
    let files = contents(&out);
    let runs = 2 * 16 * 2;
    assert_eq!(files["runs.csv"].lines().count(), 1 + runs);
    assert_eq!(files["intervals.csv"].lines().count(), 1 + 20 * runs);
    let wide = |line: &str| line.replace(", ", " ").split(',').count();
    let columns = wide(files["runs.csv"].lines().next().unwrap());
    assert!(files["runs.csv"].lines().all(|line| wide(line) == columns));
    assert!(files.contains_key("violations-start-up-60s.svg"));
}

#[test]
fn published_figures_stand_beside_the_world_that_they_are_of() {
    let shown = |arguments: &[&str]| {
        let arguments =
            [&["--seeds", "1", "--policies", "static-floor", "--out", "none", "--tick", "30s"], arguments].concat();
        bench(&command(&arguments)).unwrap().text.contains("as published")
    };
    assert!(shown(&[]));
    assert!(!shown(&["--start-up", "30s"]));
}

#[test]
fn those_that_were_asked_for_take_part_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let trace = trace(directory.path());
    let arguments = ["--trace", &trace, "--seeds", "1", "--out", "none"];
    let text = bench(&command(&[&arguments[..], &["--policies", "keda,gate-cheapest"]].concat())).unwrap().text;
    let names: Vec<&str> =
        text.lines().skip(1).take(4).map(|line| line.get(1..15).unwrap_or_default().trim()).collect();
    assert_eq!(names, ["trimtab", "gate, cheapest", "KEDA", ""]);
    let elsewhere = bench(&command(&[&["churn"], &arguments[..], &["--policies", "keda"]].concat()));
    assert!(elsewhere.unwrap_err().to_string().contains("--policies is of the table"));
    let unknown = Cli::try_parse_from(["trimtab", "bench", "--policies", "hpa"]).unwrap_err().to_string();
    assert!(unknown.contains("cpu-hpa, keda") && unknown.contains("gate-fewest-misses"), "{unknown}");
}

#[test]
fn nothing_is_written_where_nothing_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let printed = bench(&command(&["churn", "--trace", &trace(directory.path()), "--seeds", "1", "--out", "none"]));
    assert!(!printed.unwrap().text.contains("Written"));
    assert!(!Path::new("none").exists());
}

#[test]
fn traces_of_a_directory_are_told_from_other_files_and_rescaled() {
    let directory = tempfile::tempdir().unwrap();
    trace(directory.path());
    std::fs::write(directory.path().join("prices.csv"), "t_seconds,price\n0,1\n").unwrap();
    let path = directory.path().to_str().unwrap();
    let printed = bench(&command(&["traces", path, "--peak", "300", "--out", "none"])).unwrap();
    assert!(printed.text.contains("left out: prices"), "{}", printed.text);
    assert!(printed.text.contains("170.0/s"), "{}", printed.text);
}

#[test]
fn a_trace_that_is_none_is_named_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace.csv");
    std::fs::write(&trace, "t_seconds,rate\n0,60\n30,many\n60,-1\n").unwrap();
    let error = bench(&command(&["--trace", trace.to_str().unwrap()])).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains("trace.csv") && said.contains("line 3") && said.contains("line 4"), "{said}");
}

#[test]
fn a_forecast_of_your_own_is_put_on_the_clock_and_at_the_load_of_the_simulation() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    // Hourly rows, from a clock that does not begin at 0; foretold to be twice what they are.
    let row = |row: u32| format!("{},{}\n", 7200 + 3600 * row, 1 + row % 10);
    let twice = |row: u32| format!("{},{}\n", 7200 + 3600 * row, 2 * (1 + row % 10));
    let text =
        |header: &str, row: &dyn Fn(u32) -> String| format!("{header}\n{}", (0..40).map(row).collect::<String>());
    std::fs::write(path("trace.csv"), text("# history_rows=20\nt_seconds,rate", &row)).unwrap();
    std::fs::write(path("model.csv"), text("t_seconds,rate", &twice)).unwrap();
    let command =
        command(&["--trace", &path("trace.csv"), "--forecast", &path("model.csv"), "--peak", "600", "--scale", "0.5"]);
    let (scenarios, courses) = (setting::scenarios(&command).unwrap(), setting::courses(&command.demand).unwrap());
    for (interval, rate) in (0_i64..).zip(&courses[0].workload.rates) {
        let middle = Timestamp(30_000 * interval + 15_000);
        let foretold = scenarios[0].foretold.at(middle, Seconds::ZERO);
        assert_eq!(foretold[0].at, middle);
        assert!((foretold[0].rate.get() - 2.0 * rate.get()).abs() < 1e-9, "{foretold:?} of {rate:?}");
    }
}

#[test]
fn a_forecast_that_is_none_is_named_with_its_lines() {
    let directory = tempfile::tempdir().unwrap();
    let trace = trace(directory.path());
    let model = directory.path().join("model.csv");
    std::fs::write(&model, "t_seconds,rate\n0,60\n30,many\n60,-1\n").unwrap();
    let model = model.to_str().unwrap();
    let said = format!("{:#}", bench(&command(&["--trace", &trace, "--forecast", model])).unwrap_err());
    assert!(said.contains("model.csv") && said.contains("line 3") && said.contains("line 4"), "{said}");
    let error = bench(&command(&["--forecast", model])).unwrap_err();
    assert!(error.to_string().contains("--forecast is of a trace"), "{error}");
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_every_reason() {
    let error = bench(&command(&["--min", "9", "--max", "3", "--slo", "10ms", "--peak", "100"])).unwrap_err();
    let said = error.to_string();
    for part in ["--min 9 and --max 3", "--slo 10ms is below the mean service time of 0.0200 s", "--peak is of a trace"]
    {
        assert!(said.contains(part), "{said}");
    }
    let typed = "surge --trace day.csv --peak 9 --history 9 --season 9 --bridge --forecast day.csv --scale 2 \
                 --start-up 30s --lag 20s";
    let said = bench(&command(&typed.split_whitespace().collect::<Vec<_>>())).unwrap_err().to_string();
    for flag in typed.split_whitespace().filter(|word| word.starts_with("--")) {
        assert!(said.contains(&format!("{flag} is not of a surge: ")), "{flag}: {said}");
    }
    let error = bench(&command(&["surge", "--trace-seed", "2"])).unwrap_err();
    assert!(error.to_string().contains("--trace-seed is not of a surge"), "{error}");
    let error = bench(&command(&["churn", "--start-up", "0s,30s"])).unwrap_err();
    assert!(error.to_string().contains("one --start-up"), "{error}");
}

#[test]
fn every_way_in_which_a_world_may_differ_has_a_column_of_its_own() {
    let columns = |arguments: &[&str]| setting::axes(&setting::scenarios(&command(arguments)).unwrap()[0]);
    let plain = columns(&[]);
    for (flag, column) in [
        ("--start-up 30s", "start_up_s"),
        ("--scattered", "scattered"),
        ("--slow-start 60s", "slow_start_s"),
        ("--lb random", "lb"),
        ("--service h2:2", "service"),
        ("--mu 40", "mu"),
        ("--mu-bias 0.8", "mu_bias"),
        ("--mu-drift 0.8:4h", "mu_bias"),
        ("--mu-rollout 0.8:2h", "mu_bias"),
        ("--patience 2s", "patience_s"),
        ("--slo 300ms", "slo_s"),
        ("--min 2", "min"),
        ("--max 50", "max"),
        ("--ramp none", "ramp"),
        ("--tick 30s", "tick_s"),
        ("--lag 15s", "lag_s"),
        ("--missing 0.05", "missing"),
        ("--outage 1h:10m", "outage_s"),
        ("--resets 0.02", "resets"),
        ("--zeros 0.02", "zeros"),
        ("--forecast-bias -0.1", "forecast_bias"),
        ("--forecast-noise 0.1", "forecast_noise"),
    ] {
        let other = columns(&flag.split(' ').collect::<Vec<_>>());
        let differ: Vec<&str> = plain.iter().zip(&other).filter(|(a, b)| a != b).map(|(a, _)| a.0).collect();
        assert_eq!(differ, [column], "{flag}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for arguments in [
        ["--tick", "7s"],
        ["--mu-bias", "0"],
        ["--lb", "fair"],
        ["--service", "h2:0.5"],
        ["--seeds", "0"],
        ["--missing", "1.5"],
        ["--ramp", "0"],
        ["--outage", "1h"],
        ["--scale", "0"],
        ["--peak", "-1"],
    ] {
        let arguments = ["trimtab", "bench"].into_iter().chain(arguments);
        assert!(Cli::try_parse_from(arguments.clone()).is_err(), "{:?}", arguments.collect::<Vec<_>>());
    }
}
