//! `invar set`: sets switches of a process that lets others do so (`invar::serve`).

use crate::error::{Error, Result};
use crate::peer;
use crate::text::{self, Format, clean, count};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

/// What came of it. `docs/json.md` describes it.
#[derive(Serialize)]
struct SetDocument {
    schema: &'static str,
    version: &'static str,
    process: u32,
    set: bool,
    bound: Option<u64>,
    checked: Option<u64>,
    why: Option<String>,
}

/// Sets switches of a process, as `NAME=VALUE`. The exit code.
pub fn run(pid: u32, settings: &[String], format: Format, out: &mut dyn Write) -> Result<u8> {
    let mut request = Vec::new();
    for setting in settings {
        let (name, value) = setting
            .split_once('=')
            .filter(|(name, value)| ![name, value].into_iter().any(|text| text.is_empty() || text.contains('\0')))
            .ok_or_else(|| Error::input(clean(setting), "give NAME=VALUE"))?;
        request.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    let answer = ask(pid, &request)?;
    let document = SetDocument::new(pid, &answer);
    match format {
        Format::Json => text::json(out, &document)?,
        Format::Text => match &document {
            SetDocument { bound: Some(bound), checked: Some(0), .. } => {
                writeln!(out, "set: {}", sites(*bound, "bound"))?
            }
            SetDocument { bound: Some(bound), checked: Some(checked), .. } => {
                writeln!(out, "set: {}, {checked} that test the switch at each use", sites(*bound, "bound"))?;
            }
            other => writeln!(out, "not set: {}", clean(other.why.as_deref().unwrap_or("no answer")))?,
        },
    }
    Ok(u8::from(!document.set))
}

fn sites(number: u64, what: &str) -> String {
    format!("{} {what}", count(number, "site"))
}

impl SetDocument {
    /// By the line that the process has answered: a word, and what goes with it.
    fn new(process: u32, answer: &str) -> Self {
        let (word, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        let numbers =
            rest.split_once(' ').and_then(|(bound, checked)| Some((bound.parse().ok()?, checked.parse().ok()?)));
        let numbers = numbers.filter(|_| word == "set");
        let why = match word {
            _ if numbers.is_some() => None,
            "unknown" | "value" | "denied" | "refused" => Some(rest.to_owned()),
            _ => Some("the process gave no answer".to_owned()),
        };
        let (bound, checked) = numbers.unzip();
        let version = env!("CARGO_PKG_VERSION");
        Self { schema: "invar.set/1", version, process, set: numbers.is_some(), bound, checked, why }
    }
}

/// Sends a request to a process; its answer.
fn ask(pid: u32, request: &[u8]) -> Result<String> {
    let subject = || format!("process {pid}");
    let names = sockets(pid).map_err(|why| Error::input(subject(), why))?;
    let failed = |error: std::io::Error| {
        Error::input(
            subject(),
            format!("cannot be asked, perhaps since it has a network namespace of its own: {error}"),
        )
    };
    // The process's own, wherever it stands among those that cannot be connected with, or are another's.
    let mut unreachable = None;
    let own = names.iter().find_map(|name| {
        connect(name, pid).unwrap_or_else(|error| {
            unreachable = Some(error);
            None
        })
    });
    let Some(mut stream) = own else {
        let another = || Error::input(subject(), "another process has taken the name of its socket");
        return Err(unreachable.map_or_else(another, failed));
    };
    // Setting waits for locks; a process that is stopped never answers.
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(failed)?;
    stream.write_all(request).and_then(|()| stream.shutdown(Shutdown::Write)).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(1 << 12).read_to_end(&mut answer).map_err(failed)?;
    Ok(text::lossy(&answer))
}

/// Connects with the socket of this name, if it is the process's.
fn connect(name: &str, pid: u32) -> std::io::Result<Option<UnixStream>> {
    let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    Ok((peer::process(&stream)? == pid).then_some(stream))
}

/// The abstract names of sockets on which a process seems to let others set its switches. That one is the process's own is seen by its
/// number among the open files, and by the process's number in the name: a child has its parent's open. Names are anybody's, and may
/// look like lines of what is read here: who listens has to be asked.
fn sockets(pid: u32) -> std::result::Result<Vec<String>, String> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).map_err(|error| error.to_string())?;
    let links =
        open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()?.into_os_string().into_string().ok());
    let own: BTreeSet<_> = links.collect();
    // proc_pid_status(5): its number as its own PID namespace has it is the last one.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| error.to_string())?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let number = numbers.split_ascii_whitespace().last().map_or_else(|| pid.to_string(), str::to_owned);
    let begin = format!("invar/{number}/");
    // proc_pid_net(5), /proc/net/unix: the seventh field is the inode, the eighth the name, with @ for its first NUL.
    let sockets = std::fs::read_to_string(format!("/proc/{pid}/net/unix")).map_err(|error| error.to_string())?;
    let found = sockets.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(6);
        let (inode, name) = (fields.next()?, fields.next()?.strip_prefix('@')?);
        (name.starts_with(&begin) && own.contains(&format!("socket:[{inode}]"))).then(|| name.to_owned())
    });
    let found: Vec<String> = found.collect();
    if found.is_empty() { Err("lets nobody set its switches (invar::serve)".to_owned()) } else { Ok(found) }
}
