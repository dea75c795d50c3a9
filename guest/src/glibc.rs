//! The C libraries that programs are run with.

/// A C library.
#[derive(Debug)]
pub struct Glibc {
    /// The suite that has it.
    pub suite: &'static str,
    /// Its version.
    pub version: (u32, u32),
    /// Whether a newer one will do.
    pub or_newer: bool,
}

/// C libraries that deal with areas in different ways.
pub static GLIBCS: [Glibc; 3] = [
    Glibc { suite: "bookworm", version: (2, 36), or_newer: false },
    Glibc { suite: "trixie", version: (2, 41), or_newer: false },
    Glibc { suite: "forky", version: (2, 43), or_newer: true },
];

/// That which is tried on other machines: it registers areas there too.
pub fn of_other_machines() -> &'static Glibc {
    let [.., newest] = &GLIBCS;
    newest
}

impl Glibc {
    /// Whether this version will do.
    pub fn is(&self, version: &str) -> bool {
        version_numbers(version).is_some_and(|it| if self.or_newer { it >= self.version } else { it == self.version })
    }

    /// In words.
    pub fn name(&self) -> String {
        let (major, minor) = self.version;
        format!("glibc {major}.{minor}{}", if self.or_newer { " or newer" } else { "" })
    }
}

/// The first two numbers of a version.
pub fn version_numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}
