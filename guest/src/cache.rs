//! Where things are kept that were fetched or built: outside the checkout, and named by what they are.

use crate::Result;
use crate::configuration::configuration;
use crate::glibc::Glibc;
use crate::machine::{Processor, unpacked};
use std::fs;
use std::path::{Path, PathBuf};

/// Names a kernel to be used instead of our own; a relative path counts from the checkout.
pub const KERNEL: &str = "INVAR_GUEST_KERNEL";

/// How to have what is missing.
pub const HOW: &str = "`cargo run -p invar-guest -- get` (it needs apt, or `--source TREE`)";

/// One user's cache.
#[derive(Clone, Debug)]
pub struct Cache(PathBuf);

impl Cache {
    /// In `$XDG_CACHE_HOME`, or `~/.cache`.
    pub fn of_this_user() -> Self {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".cache");
        Self(base.unwrap_or_else(home).join("invar"))
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A kernel that grants: the one that the environment names, or the newest that was built with our configuration.
    pub fn kernel(&self) -> Option<PathBuf> {
        named_kernel()
            .or_else(|| {
                let is_ours = |name: &str| name.starts_with("kernel-") && name.ends_with(&configuration());
                Some(self.newest(is_ours)?.join("bzImage"))
            })
            .filter(|kernel| kernel.is_file())
    }

    /// The distribution's kernel, in which the extension is not compiled.
    pub fn stock_kernel(&self) -> Option<PathBuf> {
        self.kernel_of(Processor::X86_64)
    }

    /// A kernel of another machine: the one that the environment names, or the distribution's.
    pub fn foreign_kernel(&self, processor: Processor) -> Option<PathBuf> {
        named(&processor.variable()).or_else(|| self.kernel_of(processor)).filter(|kernel| kernel.is_file())
    }

    /// A kernel of another machine that grants: the one that the environment names, if the extension is compiled in.
    pub fn foreign_granting_kernel(&self, processor: Processor) -> Option<PathBuf> {
        named(&processor.variable()).filter(|kernel| has_extension(kernel))
    }

    fn kernel_of(&self, processor: Processor) -> Option<PathBuf> {
        let is_ours = |name: &str| name.starts_with("linux-binary-") && name.contains(processor.kernel());
        let modules = self.newest(is_ours)?.join("usr/lib/modules");
        let versions = fs::read_dir(modules).ok()?.flatten();
        versions.map(|version| version.path().join("vmlinuz")).find(|kernel| kernel.exists())
    }

    /// The folder of a C library, with its loader.
    pub fn libc(&self, wanted: &Glibc) -> Option<PathBuf> {
        let package = self.newest(|name| name.strip_prefix("libc6_").is_some_and(|version| wanted.is(version)))?;
        let places = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|place| package.join(place));
        places.into_iter().find(|place| place.join(LOADER).exists())
    }

    /// The folder of a C library of another machine, with its loader.
    pub fn foreign_libc(&self, processor: Processor, wanted: &Glibc) -> Option<PathBuf> {
        let begin = format!("libc6:{}_", processor.architecture());
        let package = self.newest(|name| name.strip_prefix(&*begin).is_some_and(|version| wanted.is(version)))?;
        let place = package.join(format!("usr/lib/{}-linux-gnu", processor.architecture()));
        place.join("libc.so.6").exists().then_some(place)
    }

    /// Gives a folder that is complete its name, in the place of one that is there: somebody else was faster, or did not
    /// come to an end.
    pub(crate) fn settle(&self, new: &Path, folder: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        Ok(fs::rename(new, folder)?)
    }

    fn newest(&self, is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
        let entries = fs::read_dir(&self.0).ok()?.flatten().map(|entry| entry.path());
        let named = entries.filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&is_it));
        named.max_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok())
    }
}

/// Whether the kernel in this file knows the boot parameter of the extension (Linux, kernel/rseq.c). Of one that unpacks itself
/// nobody can tell.
fn has_extension(kernel: &Path) -> bool {
    const PARAMETER: &[u8] = b"rseq_slice_ext";
    let Ok(unpacked) = unpacked(kernel) else { return false };
    let file = unpacked.as_ref().map_or(kernel, |file| file.path());
    fs::read(file).is_ok_and(|bytes| bytes.windows(PARAMETER.len()).any(|window| window == PARAMETER))
}

/// The kernel that the environment names.
pub fn named_kernel() -> Option<PathBuf> {
    named(KERNEL)
}

/// The file that a variable names; a relative path counts from the checkout.
fn named(variable: &str) -> Option<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout");
    std::env::var_os(variable).filter(|file| !file.is_empty()).map(|file| checkout.join(file))
}

/// The loader's file name, in a folder of [`Cache::libc`].
pub const LOADER: &str = "ld-linux-x86-64.so.2";
