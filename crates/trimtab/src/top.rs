//! `trimtab top`: all workloads in a terminal, live, and one of them in full. Works over the same read-only API as `status` and `explain`.
//!
//! What is drawn is a function of what was heard and of which keys were pressed; asking and drawing know nothing of each other. The
//! sixteen colours of the terminal alone, and none where `NO_COLOR` is set; a sign and a word always go with them.

use crate::cli::Top;
use crate::commands;
use crate::explain::{self, or_unknown, per_second, plural, span};
use crate::page::rows::{Asked, Row, Rows, State};
use crate::remote::Agents;
use crate::report::{Hour, Report, Sights};
use anyhow::Context;
use futures::future::BoxFuture;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Cell, Paragraph, Row as Shown, Sparkline, Table, TableState, Wrap};
use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use trimtab_core::unit::RequestsPerSecond;

/// An agent is asked so often.
const EVERY: Duration = Duration::from_secs(1);
/// Keys are looked for so often.
const KEYS: Duration = Duration::from_millis(50);
/// What was heard of each workload that is kept for its lines: four minutes.
const KEPT: usize = 240;
/// What is older than this is said to be.
const STALE: Duration = Duration::from_secs(5);

/// From this width on there is room for what other autoscalers want.
const WIDE: u16 = 132;

/// What one look at a workload leaves for the lines.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    demand: u64,
    ready: u64,
    decided: u64,
    latency_ms: u64,
}

/// What was heard, and what is looked at.
#[derive(Debug, Default)]
struct View {
    report: Option<Report>,
    sights: Sights,
    heard: Option<Instant>,
    problem: Option<String>,
    seen: BTreeMap<String, VecDeque<Seen>>,
    asked: Asked,
    /// Whether keys go into the filter.
    typing: bool,
    selected: usize,
    /// The workload that is looked at in full.
    open: Option<String>,
    scroll: u16,
    colours: bool,
}

/// What an agent answered, or why it did not.
type Heard = Result<(Report, Sights), String>;

/// Runs until `q`.
///
/// # Errors
/// Where there is no terminal, and where no agent is reached at first: why.
#[must_use]
pub fn top(command: &Top) -> BoxFuture<'_, anyhow::Result<()>> {
    Box::pin(async move {
        anyhow::ensure!(
            std::io::stdout().is_terminal(),
            "top needs a terminal; trimtab status prints the same once, and trimtab status --json for programs"
        );
        // Who cannot be reached is said before the screen is taken.
        let mut found = None;
        let first = ask(command, &mut found).await.map_err(anyhow::Error::msg)?;
        let (sender, heard) = mpsc::channel();
        let drawing = tokio::task::spawn_blocking(move || draw_until_quit(first, &heard));
        let asking = async {
            loop {
                tokio::time::sleep(EVERY).await;
                if sender.send(ask(command, &mut found).await).is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            drawn = drawing => drawn.context("the screen failed")?.context("the terminal failed"),
            () = asking => Ok(()),
        }
    })
}

/// Asks the agent that was found; one that does not answer is looked for again.
async fn ask(command: &Top, found: &mut Option<Agents>) -> Heard {
    let agents = match found.take() {
        Some(agents) => agents,
        None => Agents::find(&command.source).await.map_err(|error| format!("{error:#}"))?,
    };
    let name = agents.names().next().unwrap_or_default().to_owned();
    let (report, sights) = tokio::join!(read(&agents, &name, "/api/v1/report"), read(&agents, &name, "/api/v1/sights"));
    let heard = (report?, sights?);
    *found = Some(agents);
    Ok(heard)
}

async fn read<T: serde::de::DeserializeOwned>(agents: &Agents, name: &str, path: &str) -> Result<T, String> {
    let answer = agents.get(name, path).await.map_err(|error| format!("{error:#}"))?;
    commands::parse(&answer).map_err(|error| format!("{error:#}"))
}

fn draw_until_quit(first: (Report, Sights), heard: &mpsc::Receiver<Heard>) -> std::io::Result<()> {
    let mut view = View { colours: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()), ..View::default() };
    view.hear(Ok(first));
    let mut terminal = ratatui::try_init()?;
    let ended = (|| {
        loop {
            terminal.draw(|frame| draw(frame, &view))?;
            // Until something is new.
            loop {
                if event::poll(KEYS)? {
                    match event::read()? {
                        Event::Key(key) if key.kind == KeyEventKind::Press => {
                            if view.press(key) {
                                return Ok(());
                            }
                            break;
                        }
                        Event::Resize(..) => break,
                        _ => {}
                    }
                }
                if let Ok(news) = heard.try_recv() {
                    view.hear(news);
                    break;
                }
            }
        }
    })();
    ratatui::restore();
    ended
}

impl View {
    fn hear(&mut self, news: Heard) {
        let (report, sights) = match news {
            Ok(news) => news,
            Err(problem) => {
                self.problem = Some(problem);
                return;
            }
        };
        (self.problem, self.heard) = (None, Some(Instant::now()));
        self.seen.retain(|name, _| report.workloads.iter().any(|workload| workload.workload == *name));
        for workload in &report.workloads {
            let row = Row::of(workload, Hour::default());
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates; what is known is positive"
            )]
            let whole = |value: Option<f64>| value.unwrap_or_default().round() as u64;
            let seen = Seen {
                demand: whole(row.demand.map(RequestsPerSecond::get)),
                ready: row.ready.unwrap_or_default().into(),
                decided: row.decided.unwrap_or_default().into(),
                latency_ms: whole(row.latency.map(|latency| 1000.0 * latency.get())),
            };
            let line = self.seen.entry(row.workload).or_default();
            if line.len() == KEPT {
                line.pop_front();
            }
            line.push_back(seen);
        }
        (self.report, self.sights) = (Some(report), sights);
    }

    /// The rows that the filter leaves.
    fn rows(&self) -> Option<Rows> {
        Some(Rows::whole(self.report.as_ref()?, &self.sights, &self.asked))
    }

    /// A key; `true` ends it.
    fn press(&mut self, key: KeyEvent) -> bool {
        let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if control_c {
            return true;
        }
        if self.typing {
            match key.code {
                KeyCode::Enter => self.typing = false,
                KeyCode::Esc => (self.typing, self.asked.q) = (false, String::new()),
                KeyCode::Backspace => drop(self.asked.q.pop()),
                KeyCode::Char(letter) => self.asked.q.push(letter),
                _ => {}
            }
            self.selected = 0;
            return false;
        }
        let rows = self.rows().map(|rows| rows.rows).unwrap_or_default();
        let last = rows.len().saturating_sub(1);
        match (key.code, self.open.is_some()) {
            (KeyCode::Char('q'), _) => return true,
            (KeyCode::Esc | KeyCode::Left | KeyCode::Char('h'), true) => (self.open, self.scroll) = (None, 0),
            (KeyCode::Esc, false) => self.asked.q.clear(),
            (KeyCode::Char('/'), false) => self.typing = true,
            (KeyCode::Down | KeyCode::Char('j'), false) => self.selected = (self.selected + 1).min(last),
            (KeyCode::Up | KeyCode::Char('k'), false) => self.selected = self.selected.saturating_sub(1),
            (KeyCode::PageDown, false) => self.selected = (self.selected + 20).min(last),
            (KeyCode::PageUp, false) => self.selected = self.selected.saturating_sub(20),
            (KeyCode::Down | KeyCode::Char('j'), true) => self.scroll = self.scroll.saturating_add(1),
            (KeyCode::Up | KeyCode::Char('k'), true) => self.scroll = self.scroll.saturating_sub(1),
            (KeyCode::Enter | KeyCode::Right | KeyCode::Char('l'), false) => {
                self.open = rows.get(self.selected).map(|row| row.workload.clone());
            }
            (KeyCode::Char('s'), false) => self.asked.sort = next_sort(&self.asked.sort).into(),
            _ => {}
        }
        false
    }

    fn colour(&self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }
}

fn next_sort(sort: &str) -> &'static str {
    match sort {
        "" | "state" => "workload",
        "workload" => "-demand",
        "-demand" => "-autoscaler",
        "-autoscaler" => "-missed",
        "-missed" => "-replica_hours",
        _ => "state",
    }
}

// === drawing ===

fn draw(frame: &mut Frame<'_>, view: &View) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(3), Constraint::Length(1)]).areas(frame.area());
    let rows = view.rows();
    frame.render_widget(heading(view, rows.as_ref()), head);
    match &view.open {
        Some(name) => one(frame, body, view, name),
        None => list(frame, body, view, &rows.map(|rows| rows.rows).unwrap_or_default()),
    }
    let keys = match (view.typing, view.open.is_some()) {
        (true, _) => format!("filter: {}_   Enter keeps it, Esc clears it", view.asked.q),
        (false, true) => "Esc back · ↑↓ scroll · q quit".into(),
        (false, false) => "↑↓ choose · Enter open · / filter · s sort · q quit".into(),
    };
    frame.render_widget(Line::styled(keys, Style::new().add_modifier(Modifier::DIM)), foot);
}

fn heading(view: &View, rows: Option<&Rows>) -> Line<'static> {
    let (Some(report), Some(rows)) = (&view.report, rows) else { return Line::raw("trimtab top") };
    let silent = view.heard.map_or(Duration::ZERO, |heard| heard.elapsed());
    let (state, style) = match &view.problem {
        Some(problem) => (format!("▲ {problem}"), view.colour(Color::Magenta)),
        None if silent > STALE => (format!("▲ stale for {} s", silent.as_secs()), view.colour(Color::Magenta)),
        None => (format!("as of {}", explain::clock(report.at)), Style::new()),
    };
    // How old all this is comes first: what is cut off on a narrow screen is less.
    let text = format!(
        "trimtab  {state} · {}, {} changing, {} blind · missed {} of {} windows, {:.1} replica-hours in 1 h · agent {} {}",
        plural(rows.all, "workload"),
        rows.changing,
        rows.blind,
        rows.missed,
        rows.windows,
        rows.replica_hours,
        report.agent,
        if report.may_write { "may write" } else { "may not write" },
    );
    Line::styled(text, style.add_modifier(Modifier::BOLD))
}

fn list(frame: &mut Frame<'_>, area: Rect, view: &View, rows: &[Row]) {
    // On a narrow screen the reason is worth more than what others want.
    let wide = area.width >= WIDE;
    let shown = rows.iter().map(|row| {
        let (sign, word) = row.state.shown();
        let style = match row.state {
            State::Undecided | State::Blind => view.colour(Color::Magenta),
            State::ScaleOut | State::ScaleDown => view.colour(Color::Blue),
            State::Held => view.colour(Color::Yellow),
            State::Hold => Style::new(),
        };
        let mark = if row.is_late() { "▲ " } else { "" };
        let latency = format!("{mark}{} / {}", or_unknown(row.latency.map(span)), or_unknown(row.target.map(span)));
        Shown::new([
            Cell::from(format!("{sign} {word}")).style(style),
            Cell::from(row.workload.clone()),
            Cell::from(row.writes.clone()),
            Cell::from(or_unknown(row.ready)),
            Cell::from(or_unknown(row.decided)),
            Cell::from(if wide { row.autoscaler.clone() } else { String::new() }),
            Cell::from(or_unknown(row.demand.map(per_second))),
            Cell::from(latency),
            Cell::from(format!("{}/{}", row.missed, row.windows)),
            Cell::from(row.why.clone()),
        ])
    });
    let beside = if wide { 12 } else { 0 };
    let widths = [12, 32, 11, 5, 5, beside, 9, 18, 8].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    let header = ["STATE", "WORKLOAD", "MODE", "READY", "WANT", "HPA", "DEMAND", "P99 / TARGET", "MISS 1H", "WHY"];
    let table = Table::new(shown, widths)
        .header(Shown::new(header).style(Style::new().add_modifier(Modifier::DIM)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(Some(view.selected.min(rows.len().saturating_sub(1))));
    frame.render_stateful_widget(table, area, &mut state);
    if rows.is_empty() {
        let words =
            if view.asked.q.is_empty() { "no policy names a workload yet" } else { "no workload contains that" };
        frame.render_widget(Paragraph::new(words).centered(), area);
    }
}

/// One workload: lines of the last minutes, and its explanation.
fn one(frame: &mut Frame<'_>, area: Rect, view: &View, name: &str) {
    let workload = view.report.iter().flat_map(|report| &report.workloads).find(|workload| workload.workload == name);
    let Some(workload) = workload else {
        frame.render_widget(Paragraph::new(format!("no policy names {name} any more")), area);
        return;
    };
    let [lines, text] = Layout::vertical([Constraint::Length(12), Constraint::Min(3)]).areas(area);
    let columns: [Rect; 2] = Layout::horizontal([Constraint::Fill(1); 2]).areas(lines);
    let areas = columns.map(|column| Layout::vertical([Constraint::Length(6); 2]).areas::<2>(column));
    let line = |of: fn(&Seen) -> u64, width: u16| -> Vec<u64> {
        let seen = view.seen.get(name);
        let skip = seen.map_or(0, |seen| seen.len().saturating_sub(usize::from(width)));
        seen.into_iter().flatten().skip(skip).map(of).collect()
    };
    let [[top_left, bottom_left], [top_right, bottom_right]] = areas;
    for (area, title, of, colour) in [
        (top_left, "demand, requests/s", (|seen| seen.demand) as fn(&Seen) -> u64, Color::Reset),
        (top_right, "p99, ms", |seen| seen.latency_ms, Color::Reset),
        (bottom_left, "ready", |seen| seen.ready, Color::Reset),
        (bottom_right, "decided", |seen| seen.decided, Color::Blue),
    ] {
        let data = line(of, area.width.saturating_sub(2));
        let last = data.last().copied().unwrap_or_default();
        let most = data.iter().max().copied().unwrap_or_default();
        let block = Block::bordered().title(format!(" {title}: {last} (most {most}) "));
        frame.render_widget(Sparkline::default().block(block).data(&data).style(view.colour(colour)), area);
    }
    let explained = explain::explain(workload);
    let paragraph = Paragraph::new(Text::raw(explained)).wrap(Wrap { trim: false }).scroll((view.scroll, 0));
    frame.render_widget(paragraph.block(Block::bordered().title(" why ")), text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Autoscaler, Sight, Workload, Writes};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use trimtab_core::unit::Replicas;

    fn report(names: &[&str]) -> (Report, Sights) {
        let workload = |name: &&str| Workload {
            workload: format!("shop/deployment/{name}"),
            policy_origin: "policy.yaml:2".into(),
            writes: Writes::Shadow,
            problem: Some(format!("{name} does not exist")),
            signals: Vec::new(),
            last: None,
            changed: None,
            claim: None,
            mode: None,
            autoscaler: None,
            conditions: Vec::new(),
            set_by: None,
        };
        let report = Report { workloads: names.iter().map(workload).collect(), ..Report::of("a") };
        let hour = Hour { windows: 120, missed: 3, ..Hour::default() };
        let sight = |workload: &Workload| (workload.workload.clone(), Sight { hour, ..Sight::default() });
        let sights = report.workloads.iter().map(sight).collect();
        (report, sights)
    }

    fn screen(view: &View) -> String {
        screen_of(view, 150)
    }

    fn screen_of(view: &View, width: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, 30)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let width = usize::from(buffer.area.width);
        let cells: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        cells.chunks(width).map(|line| line.concat() + "\n").collect()
    }

    fn press(view: &mut View, keys: &str) -> bool {
        let code = |letter| match letter {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            letter => KeyCode::Char(letter),
        };
        keys.chars().any(|letter| view.press(KeyEvent::new(code(letter), KeyModifiers::NONE)))
    }

    #[test]
    fn a_list_can_be_walked_filtered_and_left() {
        let mut view = View::default();
        view.hear(Ok(report(&["checkout", "search", "mailer"])));
        let shown = screen(&view);
        assert!(shown.contains("3 workloads, 0 changing, 3 blind") && shown.contains("missed 9 of 360"), "{shown}");
        assert!(shown.contains("? undecided") && shown.contains("mailer does not exist"), "{shown}");
        assert!(!press(&mut view, "/sea\n"));
        let shown = screen(&view);
        assert!(shown.contains("shop/deployment/search") && !shown.contains("shop/deployment/mailer"), "{shown}");
        assert!(!press(&mut view, "\n"));
        let shown = screen(&view);
        assert!(shown.contains("Because  search does not exist") && shown.contains("demand, requests/s"), "{shown}");
        assert!(!press(&mut view, "\x1b"));
        assert!(press(&mut view, "q"));
    }

    /// All states that a row can have, one workload in full, and an agent that does not answer; what is drawn.
    fn every_colour(colours: bool) -> Vec<ratatui::buffer::Buffer> {
        let mut view = View { colours, ..View::default() };
        view.hear(Ok(report(&["checkout"])));
        let row = view.rows().unwrap().rows.remove(0);
        let states = [State::Undecided, State::Blind, State::ScaleOut, State::ScaleDown, State::Held, State::Hold];
        let rows = states.map(|state| Row { state, ..row.clone() });
        let drawn = |draw: &dyn Fn(&mut Frame<'_>)| {
            let mut terminal = Terminal::new(TestBackend::new(150, 30)).unwrap();
            terminal.draw(|frame| draw(frame)).unwrap();
            terminal.backend().buffer().clone()
        };
        let list = drawn(&|frame| list(frame, frame.area(), &view, &rows));
        press(&mut view, "\n");
        view.hear(Err("the agent did not answer within 30 s".into()));
        vec![list, drawn(&|frame| draw(frame, &view))]
    }

    #[test]
    fn without_colours_signs_and_words_say_what_they_said() {
        let coloured = |buffer: &ratatui::buffer::Buffer| {
            let reset = Color::Reset;
            buffer
                .content()
                .iter()
                .filter(|cell| (cell.fg, cell.bg, cell.underline_color) != (reset, reset, reset))
                .count()
        };
        let text = |buffer: &ratatui::buffer::Buffer| {
            buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect::<String>()
        };
        let (with, without) = (every_colour(true), every_colour(false));
        assert!(with.iter().all(|screen| coloured(screen) > 0), "colours are used where they may be");
        assert_eq!(without.iter().map(coloured).sum::<usize>(), 0);
        for (with, without) in with.iter().zip(&without) {
            assert_eq!(text(with), text(without), "what is written is the same");
        }
        for word in ["? undecided", "◌ blind", "▲ scale out", "▼ scale down", "▪ held", "· hold"] {
            assert!(text(&without[0]).contains(word), "{word}");
        }
        let head = text(&without[1]);
        assert!(head.contains("▲ the agent did not answer within 30 s"), "{head}");
        assert!(without[1].content()[0].modifier.contains(Modifier::BOLD));
    }

    #[test]
    fn who_else_scales_it_is_shown_where_there_is_room() {
        let mut view = View::default();
        let (mut report, sights) = report(&["checkout", "search"]);
        report.workloads[0].autoscaler = Some(Autoscaler {
            name: "scaledobject shop/checkout".into(),
            wants: Some(Replicas(7)),
            min: Some(1),
            max: 9,
            active: true,
            problem: None,
            is_policy: true,
        });
        view.hear(Ok((report, sights)));
        let shown = screen(&view);
        assert!(shown.contains("HPA") && shown.contains("keda 7"), "{shown}");
        let shown = screen_of(&view, 120);
        assert!(!shown.contains("HPA") && !shown.contains("keda 7"), "{shown}");
        press(&mut view, "/keda\n");
        let shown = screen_of(&view, 120);
        assert!(shown.contains("shop/deployment/checkout") && !shown.contains("shop/deployment/search"), "{shown}");
    }

    #[test]
    fn an_agent_that_falls_silent_is_said_to() {
        let mut view = View::default();
        view.hear(Ok(report(&["checkout"])));
        view.hear(Err("the agent did not answer within 30 s".into()));
        let shown = screen(&view);
        assert!(shown.contains("did not answer") && shown.contains("shop/deployment/checkout"), "{shown}");
    }

    #[test]
    fn the_selection_stays_inside_the_list() {
        let mut view = View::default();
        view.hear(Ok(report(&["a", "b"])));
        press(&mut view, "jjjjj");
        assert_eq!(view.selected, 1);
        press(&mut view, "kkk");
        assert_eq!(view.selected, 0);
        assert!(screen(&View::default()).contains("no policy names a workload yet"));
    }
}
