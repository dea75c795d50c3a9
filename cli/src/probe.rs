//! `invar probe`: the built-in keys, as this program's own runtime decided them.

use crate::error::Result;
use crate::keys::{self, Line};
use crate::text::{self, Format};
use serde::Serialize;
use std::io::Write;

/// `docs/json.md` describes it.
#[derive(Serialize)]
struct ProbeDocument {
    schema: &'static str,
    version: &'static str,
    architecture: &'static str,
    keys: Vec<ProbedKey>,
}

#[derive(Serialize)]
struct ProbedKey {
    name: String,
    value: String,
    origin: Option<&'static str>,
    evidence: Option<String>,
}

/// Lists the built-in keys.
pub fn run(format: Format, out: &mut dyn Write) -> Result<()> {
    let keys = built_in();
    match format {
        Format::Text => keys::print(&keys, out)?,
        Format::Json => text::json(out, &ProbeDocument::new(keys))?,
    }
    Ok(())
}

fn built_in() -> Vec<Line> {
    let mut lines = keys::own();
    lines.retain(Line::is_built_in);
    lines
}

impl ProbeDocument {
    fn new(lines: Vec<Line>) -> Self {
        let key = |Line { name, value, decision }| {
            let (origin, evidence) = decision.map(|(origin, evidence)| (origin.name(), evidence)).unzip();
            ProbedKey { name, value, origin, evidence }
        };
        Self {
            schema: "invar.probe/1",
            version: env!("CARGO_PKG_VERSION"),
            architecture: invar_arch::NAME,
            keys: lines.into_iter().map(key).collect(),
        }
    }
}
