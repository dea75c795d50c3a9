//! What peers cost a process that starts: programs with a thousand sites of one peer, each executed once, and ended.

use crate::program::{Package, output};
use invar_measure::{Batch, Targets, alternate};
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

/// A name, what it needs, and whether it holds.
struct Peer {
    name: &'static str,
    declared: &'static str,
    begins: &'static str,
    condition: &'static str,
}

const PEERS: [Peer; 6] = [
    Peer { name: "nothing", declared: "", begins: "", condition: "true" },
    Peer {
        name: "invar",
        declared: "invar::key! { static ON: bool = |_| Ok(true); }",
        begins: "",
        condition: "invar::branch!(ON)",
    },
    Peer {
        name: "static-keys",
        declared: "static_keys::define_static_key_false!(ON);",
        begins: "static_keys::global_init(); unsafe { ON.enable() };",
        condition: "static_keys::static_branch_unlikely!(ON)",
    },
    Peer {
        name: "AtomicBool",
        declared: "static ON: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);",
        begins: "",
        condition: "ON.load(std::sync::atomic::Ordering::Relaxed)",
    },
    Peer { name: "cpufeatures", declared: "cpufeatures::new!(avx2, \"avx2\");", begins: "", condition: "avx2::get()" },
    Peer { name: "detection", declared: "", begins: "", condition: "std::is_x86_feature_detected!(\"avx2\")" },
];

const SITES: usize = 1000;

impl Peer {
    /// It tells how much memory of its own the process has at its end, in KiB.
    fn source(&self) -> String {
        let Self { declared, begins, condition, .. } = self;
        let functions: String = (0..SITES)
            .map(|at| {
                format!(
                    "#[inline(never)] fn site_{at}(number: u64) -> u64 \
                     {{ if {condition} {{ number ^ {at} }} else {{ rare(number) }} }}\n"
                )
            })
            .collect();
        let calls: String = (0..SITES).map(|at| format!("number = black_box(site_{at})(number);\n")).collect();
        format!(
            r#"
            use std::hint::black_box;
            {declared}
            #[cold] #[inline(never)] fn rare(number: u64) -> u64 {{ number.rotate_left(7) }}
            {functions}
            fn main() {{
                {begins}
                let mut number = black_box(1);
                {calls}
                black_box(number);
                if std::env::args().len() > 1 {{
                    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
                    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
                    println!("{{}}", line.split_whitespace().nth(1).unwrap());
                }}
            }}
            "#
        )
    }
}

pub(crate) fn compare() -> io::Result<Targets> {
    let files = PEERS.iter().map(|peer| (format!("src/bin/{}.rs", peer.name), peer.source())).collect();
    let manifest = "[dependencies]\ninvar-rt = {invar}\nstatic-keys = \"0.8\"\ncpufeatures = \"0.3\"\n";
    // Otherwise a program would have the constructors of a crate that it does not name; each names its own alone.
    let folder = Package { name: "peers", manifest, files }.build("")?;
    let command = |peer: &Peer| {
        let mut command = Command::new(folder.join(peer.name));
        command.env_clear();
        command
    };
    let batch = |peer: &Peer| -> Batch<'_, io::Error> {
        let mut command = command(peer);
        Box::new(move || {
            let started = Instant::now();
            output(&mut command)?;
            Ok(started.elapsed().as_nanos() as f64 / 1000.0)
        })
    };
    let samples = alternate(Duration::from_secs(8), &mut PEERS.each_ref().map(batch))?;
    let private = |peer: &Peer| -> io::Result<f64> {
        let said = output(command(peer).arg("tell"))?.stdout;
        String::from_utf8_lossy(&said).trim().parse().map_err(io::Error::other)
    };
    let least = private(&PEERS[0])?;
    let mut targets = Targets::default();
    for (at, peer) in PEERS.iter().enumerate() {
        let pages = (private(peer)? - least) / 4.0;
        let time = if at == 0 { samples.time(0) } else { samples.more(at, 0) };
        let what = format!("{}: start to end, us{}", peer.name, if at == 0 { "" } else { " more" });
        targets.show(&what, format!("{time:.0}"), &format!("{SITES} sites"));
        if at > 0 {
            targets.show(&format!("{}: private pages more", peer.name), format!("{pages:+.0}"), "4 KiB each");
        }
    }
    Ok(targets)
}
