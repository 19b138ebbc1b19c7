use super::*;
use crate::bench::files::Files;
use std::path::Path;

/// A run of two graded windows after half a minute: demand doubles at 60 s, and so do the replicas 10 s later.
fn recorded(directory: &Path, contestant: &str, latency: &dyn Fn(f64) -> f64) {
    let directory = directory.join("step").join(contestant).join("1");
    std::fs::create_dir_all(&directory).unwrap();
    let run = Run {
        trace: "step".into(),
        contestant: contestant.into(),
        repeat: 1,
        began: jiff::Timestamp::UNIX_EPOCH,
        warm_up: 30.0,
        ends: 90.0,
        min: 2,
        max: 14,
        first: 3,
        capacity: 50.0,
        slo: 0.2,
        queue: 200,
        stabilization: 30.0,
        disturbance: String::new(),
        cpu: [("trimtab".to_owned(), 0.6)].into(),
        memory: [("trimtab".to_owned(), 2e7)].into(),
        api_requests: 120.0,
        busy: 0.5,
        stalled: None,
        made_of: BTreeMap::new(),
    };
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    write("run.json", serde_json::to_string(&run).unwrap());
    write("trace.csv", "t_seconds,rate\n0,100\n60,200\n89,200\n".into());
    let requests = (0..900).map(|number| {
        let due = f64::from(number) / 10.0;
        format!("{due},0.001,{},{}\n", latency(due), if number == 400 { "refused" } else { "served" })
    });
    write("requests.csv", format!("due_s,late_s,latency_s,end\n{}", requests.collect::<String>()));
    let fleet =
        (0..90).map(|at| format!("{at},{0},{0},{1},\n", if at < 65 { 3 } else { 6 }, if at < 70 { 3 } else { 6 }));
    write("fleet.csv", format!("t_s,desired,pods,ready,said\n{}", fleet.collect::<String>()));
    write("writes.csv", "t_s\n65\n".into());
}

#[test]
fn a_run_comes_to_what_was_recorded_of_it() {
    let directory = tempfile::tempdir().unwrap();
    recorded(directory.path(), "own", &|due| if due >= 75.0 { 0.3 } else { 0.05 });
    let record = Record::all(directory.path()).unwrap().remove(0);
    let it = judge(record, Seconds::whole(5), 2);
    let Figures { windows, missed, lost, churn, disturbed, .. } = it.measured;
    assert_eq!((windows, missed, lost, churn, disturbed), (2, 1, 0, 3, 0));
    // 150 of 600 requests were slow, and the one that was refused.
    assert!((it.measured.late - 151.0 / 600.0).abs() < 1e-9, "{}", it.measured.late);
    assert_eq!((it.measured.to_write, it.measured.to_ready), (Some(5.0), Some(10.0)));
    assert!((it.measured.desired_hours - (35.0 * 3.0 + 25.0 * 6.0) / 3600.0).abs() < 1e-9);
    assert!((it.measured.ready_hours - (40.0 * 3.0 + 20.0 * 6.0) / 3600.0).abs() < 1e-9);
    assert_eq!(it.predicted.len(), 2);
    assert!(it.predicted.iter().all(|it| it.windows == 2 && it.desired_hours > 0.04 && it.p50 > 0.005));
}

#[test]
fn the_view_shows_everybody_measured_and_simulated() {
    let directory = tempfile::tempdir().unwrap();
    recorded(directory.path(), "own", &|_| 0.05);
    recorded(directory.path(), "keda", &|_| 0.5);
    recorded(directory.path(), "somebody-else", &|_| 0.5);
    let out = directory.path().join("out");
    let mut files = Files::new(&out);
    let text = view(directory.path(), 1, &mut files).unwrap();
    assert!(text.contains("Start-up, from a larger size asked for to as many ready: 5.0 s"), "{text}");
    let rows = |name: &str| text.lines().filter(|line| line.trim_start().starts_with(name)).count();
    assert_eq!((rows("own"), rows("keda"), rows("somebody-else")), (3, 3, 2), "{text}");
    let csv = std::fs::read_to_string(out.join("live.csv")).unwrap();
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert!(columns.iter().all(|count| *count == columns[0]), "{csv}");
    assert_eq!(csv.lines().filter(|line| line.contains(",simulated,")).count(), 2, "{csv}");
    assert!(std::fs::read_to_string(out.join("live-step.svg")).unwrap().contains("somebody-else"));
}

#[test]
fn a_machine_without_time_is_said() {
    let directory = tempfile::tempdir().unwrap();
    recorded(directory.path(), "own", &|_| 0.05);
    let path = directory.path().join("step/own/1/requests.csv");
    let text = std::fs::read_to_string(&path).unwrap().replace(",0.001,", ",0.1,");
    std::fs::write(&path, text).unwrap();
    let text = view(directory.path(), 1, &mut Files::new(Path::new("none"))).unwrap();
    assert!(text.contains("SATURATED: in 2 of 2 windows"), "{text}");
}

#[test]
fn what_is_malformed_is_named_with_its_file_and_line() {
    let directory = tempfile::tempdir().unwrap();
    recorded(directory.path(), "own", &|_| 0.05);
    std::fs::write(directory.path().join("step/own/1/fleet.csv"), "t_s,desired,pods,ready,said\n0,3,3,many,\n")
        .unwrap();
    let error = format!("{:#}", Record::all(directory.path()).unwrap_err());
    assert!(error.contains("fleet.csv: line 2: expected a number in column 4, found `many`"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(Record::all(empty.path()).unwrap_err().to_string().contains("testbed/match"));
}
