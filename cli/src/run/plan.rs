//! What is done with a program, and how that is shown.

use super::needed::Needed;
use super::subject::Subject;
use super::tunable::VARIABLE;
use crate::error::Result;
use crate::text::{self, Format, clean, lossy};
use serde::Serialize;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// Locks that ask for time, or not, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// `pthread_mutex_*`, `mtx_*`, and the condition variables that wait with one.
    Mutex,
    /// `pthread_spin_*`.
    Spin,
    /// `pthread_rwlock_*`.
    Rwlock,
}

impl Group {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Mutex, Self::Spin, Self::Rwlock];

    fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::Spin => "spin",
            Self::Rwlock => "rwlock",
        }
    }

    /// The key of the library's that turns it off.
    fn key(self) -> &'static str {
        match self {
            Self::Mutex => "preload_mutex",
            Self::Spin => "preload_spin",
            Self::Rwlock => "preload_rwlock",
        }
    }

    /// Whether a function of this name takes, releases or waits with one.
    pub fn has(self, function: &str) -> bool {
        let prefixes: &[&str] = match self {
            Self::Mutex => &["pthread_mutex_", "mtx_", "pthread_cond_", "cnd_"],
            Self::Spin => &["pthread_spin_"],
            Self::Rwlock => &["pthread_rwlock_"],
        };
        let acts = |rest: &str| ["lock", "wait"].iter().any(|act| rest.contains(act));
        prefixes.iter().any(|prefix| function.strip_prefix(prefix).is_some_and(acts))
    }
}

/// The library, and what comes with it.
pub struct Preload {
    /// Where it is.
    pub library: PathBuf,
    /// glibc's tunables, for this program only.
    pub tunables: Option<OsString>,
}

/// What is done.
pub struct Plan {
    program: String,
    wanted: Vec<Group>,
    /// Who takes locks of each group, where that was asked for.
    users: Vec<(Group, Vec<String>)>,
    out_of_reach: Vec<&'static str>,
    /// None: the program is run as if by itself.
    pub preload: Option<Preload>,
    /// Why.
    pub why: String,
    /// What the user could do, where it is not done unasked.
    pub advice: Option<String>,
}

/// The variable that says what was there in the place of the tunables; `capi/preload/preload.c` gives that back.
const BEFORE: &str = "_INVAR_BEFORE";

impl Plan {
    /// To run this program as if by itself.
    pub fn new(subject: &Subject, only: &[Group]) -> Self {
        let wanted = Group::ALL.into_iter().filter(|group| only.is_empty() || only.contains(group));
        Self {
            program: lossy(subject.path.as_os_str().as_encoded_bytes()),
            wanted: wanted.collect(),
            users: Vec::new(),
            out_of_reach: subject.out_of_reach.clone(),
            preload: None,
            why: String::new(),
            advice: None,
        }
    }

    /// Lists who takes which locks.
    pub fn list(&mut self, needed: &Needed) {
        let functions = needed.functions();
        let users = |group: Group| {
            let refers = functions.iter().filter(|(_, names)| names.iter().any(|name| group.has(name)));
            (group, refers.map(|(user, _)| user.clone()).collect())
        };
        self.users = Group::ALL.map(users).into();
    }

    /// What is added to the environment, and what is changed in it.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let Some(preload) = &self.preload else { return Vec::new() };
        let before = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let joined = |first: OsString, separator: &str, second: Option<OsString>| match second {
            Some(second) => [first, separator.into(), second].into_iter().collect(),
            None => first,
        };
        let mut environment =
            vec![("LD_PRELOAD".into(), joined(preload.library.clone().into(), ":", before("LD_PRELOAD")))];
        let unwanted: Vec<_> = Group::ALL.into_iter().filter(|group| !self.wanted.contains(group)).collect();
        if !unwanted.is_empty() {
            let off = unwanted.iter().map(|group| format!("{}=off", group.key())).collect::<Vec<_>>().join(",");
            let keys = before("INVAR_KEYS").map_or(off.clone().into(), |keys| joined(keys, ",", Some(off.into())));
            environment.push(("INVAR_KEYS".into(), keys));
        }
        if let Some(tunables) = &preload.tunables {
            let entry = std::env::var_os(VARIABLE).map(|value| joined(VARIABLE.into(), "=", Some(value)));
            environment.push((VARIABLE.into(), tunables.clone()));
            environment.push((BEFORE.into(), entry.unwrap_or_default()));
        }
        environment
    }

    /// Writes what is done.
    pub fn show(&self, format: Format, out: &mut dyn Write) -> Result<()> {
        match format {
            Format::Text => self.text(out),
            Format::Json => Ok(text::json(out, &self.document())?),
        }
    }

    fn text(&self, out: &mut dyn Write) -> Result<()> {
        let done = match &self.preload {
            Some(Preload { library, tunables }) => {
                let owning = if tunables.is_some() { ", and the runtime owns its rseq areas" } else { "" };
                format!("{} is preloaded{owning}: {}", clean(&library.to_string_lossy()), clean(&self.why))
            }
            None => format!("run as if by itself: {}", clean(&self.why)),
        };
        writeln!(out, "{}", clean(&self.program))?;
        text::wrap(out, "  done          ", &done)?;
        for (group, users) in &self.users {
            let users = if users.is_empty() {
                "nobody".into()
            } else {
                users.iter().map(|user| clean(user)).collect::<Vec<_>>().join(", ")
            };
            let left = if self.wanted.contains(group) { "" } else { " (left alone)" };
            text::wrap(out, &format!("  {:14}", group.name()), &format!("called by {users}{left}"))?;
        }
        for what in &self.out_of_reach {
            text::wrap(out, "  out of reach  ", what)?;
        }
        Ok(())
    }

    fn document(&self) -> PlanDocument<'_> {
        let group = |group: &Group| {
            let users = self.users.iter().find(|(of, _)| of == group).map_or(&[][..], |(_, users)| users);
            Locks { name: group.name(), wanted: self.wanted.contains(group), users }
        };
        PlanDocument {
            schema: "invar.run/1",
            version: env!("CARGO_PKG_VERSION"),
            program: &self.program,
            preloaded: self.preload.as_ref().map(|preload| preload.library.to_string_lossy().into_owned()),
            own_rseq: self.preload.as_ref().is_some_and(|preload| preload.tunables.is_some()),
            why: &self.why,
            locks: Group::ALL.iter().map(group).collect(),
            out_of_reach: &self.out_of_reach,
        }
    }
}

/// `docs/json.md` describes it.
#[derive(Serialize)]
struct PlanDocument<'a> {
    schema: &'static str,
    version: &'static str,
    program: &'a str,
    preloaded: Option<String>,
    own_rseq: bool,
    why: &'a str,
    locks: Vec<Locks<'a>>,
    out_of_reach: &'a [&'static str],
}

#[derive(Serialize)]
struct Locks<'a> {
    name: &'static str,
    wanted: bool,
    users: &'a [String],
}
