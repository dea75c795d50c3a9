//! A shared library with switches of the same names as its program's, and one of its own.

invar::values! {
    pub enum Level { Quiet, Error, Info, Debug }
}
invar::switch! {
    #[name = "switched.level"]
    static LEVEL: Level = |evidence| { evidence.text("the library's"); Ok(Level::Debug) };
}
invar::switch! {
    #[name = "switched.trace"]
    static TRACE: bool = |_| Ok(true);
}
invar::switch! {
    #[name = "switched.library"]
    static LIBRARY: bool = |_| Ok(false);
}
invar::switch! {
    /// The program's has other values.
    #[name = "switched.disputed"]
    static DISPUTED: bool = |_| Ok(true);
}

/// What the sites of LEVEL, TRACE and LIBRARY say, a digit each.
#[unsafe(no_mangle)]
extern "C" fn library_says() -> u32 {
    let level = if invar::branch!(LEVEL == Level::Quiet) {
        0
    } else if invar::branch!(LEVEL == Level::Error) {
        1
    } else if invar::branch!(LEVEL == Level::Info) {
        2
    } else {
        3
    };
    level * 100 + u32::from(invar::branch!(TRACE)) * 10 + u32::from(invar::branch!(LIBRARY))
}

/// What the keys say.
#[unsafe(no_mangle)]
extern "C" fn library_has() -> u32 {
    LEVEL.get() as u32 * 100 + u32::from(TRACE.get()) * 10 + u32::from(LIBRARY.get())
}

/// Whether the library's own sites follow a switch that only it has, and sets.
#[unsafe(no_mangle)]
extern "C" fn library_follows() -> bool {
    let follows = |value| LIBRARY.set(value).is_ok() && invar::branch!(LIBRARY) == value && LIBRARY.get() == value;
    follows(true) && follows(false)
}

/// The same, where another module has decided for other values.
#[unsafe(no_mangle)]
extern "C" fn library_sets() -> bool {
    !invar::branch!(DISPUTED) && library_follows()
}

/// Why it cannot give TRACE another value; nothing where it can.
#[unsafe(no_mangle)]
extern "C" fn library_turns() -> u32 {
    match TRACE.set(!TRACE.get()) {
        Ok(_) => 0,
        Err(invar::NotSet::Refused(invar::Reason::Setting, 0)) => 1,
        Err(_) => 2,
    }
}
