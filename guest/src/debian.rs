//! Debian's packages, of suites that this system does not use: by apt, with lists of their own, and not installed.

use crate::cache::Cache;
use crate::{Result, ask, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The suite with the kernels.
pub const KERNELS: &str = "trixie-backports";
/// Its package with a kernel's source.
pub const SOURCE: &str = "linux-source-7.3";
/// How the names of its packages with a kernel begin.
pub const STOCK: &str = "linux-binary-7.3.";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite, with its list of packages.
pub struct Suite {
    options: Vec<String>,
    cache: Cache,
}

impl Suite {
    /// Gets the suite's list, from where this system gets its own packages.
    pub fn open(name: &str, cache: &Cache) -> Result<Self> {
        Self::of("amd64", name, cache)
    }

    /// The same with packages for this architecture.
    pub fn of(architecture: &str, name: &str, cache: &Cache) -> Result<Self> {
        let folder = cache.path("apt").join(format!("{name}-{architecture}"));
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("archives/partial"))?;
        let signed_by = if Path::new(KEYRING).exists() { format!(" signed-by={KEYRING}") } else { String::new() };
        let sources = folder.join("sources.list");
        fs::write(
            &sources,
            format!("deb [target=Packages{signed_by} arch={architecture}] {} {name} main\n", mirror()?),
        )?;
        let folder = folder.to_str().ok_or("a cache whose path is not UTF-8")?;
        let options = [
            format!("Dir::Etc::SourceList={folder}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".into(),
            format!("Dir::State::Lists={folder}/lists"),
            // What is installed here does not matter.
            "Dir::State::Status=/dev/null".into(),
            format!("Dir::Cache={folder}"),
            "APT::Sandbox::User=".into(),
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".into(), option]).collect();
        let suite = Self { options, cache: cache.clone() };
        succeed(suite.apt("apt-get").args(["-q", "update"]))?;
        Ok(suite)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }

    /// The last package whose name begins and ends so.
    pub fn last(&self, begin: &str, end: &str) -> Result<String> {
        let names = ask(self.apt("apt-cache").args(["pkgnames", begin]))?;
        let name = names.lines().filter(|name| name.ends_with(end)).max();
        Ok(name.ok_or_else(|| format!("no package {begin}*{end}"))?.to_owned())
    }

    /// The version of a package.
    pub fn version(&self, package: &str) -> Result<String> {
        let said = ask(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        let version = said.lines().find_map(|line| line.strip_prefix("Version: "));
        Ok(version.ok_or_else(|| format!("no package {package}"))?.to_owned())
    }

    /// The folder into which a package is unpacked, in the cache.
    pub fn unpack(&self, package: &str) -> Result<PathBuf> {
        let folder = self.cache.path(&format!("{package}_{}", self.version(package)?));
        if !folder.exists() {
            // In one step, so that nobody finds half a package.
            let new = tempfile::tempdir_in(self.cache.path(""))?;
            self.unpack_into(package, new.path())?;
            self.cache.settle(new.path(), &folder)?;
        }
        Ok(folder)
    }

    /// Unpacks a package into this folder.
    pub fn unpack_into(&self, package: &str, folder: &Path) -> Result<()> {
        let downloads = tempfile::tempdir_in(self.cache.path(""))?;
        succeed(self.apt("apt-get").args(["-q", "download", package]).current_dir(&downloads))?;
        let archive = fs::read_dir(&downloads)?.next().ok_or("apt-get downloaded nothing")??.path();
        succeed(Command::new("dpkg").arg("-x").arg(archive).arg(folder))
    }
}

/// Where this system gets Debian's packages from.
fn mirror() -> Result<String> {
    let system = fs::read_to_string("/etc/os-release")?;
    let field = |name: &str| {
        system.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(|value| value.trim_matches('"'))
    };
    let ("debian", Some(own)) = (field("ID").unwrap_or_default(), field("VERSION_CODENAME")) else {
        return Err(
            "the packages are Debian's, and this is another system; `--source TREE` builds a kernel here".into()
        );
    };
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let sources = ask(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    let mirror = sources.lines().find_map(|line| line.strip_suffix(&format!(" {own} main")));
    let missing = || format!("apt has no list of the suite {own}: `apt-get update` gets the lists of its sources");
    Ok(mirror.ok_or_else(missing)?.to_owned())
}
