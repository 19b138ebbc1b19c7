//! `trimtab demo`, as typed.

use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use trimtab_core::unit::Seconds;

/// `trimtab demo`.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags, as typed")]
pub struct Demo {
    /// Simulate the fleets, in virtual time at any speed, instead of putting real requests on replicas on this machine
    #[arg(long)]
    pub simulated: bool,
    /// Seed of the demand and of every request; simulated, the same seed gives the same bytes
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Seconds of a simulated day that pass in one second, or `max`; 216 where it is left out
    #[arg(long, value_name = "FACTOR|max", requires = "simulated")]
    pub speed: Option<Speed>,
    /// How much of the day is played, such as 12h
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub until: Option<Duration>,
    /// Address of the live page
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// Serve no page
    #[arg(long)]
    pub headless: bool,
    /// Open the page in the desktop's browser, as is done anyhow where a terminal stands on a desktop
    #[arg(long, conflicts_with = "headless")]
    pub open: bool,
    /// Do not open the page
    #[arg(long, conflicts_with = "open")]
    pub no_open: bool,
    /// Print the summary as JSON, and nothing else
    #[arg(long)]
    pub json: bool,
    /// Write the whole demo as one HTML file that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Keep the journal of trimtab's decisions here, for `trimtab explain --journal` and `trimtab replay`
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
}

impl Demo {
    /// How much of the day is played: all of it, at most.
    #[must_use]
    pub fn lasts(&self, day: Seconds) -> Seconds {
        self.until.and_then(|until| Seconds::new(until.as_secs_f64())).map_or(day, |until| until.min(day))
    }
}

/// How fast a demo's day passes; infinite is as fast as it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed(pub f64);

impl Speed {
    /// 18 hours in 300 seconds.
    pub const DAY_IN_FIVE_MINUTES: Self = Self(216.0);
}

impl FromStr for Speed {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self(f64::INFINITY));
        }
        text.parse()
            .ok()
            .filter(|speed: &f64| (1.0..=100_000.0).contains(speed))
            .map(Self)
            .ok_or("expected 1 to 100000, or max")
    }
}
