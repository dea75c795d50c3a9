//! A Linux guest that grants time slice extensions, for machines whose own kernel does not.
//!
//! ```text
//! get:   debian ──> kernel ──> cache         packages by apt; the kernel built from source; kept outside the checkout
//! run:   cache ──> image ──> machine         an initial file system with programs and their libraries; QEMU
//!                     └────> init            inside: the command itself as process 1, runs one job after the other
//!                            └──> console    what came of each job, for both sides
//! ```
//!
//! Neither KVM nor a network is needed to run. With [`machine::Time::Instructions`] time is counted in the guest's
//! instructions: what happens there does not depend on the host, and is the same in every run.
#![forbid(unsafe_code)]

pub mod cache;
pub mod configuration;
pub mod console;
pub mod debian;
pub mod glibc;
pub mod image;
pub mod init;
pub mod kernel;
pub mod machine;

/// Whatever went wrong, in words.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs a program of the host's to its end, with its messages where ours go.
pub(crate) fn succeed(command: &mut std::process::Command) -> Result<()> {
    let status = command.status().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// What a program of the host's says.
pub(crate) fn ask(command: &mut std::process::Command) -> Result<String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {}\n{errors}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
