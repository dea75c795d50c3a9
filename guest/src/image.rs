//! The guest's initial file system: process 1, programs, and the libraries that they need.

use crate::console::Job;
use crate::{Result, init};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is to be in the guest's file system.
#[derive(Clone, Default)]
pub struct Image {
    /// Path in the guest, and on the host.
    files: BTreeMap<String, PathBuf>,
    /// Folders, files and links that are there as they are here.
    copies: BTreeMap<String, PathBuf>,
}

impl Image {
    /// With `init` as process 1: the command of this package, which knows what it is then.
    pub fn new(init: &Path) -> Result<Self> {
        let mut image = Self::default();
        image.add("/init".into(), init)?;
        Ok(image)
    }

    /// Adds a program and the libraries that it needs here; returns its path in the guest.
    pub fn program(&mut self, program: &Path) -> Result<String> {
        let name = program.file_name().ok_or_else(|| format!("{}: not a program", program.display()))?;
        let path = format!("/bin/{}", name.to_str().ok_or("a name that is not UTF-8")?);
        self.add(path.clone(), program)?;
        Ok(path)
    }

    /// Adds a file.
    pub fn file(&mut self, path: String, source: &Path) {
        self.files.insert(path, source.to_owned());
    }

    /// Adds a folder with all that is in it, under this path: owners, modes and links as they are here; and the libraries
    /// that the programs among it need.
    pub fn tree(&mut self, path: String, folder: &Path) -> Result<()> {
        let data = folder.symlink_metadata().map_err(|error| format!("{}: {error}", folder.display()))?;
        if data.is_dir() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let name = entry.file_name().into_string().map_err(|_| "a name that is not UTF-8")?;
                self.tree(format!("{path}/{name}"), &entry.path())?;
            }
        } else if data.is_file() && data.mode() & 0o111 != 0 {
            self.files.extend(libraries(folder)?.into_iter().map(|library| (library.clone(), library.into())));
        }
        self.copies.insert(path, folder.to_owned());
        Ok(())
    }

    fn add(&mut self, path: String, program: &Path) -> Result<()> {
        for library in libraries(program)? {
            self.files.insert(library.clone(), library.into());
        }
        if self.files.get(&path).is_some_and(|other| other != program) {
            return Err(format!("two programs would be {path} in the guest").into());
        }
        self.file(path, program);
        Ok(())
    }

    /// Writes the archive that the kernel unpacks, with the jobs in it: the same bytes for the same content. The file has no
    /// name, so that it goes with whoever has it open.
    pub(crate) fn write(&self, jobs: &[Job]) -> Result<File> {
        let mut archive = Archive { out: BufWriter::new(tempfile::tempfile()?), entries: 0 };
        let mut folders = BTreeSet::new();
        let paths = self.files.keys().chain(self.copies.keys()).map(String::as_str);
        let paths = paths.chain(["/proc/", "/sys/", "/dev/", "/tmp/"]);
        for path in paths {
            let parents = path.match_indices('/').map(|(at, _)| &path[..at]).filter(|folder| !folder.is_empty());
            folders.extend(parents);
        }
        for folder in folders.into_iter().filter(|&folder| !self.copies.contains_key(folder)) {
            archive.entry(folder, 0o040_755, &[])?;
        }
        for (path, source) in self.files.iter().filter(|&(path, _)| !self.copies.contains_key(path)) {
            let content = fs::read(source).map_err(|error| format!("{}: {error}", source.display()))?;
            archive.entry(path, 0o100_755, &content)?;
        }
        for (path, source) in &self.copies {
            archive.copy(path, source).map_err(|error| format!("{}: {error}", source.display()))?;
        }
        let list: String = jobs.iter().map(|job| job.to_line() + "\n").collect();
        archive.entry(init::JOBS, 0o100_644, list.as_bytes())?;
        let mut file = cpio::newc::trailer(archive.out)?.into_inner()?;
        file.rewind()?;
        Ok(file)
    }
}

struct Archive {
    out: BufWriter<File>,
    entries: u32,
}

impl Archive {
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.owned(path, mode, (0, 0), content)
    }

    /// What `source` is here; sockets and the like stay out.
    fn copy(&mut self, path: &str, source: &Path) -> Result<()> {
        let data = source.symlink_metadata()?;
        let content = match data.file_type() {
            kind if kind.is_dir() => vec![],
            kind if kind.is_file() => fs::read(source)?,
            kind if kind.is_symlink() => fs::read_link(source)?.as_os_str().as_bytes().to_owned(),
            _ => return Ok(()),
        };
        self.owned(path, data.mode(), (data.uid(), data.gid()), &content)
    }

    fn owned(&mut self, path: &str, mode: u32, (user, group): (u32, u32), content: &[u8]) -> Result<()> {
        self.entries += 1;
        let entry = cpio::NewcBuilder::new(path.trim_start_matches('/')).ino(self.entries).mode(mode).nlink(1);
        let entry = entry.uid(user).gid(group);
        let mut writer = entry.write(&mut self.out, content.len().try_into()?);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}

/// The files that the loader maps for this program.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().map_err(|error| format!("ldd: {error}"))?;
    if !output.status.success() {
        // So it ends for a static program, and for what is none at all: the guest will tell.
        return Ok(vec![]);
    }
    // `name => /path (address)`, or `/path (address)` for the loader itself.
    let path = |line: &str| Some(line.split_whitespace().find(|word| word.starts_with('/'))?.to_owned());
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(path).collect())
}
