//! A logger behind a switch: a line of the log costs two nops while it is off. The switch can be set while threads run.

invar::switch! {
    /// Whether each step is written down.
    static TRACE: bool = |_| Ok(false);
}

macro_rules! trace {
    ($($words:tt)*) => {
        if invar::branch!(TRACE) {
            println!("trace: {}", format_args!($($words)*));
        }
    };
}

fn step(number: u32) -> u32 {
    trace!("step {number}");
    number * 2
}

fn main() -> Result<(), invar::NotSet> {
    step(1);
    TRACE.set(true)?;
    step(2);
    TRACE.set(false)?;
    println!("result: {}", step(3));
    Ok(())
}
