//! A number that is known at load only. Where it is used it stands in the instruction, as if the compiler had known it.
//!
//! `INVAR_KEYS=invar-examples.parts=1 cargo run --example constant` lowers it.

invar::constant! {
    /// In how many parts the work is done.
    #[fallback(1)]
    static PARTS: u32 = |evidence| {
        let cpus = std::thread::available_parallelism().map_err(|_| "the number of CPUs is not known")?.get();
        evidence.text("two for each CPU");
        Ok((2 * cpus).min(64) as u32)
    };
}

fn main() {
    let parts = invar::value!(PARTS);
    let sum: u32 = (0..parts).map(|part| (part..1000).step_by(parts as usize).sum::<u32>()).sum();
    println!("parts: {parts}");
    println!("sum: {sum}");
}
