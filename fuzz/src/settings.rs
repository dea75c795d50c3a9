//! The environment: `INVAR` and its like.

use invar::__fuzz::Taken;
use invar::SETTINGS;
use invar_arch as arch;
use invar_tool::elf::Headers;
use invar_tool::file::{Contents, Segments};
use invar_tool::module::Module;
use std::ffi::CString;
use std::path::Path;
use std::sync::LazyLock;

invar::values! {
    enum Width { Thin, Narrow, Wide }
}
invar::key! {
    /// A key with more than two values.
    #[name = "fuzz.width"]
    static WIDTH: Width = |_| Ok(Width::Wide);
}

/// The bytes as variables, each with a NUL behind it.
pub fn run(input: &[u8]) {
    let variables = input.split(|&byte| byte == 0).map(|part| CString::new(part).expect("no NUL"));
    let variables: Vec<CString> = variables.collect();
    let mut expected = Expected::new();
    for variable in &variables {
        let bytes = variable.to_bytes();
        let is_fine = expected.take(bytes);
        let said = said(|say| _ = Taken::new([&**variable].into_iter(), say));
        assert_eq!(said.len(), usize::from(!is_fine), "{variable:?}: {said:?}");
        // What is somebody else's may be a secret.
        let name = bytes.split(|&byte| byte == b'=').next().expect("a part");
        let is_known = SETTINGS.iter().any(|(known, ..)| known.as_bytes() == name);
        let ignored = [if is_known { bytes } else { name }, b" is ignored: "].concat();
        assert!(said.iter().all(|line| line.starts_with(&ignored)), "{said:?}");
    }
    let all = || variables.iter().map(|variable| &**variable);
    let mut taken = None;
    let said_of_all = said(|say| taken = Some(Taken::new(all(), say)));
    assert_eq!(said_of_all.len(), expected.misspelt);
    let taken = taken.expect("settings");
    let seen = (taken.mode(), taken.writer(), taken.report().map(|path| path.to_bytes()), taken.guard(), taken.help());
    assert_eq!(seen, (expected.mode, expected.writer, expected.report, expected.guard, expected.help));

    let entries: Vec<&[u8]> = expected.keys.split(|&byte| byte == b',').collect();
    let wrong: Vec<_> = entries.iter().filter(|entry| !is_fine(entry)).collect();
    let said = said(|say| taken.check_keys(say));
    assert_eq!(said.len(), wrong.len(), "{wrong:?}: {said:?}");
    for (line, entry) in said.iter().zip(wrong) {
        assert!(line.starts_with(&[b"INVAR_KEYS: ", *entry].concat()), "{line:?}");
    }
    for (name, _) in entries.iter().filter_map(|entry| pair(entry)) {
        let last = entries.iter().filter_map(|entry| pair(entry)).rfind(|(other, _)| *other == name);
        assert_eq!(taken.key(name), last.map(|(_, value)| value));
    }
}

/// Each setting with what it can have and what it cannot.
pub fn seeds() -> Vec<Vec<u8>> {
    let every =
        SETTINGS.iter().flat_map(|(name, values, _)| values.split('|').map(move |value| format!("{name}={value}\0")));
    let every: String = every.collect();
    vec![
        every.into_bytes(),
        b"INVAR=of\0INVAR_WRITER=swap\0INVAR_WRITER=no\0INVAR_REPORT=stdout\0INVAR_REPORT=a%p\0INVAR=require".to_vec(),
        b"INVAR_KEYS=slice=off,,fuzz.width=narrow,cpu.sse2=off,slice.hook=on,a=b=c,slice,fuzz.width=wider".to_vec(),
        b"INVAR_GUARD=1\0INVAR_GUARD=2\0INVAR_HELP=no\0INVARIANT=1\0INVAR_TEST_A=1\0INVAR_SECRET=hush\0PATH=/bin"
            .to_vec(),
        b"INVAR_KEYS\0INVAR_KEYS=\0INVAR_SLICE=count\0INVAR_SLICE=all\0INVAR_PROFILE=x".to_vec(),
    ]
}

/// What is said, line by line.
fn said(work: impl FnOnce(&mut dyn FnMut(&[&[u8]]))) -> Vec<Vec<u8>> {
    let mut said = Vec::new();
    work(&mut |parts| said.push(parts.concat()));
    said
}

/// What the settings table of `docs/settings.md` promises.
struct Expected<'a> {
    mode: &'static str,
    writer: &'static str,
    report: Option<&'a [u8]>,
    guard: bool,
    help: bool,
    keys: &'a [u8],
    misspelt: usize,
}

impl<'a> Expected<'a> {
    fn new() -> Self {
        Self { mode: "auto", writer: "auto", report: None, guard: false, help: false, keys: b"", misspelt: 0 }
    }

    /// Takes a variable; `false` if something is to be said of it.
    fn take(&mut self, variable: &'a [u8]) -> bool {
        let Some((name, value)) = pair(variable).filter(|(_, value)| !value.is_empty()) else { return true };
        let one_of = |values: &[&'static str]| values.iter().copied().find(|known| known.as_bytes() == value);
        let switch = || one_of(&["0", "1", "no", "off"]).map(|value| value == "1");
        let is_taken = match name {
            b"INVAR" => one_of(&["off", "auto", "require"]).map(|mode| self.mode = mode),
            b"INVAR_WRITER" => one_of(&["auto", "swap", "memfd", "mprotect", "off"]).map(|writer| self.writer = writer),
            b"INVAR_REPORT" => {
                let is_path = value.iter().any(|byte| b"/.%".contains(byte));
                (is_path || value == b"stderr").then(|| self.report = Some(value))
            }
            b"INVAR_GUARD" => switch().map(|on| self.guard = on),
            b"INVAR_HELP" => switch().map(|on| self.help = on),
            b"INVAR_KEYS" => {
                self.keys = value;
                Some(())
            }
            b"INVAR_SLICE" => one_of(&["off", "count", "profile"]).map(drop),
            b"INVAR_PROFILE" => Some(()),
            _ if name.starts_with(b"INVAR_TEST_") || name.starts_with(b"INVAR_GUEST_") => Some(()),
            _ => (!name.starts_with(b"INVAR_")).then_some(()),
        };
        self.misspelt += usize::from(is_taken.is_none());
        is_taken.is_some()
    }
}

/// Whether an entry of `INVAR_KEYS` names a key that this process has, or that every process knows, and one of its values.
fn is_fine(entry: &[u8]) -> bool {
    static KEYS: LazyLock<Vec<(Vec<u8>, Vec<String>)>> = LazyLock::new(|| {
        _ = WIDTH.get();
        let own = |name: &str, values: &[&str]| (name.into(), values.iter().map(|&value| value.into()).collect());
        let mut keys = vec![
            own("slice", &["off", "on", "force"]),
            own("slice.counting", &["off", "count", "profile"]),
            own("slice.hook", &["off", "on"]),
        ];
        // This program's own, as they stand in its file.
        let file = Contents::open(Path::new("/proc/self/exe")).expect("this program");
        let headers = Headers::of_loadable(&file).expect("headers");
        let segments = Segments::new(&file, &headers);
        let module = Module::read(&segments, 0, &headers).expect("a module").expect("keys");
        keys.extend(module.keys.into_iter().map(|key| (key.name.into_bytes(), key.values)));
        keys.extend(arch::FEATURES.split_ascii_whitespace().map(|name| own(&format!("cpu.{name}"), &["off", "on"])));
        keys
    });
    let Some((name, value)) = pair(entry) else { return entry.is_empty() };
    let of_level =
        name.strip_prefix(b"cpu.").is_some_and(|feature| arch::FEATURES.is_empty() || arch::level(feature).is_some());
    let known = KEYS
        .iter()
        .filter(|(known, _)| known == name)
        .any(|(_, values)| values.iter().any(|known| known.as_bytes() == value));
    known || of_level && (value == b"off" || value == b"on")
}

/// What stands before the first `=`, and behind it.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = text.iter().position(|&byte| byte == b'=')?;
    Some((&text[..equals], &text[equals + 1..]))
}
