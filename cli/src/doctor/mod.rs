//! `invar doctor`: why the time slice extension is off here, and what to do.
//!
//! The runtime's probe has decided, and its evidence says why ([`Cause`]). What stands beside it in files and in this process
//! ([`Facts`]) tells which remedy is at hand.

mod cause;
mod facts;

pub use cause::{BEGINNINGS, Cause};
pub use facts::{Facts, Setting};

use crate::error::Result;
use crate::keys::{self, SLICE};
use crate::style::{GOOD, HEADING, POOR, styled};
use crate::text::{self, Format, NARROW, clean, wrap_at};
use invar::Origin;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// What was found, and what to do. `docs/json.md` describes it.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    schema: &'static str,
    version: &'static str,
    available: bool,
    cause: Cause,
    evidence: String,
    kernel: String,
    process: String,
    remedy: String,
}

/// Says why, and what to do.
pub fn run(format: Format, out: &mut dyn Write) -> Result<()> {
    let line = keys::own().into_iter().find(|line| line.name == SLICE);
    let (value, decision) = line.map_or((String::new(), None), |line| (line.value, line.decision));
    let diagnosis = diagnose(value == "on", decision, &Facts::of_this_process(Path::new("/")));
    match format {
        Format::Text => diagnosis.print(out)?,
        Format::Json => text::json(out, &diagnosis)?,
    }
    Ok(())
}

/// What a verdict of the key `slice` means on a machine with these facts.
pub fn diagnose(is_on: bool, decision: Option<(Origin, String)>, facts: &Facts) -> Diagnosis {
    let cause = Cause::of(decision.as_ref().map(|(origin, evidence)| (*origin, &**evidence)));
    Diagnosis {
        schema: "invar.doctor/1",
        version: env!("CARGO_PKG_VERSION"),
        available: is_on && cause != Cause::Forced,
        remedy: cause.remedy(decision.as_ref().map_or("", |(_, evidence)| evidence), facts),
        cause,
        evidence: decision.map(|(_, evidence)| evidence).unwrap_or_default(),
        kernel: facts.kernel(),
        process: facts.process(),
    }
}

impl Diagnosis {
    /// Why the key is as it is.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// What to do.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// Writes the five lines; one that is longer than the page is wrapped.
    pub fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let available = if self.available { styled(GOOD, "on") } else { styled(POOR, "off") };
        writeln!(out, "{}: {available}", styled(HEADING, "time slice extension"))?;
        let evidence = if self.evidence.is_empty() { "nothing has decided the key" } else { &self.evidence };
        let lines = [("why", evidence), ("kernel", &self.kernel), ("process", &self.process), ("to do", &self.remedy)];
        for (name, words) in lines {
            wrap_at(NARROW, out, &format!("  {name:9}"), &clean(words))?;
        }
        Ok(())
    }
}
